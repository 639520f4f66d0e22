"""Names in `evaluate.extra`: a metric's script in the folder extra_metrics/, or its id on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

#: Folder of local metrics. The stages that score models depend on it, so they run again when a script changes.
FOLDER = "extra_metrics"
#: Prefixes in the names of the project's own scores.
RESERVED = (
    "ap",
    "best",
    "ece",
    "ensemble",
    "example",
    "hamming",
    "has",
    "has_answer",
    "macro",
    "micro",
    "minority",
    "mismatched",
    "mrr",
    "ndcg",
    "no",
    "no_answer",
    "recall",
    "selection",
    "subset",
    "tuned",
)


def prefix(name: str) -> str:
    """The prefix of a metric's scores: extra_metrics/overlap → overlap, evaluate-metric/rouge → rouge."""
    return PurePosixPath(name).name.removesuffix(".py")


def is_local(name: str) -> bool:
    """Whether a name is a path: in the folder of local metrics, or of a form that no hub id has."""
    return name.startswith((f"{FOLDER}/", ".", "/", "~")) or name.endswith(".py") or name.count("/") > 1


def script(name: str) -> Path:
    """The file that a local name stands for: a script, or the script in a folder that has the folder's name."""
    path = Path(name)
    return path if path.suffix == ".py" else path / f"{path.name}.py"


def as_mapping(entry: Any) -> Any:
    """An entry that is a name alone, as a mapping."""
    return {"name": entry} if isinstance(entry, str) else entry


def check(name: str) -> str:
    """The name; a ValueError where it cannot be loaded, or other scores could have the same names."""
    if is_local(name) or script(name).is_file():
        parts = PurePosixPath(name).parts
        if not parts or parts[0] != FOLDER or ".." in parts or len(parts) < 2:
            raise ValueError(
                f"{name!r} lies outside {FOLDER}/, so a change of its code would not score models anew: move it to"
                f" {FOLDER}/ and name it {FOLDER}/{prefix(name)}"
            )
        if not script(name).is_file():
            raise ValueError(f"{name!r}: there is no {script(name)}: put the metric's script there, or take it out")
    elif not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise ValueError(f"{name!r} is no metric: write {FOLDER}/<name>, or an id on the hub such as rouge")
    if not re.fullmatch(r"[A-Za-z]\w*(-\w+)*", prefix(name)):
        raise ValueError(f"{name!r}: scores cannot begin with {prefix(name)!r}: give it a name of letters and digits")
    if prefix(name) in RESERVED:
        raise ValueError(
            f"{name!r}: scores that begin with {prefix(name)}_ are the project's own: give the metric another name"
        )
    return name


def check_args(args: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `compute`; a ValueError where they hold arguments that the task passes."""
    if reserved := [name for name in ("predictions", "references") if name in args]:
        raise ValueError(f"{reserved[0]!r} is an argument that the task passes: take it out")
    return args


def check_all(entries: list[Any]) -> list[Any]:
    """The entries, each with a `name`; a ValueError where two metrics' scores would have the same names."""
    prefixes = [prefix(entry.name) for entry in entries]
    if twice := [text for text in prefixes if prefixes.count(text) > 1]:
        raise ValueError(f"two metrics are called {twice[0]!r}, and so would be their scores: list one of them")
    return entries
