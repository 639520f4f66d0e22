"""Short cuts through DVC's reading and writing of YAML, which it does anew for every stage.

What DVC reads and writes is the same. A text that it has read already is not parsed again; and of dvc.lock, whose text
is DVC's own, only the entries that have changed are parsed and written anew, by DVC's parser and writer: the others
stay as they stand. A parameter is looked up by its name, where dpath goes through all of params.yaml for each.

They take the place of functions of DVC that are not for users: only `pipeline.commands.quick_dvc` installs them, where
it knows the version of DVC.
"""

import functools
import io
import os
import pickle
import re
from types import SimpleNamespace
from typing import Any, TextIO

from dvc.dependency import param
from dvc.dependency.param import dpath
from dvc.utils import serialize, strictyaml
from dvc.utils.serialize import _yaml

_HEAD = "schema: '2.0'\nstages:\n"
_parse, _parse_for_update, _dump = _yaml.parse_yaml, _yaml.parse_yaml_for_update, _yaml._dump


@functools.lru_cache(maxsize=8192)  # entries of dvc.lock, 4 kB each: all are read in turn
def _pickled(text: str, path: str) -> bytes:
    return pickle.dumps(_parse(text, path))


def _entries(text: str) -> list[str]:
    """The texts of the entries of dvc.lock."""
    _, *texts = re.split(r"^(?=  \S)", text.removeprefix(_HEAD), flags=re.MULTILINE)
    return texts


def _is_lock(text: str, path: Any) -> bool:
    """Whether this is dvc.lock as DVC writes it, without references from one entry to another."""
    return os.path.basename(path) == "dvc.lock" and text.startswith(_HEAD) and not re.search(r": [&*]", text)


def parse(text: str | bytes, path: Any, typ: str = "safe") -> Any:
    """What `parse_yaml` gives: values of the caller's own."""
    if typ != "safe" or not isinstance(text, str):
        return _parse(text, path, typ=typ)
    if not _is_lock(text, path):
        return pickle.loads(_pickled(text, os.fspath(path)))
    stages: dict[str, Any] = {}
    for entry in _entries(text):
        lock = pickle.loads(_pickled(_HEAD + entry, os.fspath(path)))
        stages |= lock["stages"]
        if set(lock) != {"schema", "stages"} or len(lock["stages"]) != 1:
            return _parse(text, path)
    return {"schema": "2.0", "stages": stages} if stages else _parse(text, path)


def look_up(tree: dict, name: str, separator: str) -> Any:
    """What `dpath.get` gives."""
    found: Any = tree
    for part in name.split(separator):
        if not isinstance(found, dict) or re.search(r"[*?\[]", part):
            return dpath.get(tree, name, separator=separator)
        found = found[part]
    return found


class Lock(dict):
    """Content of dvc.lock.

    Attributes:
        written: stage -> its entry, and the text of it.
    """

    written: dict[str, tuple[dict, str]]


def parse_for_update(text: str, path: Any) -> Any:
    """What `parse_yaml_for_update` gives, of dvc.lock a `Lock`."""
    if not _is_lock(text, path):
        return _parse_for_update(text, path)
    lock = Lock(parse(text, path))
    texts = _entries(text)
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
    param.dpath = SimpleNamespace(**vars(dpath) | {"get": look_up})
