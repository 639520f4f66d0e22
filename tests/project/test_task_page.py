"""docs/tasks.md has every task, and says which method learns it as the methods do."""

import re

from distill.tasks.registry import task_names
from tests.helpers import task_page


def test_the_table_says_what_the_methods_say():
    assert task_page.shown().split() == task_page.table().split()
    assert task_page.refusal("regression", "dist").startswith("it has a number and no classes")


def test_every_task_has_a_section_with_the_same_parts():
    text = task_page.PAGE.read_text(encoding="utf-8")
    sections = dict(re.findall(r"(?ms)^## `(\w+)`\n(.*?)(?=^## |\Z)", text))
    assert sorted(sections) == task_names()
    for name, section in sections.items():
        parts = re.findall(r"(?m)^- \*\*(.+?)\*\*:", section)
        assert parts == ["Data", "Loss", "Soft targets", "Scores", "States", "Not possible"], name
