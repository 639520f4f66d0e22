"""Tests bring parameters of their own: whoever edits params.yaml, or puts a preset into it, can still run them."""

import re

from distill.config import reading
from distill.config.ensemble import is_member
from distill.config.variants import is_variant
from tests.helpers import micro

COPY = "tests/params.yaml"


def names(path) -> set[str]:
    """`section.parameter` of all sections but those of variants and members, whatever lies below."""
    raw = reading.parse(path.read_text(encoding="utf-8"), path)
    own = {key: value for key, value in raw.items() if not isinstance(value, dict) or not special(value)}
    return {f"{key}.{name}" for key, value in own.items() for name in (value if isinstance(value, dict) else [""])}


def special(section: dict) -> bool:
    return is_variant(section) or is_member(section)


def test_the_copy_of_the_tests_has_every_parameter(root):
    """Any training may set a value of section training for itself: those do not count."""
    theirs, own = names(root / "params.yaml"), names(root / COPY)
    shared = {name.partition(".")[2] for name in own if name.startswith("training.")} | {"epochs", "learning_rate"}
    differing = {name for name in theirs ^ own if name.partition(".")[2] not in shared}
    assert not differing, f"params.yaml and {COPY} have different parameters: put them into both"


def test_no_test_reads_the_users_parameters(root):
    readers = re.compile(r'(?:root|ROOT) / "params\.yaml"')
    found = [path.name for path in (root / "tests").rglob("*.py") if readers.search(path.read_text(encoding="utf-8"))]
    assert found == ["test_own_parameters.py"] and root / COPY == micro.PARAMS
