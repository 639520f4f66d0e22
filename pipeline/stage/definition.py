"""A stage as dvc.yaml defines it: its name, the parameters it depends on, what it reads and what it writes.

dvc.yaml is the only place for these. A script passes its name and its arguments, and gets the rest:

    define("finetune", "teacher")    →  finetune_teacher, params [task, training, teacher, …], deps […], outs […]
    define("distill", "ted", "1")    →  distill@ted-1

The command of a matrix ends with ${item}: DVC writes it as `--method ted --seed 1`, and quotes for the shell what
params.yaml says.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from distill.config.params import Params
from distill.config.values import pick
from distill.errors import UserError
from pipeline.process.records import RUNS
from pipeline.stage import paths

FILE = Path("dvc.yaml")
COMMAND = "python -m pipeline"
ITEM = "${item}"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Definition:
    """One stage of dvc.yaml.

    Attributes:
        name: name as DVC prints it, `distill@ted-1`.
        declared: dotted names of the parameters that it depends on.
        deps: files and folders that it reads, relative to the repository's root; code among them.
        outs: files and folders that it writes, metrics and plots among them.
    """

    name: str
    declared: tuple[str, ...] = ()
    deps: tuple[Path, ...] = ()
    outs: tuple[Path, ...] = ()

    @property
    def record(self) -> Path | None:
        """The output with facts that differ from run to run (`Stage.record`); None: it has none."""
        return next((out for out in self.outs if out.parent == RUNS), None)

    def values(self, params: Params) -> dict[str, Any]:
        """The declared parameters, as plain values.

        Where the section of a variant is declared, its settings stand under its method's name, and the others are as
        it has them: so runs of variants and of their method are compared parameter by parameter.
        """
        names = {name: params.method_of(name) for name in self.declared}
        for name in names.keys() & params.variants.keys():
            params = params.resolved(name)
        return pick(params, list(names.values()))


def define(script: str, *words: str) -> Definition:
    """The stage of dvc.yaml whose command runs `script` with these words (`plain` or as DVC writes them).

    Raises:
        UserError: there is no such stage, or dvc.yaml or params.yaml cannot be read.
    """
    words = tuple(plain(words))
    command = " ".join((COMMAND, script, *words))
    fitting = []
    for name, entry in _stages().items():
        keys = list(entry.get("matrix", {}))
        if entry["cmd"] == command:
            return _resolve(name, entry, {})
        if keys and entry["cmd"] == f"{COMMAND} {script} {ITEM}" and len(words) == len(keys):
            fitting.append((name, entry, dict(zip(keys, words, strict=True))))
    for name, entry, item in fitting:
        # Several stages run distill and evaluate: for listed seeds, further seeds of the baseline, confirmation.
        if all(value in values for value, values in zip(words, _matrix(entry).values(), strict=True)):
            return _resolve(name, entry, item)
    if fitting:
        return _resolve(*fitting[0])  # DVC does not run it: a person may
    commands = [
        entry["cmd"].replace(ITEM, " ".join(f"<{key}>" for key in entry.get("matrix", {})))
        for entry in _stages().values()
    ]
    similar = " or ".join(f"`{known}`" for known in commands if known.split()[:4] == command.split()[:4])
    expected = f"expected {similar}" if similar else f"its scripts are {', '.join(scripts())}"
    raise UserError(f"{FILE}: no stage runs `{command}`: {expected}")


def plain(words: Sequence[str]) -> list[str]:
    """The words of a command without the names that DVC puts before them: `--method ted --seed 1` → `ted 1`."""
    named = bool(words) and len(words) % 2 == 0 and all(word.startswith("--") for word in words[::2])
    return list(words[1::2] if named else words)


def outputs() -> list[Path]:
    """All outputs of all stages, for the methods and seeds of params.yaml.

    Raises:
        UserError: dvc.yaml or params.yaml cannot be read.
    """
    paths: list[Path] = []
    for name, entry in _stages().items():
        matrix = _matrix(entry)
        for values in itertools.product(*matrix.values()):
            paths += _resolve(name, entry, dict(zip(matrix, values, strict=True))).outs
    return paths


def scripts() -> list[str]:
    """The scripts that stages run, in the order of dvc.yaml."""
    return list(dict.fromkeys(entry["cmd"].removeprefix(COMMAND).split()[0] for entry in _stages().values()))


def _resolve(name: str, entry: Mapping[str, Any], item: Mapping[str, str]) -> Definition:
    values = {f"item.{key}": value for key, value in item.items()}

    def text(template: str) -> str:
        return _REFERENCE.sub(lambda match: values.get(match[1]) or str(_parameter(match[1])), template)

    outs = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
    return Definition(
        f"{name}@{'-'.join(item.values())}" if item else name,
        tuple(text(param) for param in entry.get("params", [])),
        tuple(Path(text(dep)) for dep in entry.get("deps", [])),
        tuple(Path(text(out if isinstance(out, str) else next(iter(out)))) for out in outs),
    )


def _matrix(entry: Mapping[str, Any]) -> dict[str, list[str]]:
    """The values of a stage's matrix: `${seeds}`, a list of the parameters; or a list of values and parameters."""
    values = {}
    for key, listed in entry.get("matrix", {}).items():
        items = _value(listed) if isinstance(listed, str) else [_value(item) for item in listed]
        values[key] = [str(item) for item in items]
    return values


def _value(written: Any) -> Any:
    """A value of dvc.yaml; of a whole reference, `${seeds}`, the parameter."""
    reference = _REFERENCE.fullmatch(written) if isinstance(written, str) else None
    return _parameter(reference[1]) if reference else written


def _stages() -> dict[str, dict[str, Any]]:
    return _read(FILE)["stages"]


def _parameter(name: str) -> Any:
    value: Any = _read(paths.PARAMS)
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise UserError(f"{paths.PARAMS}: {name}: missing, {FILE} refers to it")
        value = value[key]
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.resolve(), path.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: run from the project's root") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


@functools.lru_cache(maxsize=8)
def _parsed(path: Path, changed: int) -> dict[str, Any]:
    return _parse(path.read_text(encoding="utf-8"))


def _parse(text: str) -> dict[str, Any]:
    return yaml.load(text, LOADER)
