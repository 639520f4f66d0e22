"""What every stage finds out anew, found out once for all processes of a fork server.

Versions of libraries, which of them are installed, and what a dvc.yaml and a params.yaml say whose text another
process has parsed: together a large part of what a stage of a micro pipeline costs. Errors are never remembered. And a
dataset's fingerprint, by which `datasets` finds what it has cached of a `map`, is drawn: no stage caches any.
"""

import functools
import hashlib
import importlib.metadata
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

from accelerate.utils import imports
from datasets import arrow_dataset, fingerprint

from distill.config import reading
from pipeline.commands import dvc_reading
from pipeline.stage import definition

_FOLDER = tempfile.TemporaryDirectory(prefix="params-")  # the server's end removes it, no other process's


class Shared:
    """A function of a text, and of what changes no result, that gives bytes: all processes share its results."""

    def __init__(self, function: Callable[..., bytes], name: str):
        self._function, self._name = function, name

    def __call__(self, text: str, *further: str) -> bytes:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass")).hexdigest()
        file = Path(_FOLDER.name, f"{self._name}-{digest}")
        try:
            return file.read_bytes()
        except OSError:
            values = self._function(text, *further)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(values)
        draft.replace(file)  # whole or not there, for those who read at the same time
        return values


def install() -> None:
    """Let this process, and those that are forked from it, remember."""
    importlib.metadata.version = functools.cache(importlib.metadata.version)
    imports._is_package_available = functools.cache(imports._is_package_available)
    arrow_dataset.generate_fingerprint = lambda dataset: fingerprint.generate_random_fingerprint()
    reading._pickled = functools.lru_cache(maxsize=4)(Shared(reading._pickled, "params"))
    parse = definition._parse
    parsed = Shared(lambda text: pickle.dumps(parse(text)), "entries")
    definition._parse = lambda text: pickle.loads(parsed(text))
    # The path that DVC's parser is told stands in its errors alone.
    read = dvc_reading._pickled.__wrapped__
    dvc_reading._pickled = functools.lru_cache(maxsize=8192)(Shared(read, "dvc"))
