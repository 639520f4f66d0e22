"""What the files in metrics/ and data/predictions/ hold, as far as the summary and the report count on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, TypeAdapter

from distill.analysis.example_table import FIX
from distill.errors import UserError
from distill.runtime import json_files
from distill.runtime.json_files import Number, NumberOrNull


def _row(row: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(row.get("seeds"), list):
        raise ValueError("expected seeds")
    for name, value in row.items():
        if isinstance(value, dict | list) and name != "seeds":
            raise ValueError(f"expected a score at {name}")
    return row


def _snapshot(row: dict[str, Any]) -> dict[str, Any]:
    if "update" not in row:
        raise ValueError("expected update")
    return row


class Cost(BaseModel, extra="allow"):
    """metrics/cost.json."""

    machine: str
    threads: int
    precision: str
    length: Number
    models: dict[str, dict[str, NumberOrNull]]


class Side(BaseModel, extra="forbid"):
    """A text of a sample: its parts by name, and what teacher and student say of it."""

    text: dict[str, str]
    teacher: dict[str, Number] | None = None
    student: dict[str, Number]


class Sample(BaseModel, extra="forbid"):
    """An entry of data/samples/<label>.json (`distill.augmentation.samples.take`)."""

    row: int
    id: str
    gold: str | Number | list[str] | None
    source: Literal["generator", "neighbours", "copies"]
    original: Side
    changed: list[Side]


#: data/samples/<label>.json.
SAMPLES = TypeAdapter(list[Sample])
#: data/predictions/<label>.json of question answering.
ANSWERS = TypeAdapter(dict[str, str])
#: data/predictions/<label>.json of token classification: tags, and the entities that they mark.
TAGS = TypeAdapter(dict[str, dict[Literal["tags", "entities"], list[Any]]])
#: metrics/filters/<role>.json.
FILTERS = TypeAdapter(dict[str, dict[str, Number]])
#: metrics/selection/snapshots.json.
SNAPSHOTS = TypeAdapter(dict[str, Annotated[dict[str, Number], AfterValidator(_snapshot)]])
#: metrics/summary.json.
SUMMARY = TypeAdapter(dict[str, Annotated[dict[str, Any], AfterValidator(_row)]])
#: metrics/training.json.
TRAINING = TypeAdapter(dict[str, dict[str, NumberOrNull]])
_COST = TypeAdapter(Cost)


def read(path: Path, kind: TypeAdapter[Any] = json_files.MAPPING) -> dict[str, Any]:
    """The content of one of these files; {} where there is none.

    Raises:
        UserError: the file is damaged.
    """
    return json_files.read(path, FIX, kind) if path.exists() else {}


def cost(path: Path) -> dict[str, Any]:
    """The content of metrics/cost.json; {} where there is none.

    Raises:
        UserError: the file is damaged.
    """
    return json_files.read(path, FIX, _COST).model_dump(exclude_unset=True) if path.exists() else {}


def sample(path: Path) -> list[dict[str, Any]]:
    """The content of data/samples/<label>.json; [] where there is none.

    Raises:
        UserError: the file is damaged.
    """
    entries = json_files.read(path, FIX, SAMPLES) if path.exists() else []
    return [entry.model_dump(exclude_none=True) for entry in entries]


def scores(path: Path, *needed: str) -> dict[str, int | float]:
    """The scores of a model.

    Args:
        needed: names of scores that it must have.

    Raises:
        UserError: the file is missing or damaged.
    """
    values = json_files.read(path, FIX, json_files.NUMBERS)
    if missing := [name for name in needed if name not in values]:
        raise UserError(f"{path}: has no {' and no '.join(missing)}: {FIX}")
    return values


def curves(path: Path) -> pd.DataFrame:
    """The curves of a training: `step`, `loss`, and its terms.

    Raises:
        UserError: the file is damaged.
    """
    try:
        table = pd.read_csv(path, encoding="utf-8")
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("expected as many values as columns in each row")
        if "step" not in table or (len(table) and any(kind.kind not in "iuf" for kind in table.dtypes)):
            raise ValueError("expected a column step, and numbers in all columns")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not the curves of a training ({str(error).splitlines()[0]}): {FIX}") from None
    return table
