"""What every stage finds out anew, found out once for all processes of a fork server.

Versions of libraries, which of them are installed, and the values of a params.yaml whose text another process has
parsed: together a quarter of what a stage of a micro pipeline costs. Errors are never remembered. And a dataset's
fingerprint, by which `datasets` finds what it has cached of a `map`, is drawn: no stage caches any.
"""

import functools
import hashlib
import importlib.metadata
import os
import tempfile
from pathlib import Path

from accelerate.utils import imports
from datasets import arrow_dataset, fingerprint

from distill.config import reading

_parse = reading._pickled
_FOLDER = tempfile.TemporaryDirectory(prefix="params-")  # the server's end removes it, no other process's


def pickled(text: str) -> bytes:
    """What `reading._pickled` gives."""
    file = Path(_FOLDER.name, hashlib.blake2b(text.encode("utf-8", "surrogatepass")).hexdigest())
    try:
        return file.read_bytes()
    except OSError:
        values = _parse(text)
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_bytes(values)
    draft.replace(file)  # whole or not there, for those who read at the same time
    return values


def install() -> None:
    """Let this process, and those that are forked from it, remember."""
    importlib.metadata.version = functools.cache(importlib.metadata.version)
    imports._is_package_available = functools.cache(imports._is_package_available)
    arrow_dataset.generate_fingerprint = lambda dataset: fingerprint.generate_random_fingerprint()
    reading._pickled = functools.lru_cache(maxsize=4)(pickled)
