"""Published tables: the figures in docs/published/, the presets that stand for them, and the page that shows both.

`python -m tests.helpers.published` writes docs/published.md.

A file holds the tables of a document. A table's `columns` are data sets, and `presets` names the preset of each (`'-'`:
none, a mean or a rank), or all of them by one pattern, `{task}` being the column's task. A row has its `figures`, and
the `name` of the student that gives them: a method or variant in the preset's `methods`, or `teacher` or `student`
(`names`: of single columns). With `by: rows` rows are tasks and columns are students. What has no preset says why:
`out_of_scope`, or `not_yet`. `settings` are parameters of the preset that have the figures.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "published"
PAGE = ROOT / "docs" / "published.md"
NONE = "-"


@dataclass(frozen=True)
class Cell:
    """A figure, and the preset (names to apply in turn) and student that stand for it."""

    column: str
    figure: str
    presets: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Row:
    """A line of a published table; `why` it has no preset, `settings` by column."""

    label: str
    cells: tuple[Cell, ...]
    why: str
    settings: tuple[tuple[str, ...], ...]

    @property
    def figures(self) -> tuple[str, ...]:
        """Its figures, without those that the table leaves out."""
        return tuple(cell.figure for cell in self.cells if cell.figure != NONE)


@dataclass(frozen=True)
class Table:
    """A published table; `source` where it is not in one of the documents, `in_text` where it is none there."""

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    by_rows: bool
    source: str
    in_text: bool
    test_set: bool


@dataclass(frozen=True)
class Document:
    """The tables of a document; `file` is its name in ../shared/sources, empty for other sources."""

    file: str
    title: str
    of: str
    tables: list[Table] = field(default_factory=list)


def documents() -> list[Document]:
    """All that docs/published/ has. Figures are text, as published: 90.60 stays 90.60."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        values = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # every value stays text
        tables = [_table(table) for table in values["tables"]]
        found.append(Document(values.get("document", ""), values["title"], values["of"], tables))
    return found


def task_of(title: str) -> str:
    """`MNLI-m/mm` → mnli, `SST-2` → sst2; empty for a mean or a rank."""
    if re.match(r"(?i)score|average|avg|rank", title):
        return ""
    return re.sub(r"-(m|mm|m/mm)$|-", "", title.lower())


def _table(values: dict[str, Any]) -> Table:
    columns, by_rows = values["columns"], values.get("by") == "rows"
    given = values.get("presets", NONE)
    listed = given if isinstance(given, list) else [given] * len(columns)
    assert len(listed) == len(columns), values["id"]
    rows = []
    for row in values["rows"]:
        assert len(row["figures"]) == len(columns), (values["id"], row["row"])
        if by_rows:
            cells = [
                Cell(column, figure, _presets(f"{preset} tasks/{{task}}", row["row"]), name)
                for column, figure, preset, name in zip(columns, row["figures"], listed, values["names"], strict=True)
            ]
        else:
            cells = [
                Cell(column, figure, _presets(preset, column), row.get("names", {}).get(column, row.get("name", "")))
                for column, figure, preset in zip(columns, row["figures"], listed, strict=True)
            ]
        why = [f"{key.replace('_', ' ')}: {part[key]}" for part in (row, values) for key in _WHY if key in part]
        settings = tuple(tuple(item.split()) for item in row.get("settings", []))
        rows.append(Row(row["row"], tuple(cells), "".join(why[:1]), settings))
    flags = {name: name in values for name in ("in_text", "test_set")}
    return Table(values["id"], values["title"], tuple(columns), tuple(rows), by_rows, values.get("source", ""), **flags)


def _presets(pattern: str, title: str) -> tuple[str, ...]:
    """The presets of a column (or row) with this title; none where the pattern asks for a task and it has none."""
    task = task_of(title)
    if pattern == NONE or ("{task}" in pattern and not task):
        return ()
    return tuple(pattern.replace("{task}", task).split())


_WHY = ("out_of_scope", "not_yet")
_PAGE = """# Published tables

<!-- Written by `python -m tests.helpers.published` from docs/published/*.yaml, which tests compare with the sources -->

Every table of the documents that this project grew out of, and the preset and student that reproduce each row. None of
these figures was measured here. "here" names the student in the preset's `methods`: a method, or a variant with
settings of its own. `teacher` and `student` are the two fine-tuned models. A header in `presets/` says which of its
values are published and which are ours.

A preset for GLUE is written for one task; a second preset on top of it takes another. Without `make`:
`python -m pipeline.commands.preset glue-bert4 tasks/cola`.

```console
$ make preset NAME=squad_v2-deberta_v3
$ make preset NAME='glue-bert4 tasks/cola'      # a table, and one of its tasks
$ dvc repro
```
"""


def page() -> str:
    """The content of docs/published.md."""
    parts = [_PAGE]
    for document in documents():
        parts.append(f"## {document.title}\n\n{textwrap.fill(_sentence(document.of), 118)}\n")
        parts += [part for table in document.tables for part in _shown(table)]
    return "\n".join(parts)


def _shown(table: Table) -> Iterator[str]:
    yield f"### {table.title}\n"
    notes = [_sentence(f"Source: {table.source}")] if table.source else []
    if table.test_set:
        notes.append(_TEST_SET)
    if notes:
        yield textwrap.fill(" ".join(notes), 118) + "\n"
    if used := [cell.presets for row in table.rows if not row.why for cell in row.cells if cell.presets]:
        yield f"```console\n{_commands(used)}\n```\n"
    last = [] if table.by_rows else ["here"]
    lines = [["", *table.columns, *last], ["---"] * (1 + len(table.columns) + len(last))]
    if table.by_rows:
        lines.append(["here", *(f"`{cell.presets[0]}`: `{cell.name}`" for cell in table.rows[0].cells)])
    for row in table.rows:
        figures = ["–" if cell.figure == NONE else cell.figure for cell in row.cells]
        lines.append([row.label, *figures, *([] if table.by_rows else [_here(row)])])
    yield "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _commands(used: list[tuple[str, ...]]) -> str:
    """The presets of a table: a command for the first, and what to write in its place for the others."""
    first = " ".join(used[0])
    line = f"$ make preset NAME='{first}'" if " " in first else f"$ make preset NAME={first}"
    for position, name in enumerate(used[0]):
        if others := dict.fromkeys(names[position] for names in used if names[position] != name):
            line += f"\n# for {name} also: {', '.join(others)}"
    return line


def _here(row: Row) -> str:
    if row.why:
        return row.why
    if row.settings:
        return ", ".join(dict.fromkeys(f"`{name}`" for names in row.settings for name in names if name != NONE))
    by_name: dict[str, list[str]] = {}
    for cell in row.cells:
        if cell.presets:
            by_name.setdefault(cell.name, []).append(cell.column)
    if len(by_name) == 1:
        return f"`{next(iter(by_name))}`"
    return "; ".join(f"`{name}` ({', '.join(columns)})" for name, columns in by_name.items())


_TEST_SET = "Test sets, whose labels are not public; here the dev sets."

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
