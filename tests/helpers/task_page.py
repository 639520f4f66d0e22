"""The table task × method of docs/tasks.md, from what the methods themselves say.

`python -m tests.helpers.task_page` writes it between the page's two marks; the sections are written by people.
"""

from __future__ import annotations

import re

from distill.errors import UserError
from distill.methods import registry
from distill.tasks.registry import task_names
from tests.helpers import micro
from tests.helpers.family_methods import params

PAGE = micro.ROOT / "docs" / "tasks.md"
_MARKS = "<!-- Written by `python -m tests.helpers.task_page`. -->\n", "<!-- Up to here. -->\n"


def refusal(task: str, method: str) -> str:
    """Why a method with the settings of params.yaml is refused for a task; empty: it is not."""
    try:
        params(task, method)
    except UserError as error:
        reason = re.sub(r"^\S+: (methods: '\w+': )?(task \w+: )?", "", str(error))
        return reason.removesuffix(": take it out of methods")
    return ""


def table() -> str:
    """The table and its notes."""
    tasks = task_names()
    notes: dict[str, list[str]] = {}  # reason → "`method`, `task`" of all that it holds for
    lines = [f"| method | {' | '.join(f'`{task}`' for task in tasks)} |", "|---|" + "---|" * len(tasks)]
    for method in registry.available():
        cells = []
        for task in tasks:
            if reason := refusal(task, method):
                notes.setdefault(reason, []).append(f"`{method}`, `{task}`")
            cells.append(f"no ({list(notes).index(reason) + 1})" if reason else "yes")
        lines.append(f"| [`{method}`](methods/{method}.md) | {' | '.join(cells)} |")
    listed = (f"{n}. {'; '.join(names)}: {reason}." for n, (reason, names) in enumerate(notes.items(), start=1))
    return "\n".join([*lines, "", *listed, ""])


def shown() -> str:
    """What stands between the page's marks."""
    text = PAGE.read_text(encoding="utf-8")
    return text.split(_MARKS[0])[1].split(_MARKS[1])[0]


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_MARKS[0])
    PAGE.write_text(f"{before}{_MARKS[0]}\n{table()}\n{_MARKS[1]}{rest.partition(_MARKS[1])[2]}", encoding="utf-8")
