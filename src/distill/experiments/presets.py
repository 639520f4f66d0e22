"""Presets: partial parameter files (`presets/*.yaml`) that are merged into params.yaml.

A preset opens with a comment that says what it is and what was published for it::

    # description: SQuAD v2.0, DeBERTa-v3-base to xsmall, settings of the official TED repository
    # published: teacher 85.5/88.4, ft 81.5/84.5, kd 82.8/85.7 (EM/F1)
    teacher:
      learning_rate: 3.0e-5

It may give any part of the sections in params.yaml, and nothing that is not there. Mappings are
merged key by key, lists and values are replaced, and so is `config` as a whole: its keys are fields
of a transformers configuration, and those of one architecture mean nothing to another. The section
of a variant (`distill.config.variants`) is replaced as a whole too, and may be new.

What it gives in `training` holds for all trainings: a value that a section (`teacher`, say) sets for
itself is removed, unless the preset sets that one too. So a preset means the same after any other.

With `extends: other` its values are merged into those of `other.yaml` beside it, by the same rules.
Values that several presets share stand in `presets/shared/` (`extends: shared/name`). What is to be applied on top of
another preset stands in `presets/tasks/`: the columns and the deciding score of a task.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distill.config import reading, training
from distill.config.ensemble import is_member
from distill.config.variants import is_variant
from distill.errors import UserError
from distill.experiments import params_file

FOLDER = Path(__file__).resolve().parents[3] / "presets"
REPLACED_WHOLE = frozenset({"config", "extra"})
EXTENDS = "extends"


class _Absent:
    """No value: the section takes that of `training`."""

    def __str__(self) -> str:
        return "as in training"


ABSENT = _Absent()


class Change(NamedTuple):
    """A parameter that differs: its keys from the top, the value now, the preset's value; either may be ABSENT."""

    path: tuple[str, ...]
    old: Any
    new: Any

    def __str__(self) -> str:
        """``teacher.learning_rate: 0.001 -> 3.0e-05``; a section that was not there, ``kd_mse: new: {method: kd}``."""
        if self.old is ABSENT and len(self.path) == 1:
            return f"{self.path[0]}: new: {params_file.literal(self.new)}"
        old, new = (str(v) if v is ABSENT else params_file.literal(v) for v in (self.old, self.new))
        return f"{'.'.join(self.path)}: {old} -> {new}"


def names(folder: Path = FOLDER) -> list[str]:
    """The presets in `folder`, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find(name_or_path: str | Path, folder: Path = FOLDER) -> Path:
    """The file of a preset: a name in `folder` (`tasks/cola` too), or the path of any YAML file.

    Raises:
        UserError: there is no such file; the message has the nearest name.
    """
    name = Path(name_or_path)
    inside = folder / f"{name}.yaml"
    is_path = name.suffix in (".yaml", ".yml") or (len(name.parts) > 1 and not inside.is_file())
    path = name if is_path else inside
    if path.is_file():
        return path
    if is_path:
        raise UserError(f"{path}: no such preset file: give an existing path, or a name from --list")
    raise UserError(f"presets: no preset {str(name)!r}{_nearest(str(name), names(folder))}")


def load_all(names_or_paths: Iterable[str | Path], folder: Path = FOLDER) -> dict[str, Any]:
    """Several presets as one: each on top of those before it. Errors as in :func:`load`."""
    return functools.reduce(_on_top, (load(name, folder) for name in names_or_paths), {})


def load(name_or_path: str | Path, folder: Path = FOLDER) -> dict[str, Any]:
    """Read a preset as plain values, merged into those that it extends.

    Raises:
        UserError: there is no such preset, it is not a YAML mapping of names, it holds something
            that is no parameter (a date, an infinite number), or what it extends is missing or
            itself.
    """
    path = find(name_or_path, folder)
    preset = _read(path)
    seen = [path.resolve()]
    while EXTENDS in preset:
        name = preset.pop(EXTENDS)
        path = path.parent / f"{name}.yaml"
        if not path.is_file() or path.resolve() in seen:
            trouble = "it extends itself" if path.is_file() else f"{path}: no such file"
            raise UserError(f"{seen[-1]}: {EXTENDS}: {name}: {trouble}: name another preset, without its suffix")
        seen.append(path.resolve())
        preset = _on_top(_read(path), preset)
    return preset


def _on_top(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """The values of two presets, or of params.yaml and a preset: those of `upper` where both have one."""
    values = {**lower, **{name: _without(lower[name], keys) for name, keys in _superseded(lower, upper).items()}}
    for key, new in upper.items():
        old = values.get(key)
        values[key] = _on_top(old, new) if _is_merged(key, old, new) else new
    return values


def _is_merged(key: str, old: Any, new: Any) -> bool:
    """Whether two values of a name are mappings that are merged key by key."""
    both = isinstance(old, Mapping) and isinstance(new, Mapping)
    return both and key not in REPLACED_WHOLE and not _is_named(new)


def _is_named(values: Any) -> bool:
    """Whether a section is that of a variant or of a member of an ensemble, which params.yaml need not have."""
    return is_variant(values) or is_member(values)


def _superseded(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, list[str]]:
    """Section → its values in `lower` that give way to those of section `training` in `upper`."""
    defaults = upper.get(training.NAME)
    superseded = {}
    for name in training.SECTIONS if isinstance(defaults, Mapping) else ():
        old, new = lower.get(name), upper.get(name, {})
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys = [key for key in training.shared(name) if key in defaults and key in old and key not in new]
            superseded |= {name: keys} if keys else {}
    return superseded


def _without(values: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _read(path: Path) -> dict[str, Any]:
    preset = reading.parse(path.read_text(encoding="utf-8"), path)
    for keys, value in _leaves(preset):
        if wrong := [key for key in keys if not isinstance(key, str)]:
            raise UserError(f"{path}: key {wrong[0]!r} is no name: put it in quotes or correct it")
        try:
            params_file.literal(value)
        except UserError as error:
            raise UserError(f"{path}: {'.'.join(keys)}: {error}") from None
    return preset


def header(name_or_path: str | Path, folder: Path = FOLDER) -> dict[str, str]:
    """The opening comment's `description` and `published`; further lines go on with the last."""
    fields: dict[str, str] = {}
    last = None
    for line in find(name_or_path, folder).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("#").strip()
        if match := re.match(r"(description|published): *(.*)", text):
            last = match[1]
            fields[last] = match[2]
        elif last and text:
            fields[last] += f" {text}"
    return fields


def changes(params_text: str, preset: Mapping[str, Any], source: str | Path = "preset") -> list[Change]:
    """What the preset would change in a params file, in the preset's order.

    Args:
        params_text: the params file's text.
        preset: partial parameters, see :func:`load`.
        source: name of the preset in errors.

    Raises:
        UserError: the preset names a parameter that the file lacks (the message has the nearest
            valid name), or gives a single value for a whole section.
    """
    params = reading.parse(params_text, "params.yaml")
    superseded = _superseded(params, preset)
    return [
        *_compare(params, preset, (), source),
        *(Change((name, key), params[name][key], ABSENT) for name, keys in superseded.items() for key in keys),
    ]


def merge(params_text: str, preset: Mapping[str, Any], source: str | Path = "preset") -> str:
    """The params file's text with the preset's values: comments, order and layout are kept.

    Arguments and errors as in :func:`changes`; also UserError where a value cannot be edited in
    place (an alias, for instance).
    """
    different = changes(params_text, preset, source)
    values = {change.path: change.new for change in different if change.new is not ABSENT}
    merged = params_file.replace(params_text, values, [c.path for c in different if c.new is ABSENT])
    # A value behind an alias has several places: the result is read back, so that no wrong file is written.
    params = reading.parse(params_text, "params.yaml")
    if reading.parse(merged, "params.yaml") != _on_top(params, preset):
        raise UserError(
            f"params.yaml: cannot put the values of {source} in place (an anchor, alias or merge"
            " key?): write plain values there, or change them by hand"
        )
    return merged


def as_overrides(params_text: str, preset: Mapping[str, Any], source: str | Path = "preset") -> list[str]:
    """The preset's changes in Hydra's override grammar, each an argument for `dvc exp run -S`.

    ``a.b=value`` for values and lists, ``+a.b=value`` for one that params.yaml does not have yet, and ``~a.b`` to
    remove one. A mapping that replaces a value, or is replaced, takes two, ``~a.b`` and ``+a.b={...}``, because Hydra
    merges mappings. Arguments and errors as in :func:`changes`.
    """
    overrides = []
    for path, old, new in changes(params_text, preset, source):
        name = ".".join(path)
        if new is ABSENT:
            overrides.append(f"~{name}")
            continue
        value = params_file.literal(new, _hydra_quote)
        if old is ABSENT:
            overrides.append(f"+{name}={value}")
        elif isinstance(old, Mapping) or isinstance(new, Mapping):
            overrides += [f"~{name}", f"+{name}={value}"]
        else:
            overrides.append(f"{name}={value}")
    return overrides


def _hydra_quote(text: str) -> str:
    """Text in Hydra's single quotes.

    A backslash escapes only a quote and, before a quote, itself; ``${`` would be an interpolation.
    """
    text = re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", text)
    text = re.sub(r"(\\*)'", lambda m: m[1] * 2 + r"\'", text)
    tail = len(text) - len(text.rstrip("\\"))
    return f"'{text}{chr(92) * tail}'"


def _compare(
    params: Mapping[str, Any], preset: Mapping[str, Any], at: tuple[str, ...], source: str | Path
) -> Iterator[Change]:
    for key, new in preset.items():
        path = (*at, key)
        if key not in params and len(at) == 1 and key in training.shared(at[0]):
            yield Change(path, ABSENT, new)
            continue
        if key not in params and not at and _is_named(new):
            yield Change(path, ABSENT, new)
            continue
        if key not in params:
            raise UserError(
                f"{source}: {'.'.join(path)}: params.yaml has no such parameter{_nearest(key, list(params), at)}"
            )
        old = params[key]
        if _is_merged(key, old, new):
            yield from _compare(old, new, path, source)
        elif isinstance(old, Mapping) and not isinstance(new, Mapping) and not at:
            raise UserError(
                f"{source}: {key}: {new!r} stands where params.yaml has a section:"
                f" give its parameters below it, e.g. {next(iter(old), 'name')}"
            )
        elif old != new or isinstance(old, bool) != isinstance(new, bool):
            yield Change(path, old, new)


def _nearest(name: str, known: list[str], at: tuple[str, ...] = ()) -> str:
    prefix = ".".join((*at, ""))
    if match := difflib.get_close_matches(name, known, n=1, cutoff=0.5):
        return f": did you mean {prefix}{match[0]}?"
    return f": known are {', '.join(prefix + str(item) for item in known) or 'none'}"


def _leaves(values: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*at, key))
        else:
            yield (*at, key), value
