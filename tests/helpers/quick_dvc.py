"""DVC's reading and writing of YAML, sooner: it parses all of dvc.lock in Python after each stage, and writes it.

What DVC reads and writes is the same. A text that it has read already is not parsed again; and of dvc.lock, whose text
is DVC's own, only the entries that have changed are written anew, by DVC's writer, the others stay as they stand.
"""

import functools
import io
import os
import pickle
import re
from typing import Any, TextIO

from dvc.utils import serialize, strictyaml
from dvc.utils.serialize import _yaml

_HEAD = "schema: '2.0'\nstages:\n"
_parse, _parse_for_update, _dump = _yaml.parse_yaml, _yaml.parse_yaml_for_update, _yaml._dump


@functools.lru_cache(maxsize=16)
def _pickled(text: str, path: str) -> bytes:
    return pickle.dumps(_parse(text, path))


def parse(text: str | bytes, path: Any, typ: str = "safe") -> Any:
    """What `parse_yaml` gives: values of the caller's own."""
    if typ != "safe" or not isinstance(text, str):
        return _parse(text, path, typ=typ)
    return pickle.loads(_pickled(text, os.fspath(path)))


class Lock(dict):
    """Content of dvc.lock.

    Attributes:
        written: stage -> its entry, and the text of it.
    """

    written: dict[str, tuple[dict, str]]


def parse_for_update(text: str, path: Any) -> Any:
    """What `parse_yaml_for_update` gives, of dvc.lock a `Lock`."""
    if os.path.basename(path) != "dvc.lock" or not text.startswith(_HEAD):
        return _parse_for_update(text, path)
    lock = Lock(parse(text, path))
    _, *texts = re.split(r"^(?=  \S)", text.removeprefix(_HEAD), flags=re.MULTILINE)
    if set(lock) != {"schema", "stages"} or len(texts) != len(lock["stages"]):
        return _parse_for_update(text, path)
    lock.written = {name: (entry, text) for (name, entry), text in zip(lock["stages"].items(), texts, strict=True)}
    return lock


def dump(data: Any, stream: TextIO) -> None:
    """What `_dump` writes; entries of a `Lock` are replaced as a whole, never changed."""
    if not isinstance(data, Lock) or not data["stages"]:
        return _dump(dict(data) if isinstance(data, Lock) else data, stream)
    texts = []
    for name, entry in data["stages"].items():
        before, text = data.written.get(name, (None, ""))
        if entry is not before:
            new = io.StringIO()
            _dump({"schema": data["schema"], "stages": {name: entry}}, new)
            text = new.getvalue().removeprefix(_HEAD)
        texts.append(text)
    stream.write(_HEAD + "".join(texts))


def install() -> None:
    """Let DVC in this process read and write so."""
    for module in (_yaml, serialize, strictyaml):
        module.parse_yaml = parse
    _yaml.parse_yaml_for_update, _yaml._dump = parse_for_update, dump
