"""Sections `runtime` and `tracking` of params.yaml: this machine and its records, which change no result."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from distill.config.schema import Count, Section


class Runtime(Section):
    """Settings of the machine: they change no result, and no stage depends on them."""

    checkpoint_steps: Count
    checkpoints_kept: Annotated[int, Field(ge=2)]
    threads: Count | None
    workers: Annotated[int, Field(ge=0)]
    compile: bool
    gradient_checkpointing: bool
    attention: Literal["auto", "eager", "disentangled_flash"]


def _store_name(name: str) -> str:
    """A name that is a single folder below `mlartifacts/`, and a single part of MLflow's addresses."""
    if len(name) > 250 or name != name.strip() or not re.fullmatch(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*", name):
        raise ValueError(
            f"{name[:50]!r}: expected a name of 1 to 250 characters that does not begin with a dot, without slashes,"
            " backslashes, line breaks, and spaces around it"
        )
    return name


StoreName = Annotated[str, AfterValidator(_store_name)]


class Tracking(Section):
    """MLflow."""

    experiment: StoreName
    registered_model: StoreName | None
