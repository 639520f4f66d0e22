"""What a model can be asked to do, as commands over files, the server and MLflow need to know it: a verb.

Each module with a command has one (`classify.VERB`); `distill.inference.verbs` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import pyarrow as pa
from pydantic import BaseModel

from distill.inference.lines import Rows, text_problem
from distill.inference.model import Model, Settings


@dataclass(frozen=True)
class Field:
    """A field of a row.

    Attributes:
        description: what it holds, for people.
        type: `str` or `list[str]`.
        required: whether every row has it.
    """

    description: str
    type: Any = str
    required: bool = True


@dataclass(frozen=True)
class Verb:
    """A verb.

    Attributes:
        name: name of the command (`distill.<name>`) and of the server's path (`/<name>`).
        summary: what it does, in a line.
        tasks: tasks whose models do it.
        fields: fields of a row.
        result: fields of a result, to describe them.
        ask: function from a model and rows to as many results. It raises a UserError where it cannot answer one of
            them.
        columns: function from a model's settings to the columns of a table of results: name → type.
        cells: function from a result to the values of these columns; those that it leaves out are null.
    """

    name: str
    summary: str
    tasks: tuple[str, ...]
    fields: Mapping[str, Field]
    result: type[BaseModel]
    ask: Callable[[Model, Rows], Rows]
    defaults: Mapping[str, Any]
    columns: Callable[[Settings], dict[str, pa.DataType]]
    cells: Callable[[dict[str, Any]], dict[str, Any]]

    def problem(self, row: Mapping[str, Any]) -> str | None:
        """What is wrong with a row, before a model is asked; None where nothing is."""
        for name, field in self.fields.items():
            value = row.get(name)
            if value is None and not field.required:
                continue
            many = bool(get_args(field.type))
            if not isinstance(value, list if many else str) or (many and not all(isinstance(v, str) for v in value)):
                return (
                    f"{name}: {'is missing' if value is None else 'is no text'}: give {'texts' if many else 'a text'}"
                )
            for text in value if many else [value]:
                if problem := text_problem(text):
                    return f"{name}: {problem}: give a text"
        return None
