"""What MLflow accepts: names, texts and values of the lengths and characters that its stores take."""

import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

PARAM_LENGTH = 500  # MLflow servers before 2.10 refuse more
TAG_LENGTH = 5000
KEY_LENGTH = 250


def flatten(params: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings and pydantic models to `{"a.b.c": text}` that MLflow accepts."""
    if hasattr(params, "model_dump"):
        params = params.model_dump(mode="json")
    if isinstance(params, Mapping) and (params or not prefix):
        flat: dict[str, str] = {}
        for key, value in params.items():
            flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
        return flat
    if isinstance(params, (list, tuple, Mapping)):
        params = json.dumps(params, default=str, ensure_ascii=False)
    return {clean_key(prefix): shorten(str(params), PARAM_LENGTH)}


def clean_key(key: str) -> str:
    """A name that MLflow accepts for a param, metric or tag."""
    key = re.sub(r"[^/\w.\- :]", "_", key).replace("..", "__")[:KEY_LENGTH]
    name = posixpath.normpath(key.strip("/") or "_")
    return "_" if name == "." else name  # the folder that a key would be a file of


def shorten(text: str, length: int) -> str:
    """`text` of `length` characters at most, with … at the end where it was cut."""
    return text if len(text) <= length else text[: length - 1] + "…"
