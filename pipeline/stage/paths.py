"""Where stages read and write, and what they all read first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from distill import parameters
from distill.config.params import Params
from distill.errors import UserError

PARAMS = Path("params.yaml")
CORPUS = Path("data/raw/atlas")
PREPARED = Path("data/prepared")
PREDICTIONS = Path("data/teacher")
STATES = Path("data/states")
ASSISTANT = Path("data/assistant")
GENERATOR = Path("data/models/generator")
CANDIDATES = Path("data/candidates")
AUGMENTED = Path("data/augmented")
METRICS = Path("metrics")


def params() -> Params:
    """The checked parameters of this checkout."""
    return parameters.load(PARAMS)


def role_of(name: str) -> str:
    """`teacher` or `student`."""
    if name not in ("teacher", "student"):
        raise UserError(f"{name!r}: expected teacher or student")
    return name


def model(role: str) -> Path:
    """The fine-tuned teacher or student."""
    return Path("data/models") / role


#: The fine-tuned teacher's weights, by whose hash caches of its outputs are known.
WEIGHTS = model("teacher") / "model.safetensors"


def filters(role: str) -> Path:
    """The filters of teacher or student."""
    return Path("data/models/filters") / role


def view(method: str) -> Path:
    """Says which of the teacher's kept states a method reads, by their content."""
    return STATES / "views" / f"{method}.json"


def distilled(method: str, seed: int) -> Path:
    """A distilled student."""
    return Path("data/models/distill") / method / str(seed)


def generations(method: str, seed: int) -> Path:
    """The generations before the last of a born-again student."""
    return Path("data/models/generations") / method / str(seed)


def last_generation(method: str, seed: int) -> Path:
    """The generation before the last: the fine-tuned student where there is no other."""
    made = [path for path in generations(method, seed).glob("*") if path.name.isdigit()]
    return max(made, key=lambda path: int(path.name), default=model("student"))


def method_run(method: str, seed: str, members: Params) -> tuple[str, int]:
    """Method and seed from the command line.

    Raises:
        UserError: the method has no section in params.yaml, or the seed is no number.
    """
    if method not in members.sections:
        raise UserError(f"method {method!r}: {PARAMS} has no such section: known are {', '.join(members.sections)}")
    if not seed.lstrip("-").isdigit():
        raise UserError(f"seed {seed!r}: expected a whole number")
    return method, int(seed)


def dvc_md5(path: Path) -> str:
    """The md5 by which DVC knows a file or folder: as in dvc.lock, and in the cache's file names."""
    if path.is_file():
        with path.open("rb") as file:  # in parts: tracking hashes data sets while a stage is at work
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    entries: list[dict[str, Any]] = [
        {"md5": dvc_md5(file), "relpath": file.relative_to(path).as_posix()}
        for file in path.rglob("*")
        if file.is_file()
    ]
    listing = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"
