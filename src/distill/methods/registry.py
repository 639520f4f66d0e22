"""Which methods there are: one file of this folder each, loaded by name.

Loading by name, not by import statements, keeps a stage's code dependencies to the one method that it runs.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UserError

if TYPE_CHECKING:
    from distill.methods.base import Method

FOLDER = Path(__file__).parent
# The files beside the methods.
NOT_METHODS = {"__init__", "base", "outputs_only", "own_tokens", "registry", "requirements"}


@cache
def available() -> list[str]:
    """Names of all methods, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_METHODS)


def load(name: str) -> type[Method]:
    """The :class:`~distill.methods.base.Method` subclass of ``methods/<name>.py``.

    Raises:
        UserError: there is no such file.
    """
    if name not in available():
        raise UserError(f"no method {name!r}: known are {', '.join(available())}")
    return importlib.import_module(f"distill.methods.{name}").METHOD
