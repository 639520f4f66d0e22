"""Groups of teacher layers: those of the paper, and what must hold for every depth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UserError
from distill.models.layer_groups import resolve
from distill.models.layer_maps import resolve as resolve_map


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("regular", [[1, 2, 3], [4, 5, 6]]),
        ("overlap", [[1, 2, 3, 4], [3, 4, 5, 6]]),
        ("skip_middle", [[1, 2], [5, 6]]),
        ("cross", [[1, 3], [4, 6]]),
        ("reversed", [[4, 5, 6], [1, 2, 3]]),
    ],
)
def test_the_papers_groups_for_6_to_2(groups, expected):
    assert resolve(groups, 2, 6, "x") == expected


@pytest.mark.parametrize(
    ("groups", "student", "teacher", "expected"),
    [
        ("regular", 4, 12, [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]),
        ("regular", 2, 5, [[1, 2, 3], [4, 5]]),
        ("regular", 1, 3, [[1, 2, 3]]),
        ("overlap", 3, 12, [[1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [8, 9, 10, 11, 12]]),
        ("overlap", 2, 4, [[1, 2, 3], [2, 3, 4]]),
        ("skip_middle", 4, 12, [[1, 2], [3, 4], [9, 10], [11, 12]]),
        ("skip_middle", 2, 4, [[1], [4]]),
        ("skip_middle", 2, 7, [[1, 2], [6, 7]]),
        ("cross", 4, 12, [[1, 3], [4, 6], [7, 9], [10, 12]]),
        ("cross", 2, 12, [[1, 6], [7, 12]]),
        ([[3, 1], [2]], 2, 3, [[3, 1], [2]]),
    ],
)
def test_other_depths(groups, student, teacher, expected):
    assert resolve(groups, student, teacher, "x") == expected


@given(
    student=st.integers(1, 20),
    teacher=st.integers(1, 40),
    name=st.sampled_from(["regular", "overlap", "skip_middle", "cross", "reversed"]),
)
def test_what_holds_for_all_named_groups(student, teacher, name):
    try:
        found = resolve(name, student, teacher, "x")
    except UserError:
        ends = 2 * round(teacher / 3)
        assert {
            "regular": student > teacher,
            "overlap": student > teacher or student == 1,
            "skip_middle": teacher < 3 or ends < student,
            "cross": teacher < 3 * student,
            "reversed": student > teacher,
        }[name]
        return
    assert len(found) == student
    assert all(group and group == sorted(set(group)) and group[0] >= 1 and group[-1] <= teacher for group in found)
    used = [layer for group in found for layer in group]
    if name == "regular":
        assert used == list(range(1, teacher + 1))
        assert [group[-1] for group in found] == resolve_map("uniform", student, teacher, "x")
    if name == "reversed":
        assert found[::-1] == resolve("regular", student, teacher, "x")
    if name == "overlap":
        assert set(used) == set(range(1, teacher + 1))
        assert all(set(a) & set(b) for a, b in zip(found, found[1:], strict=False))
    if name == "skip_middle":
        left_out = sorted(set(range(1, teacher + 1)) - set(used))
        assert left_out == list(range(left_out[0], left_out[-1] + 1))
        assert left_out[0] - 1 == teacher - left_out[-1] == round(teacher / 3) and len(used) == len(set(used))
    if name == "cross":
        assert all(len(group) == 2 for group in found)


@pytest.mark.parametrize(
    ("groups", "student", "teacher", "parts"),
    [
        ("regular", 5, 4, ["'regular'", "student has 5", "teacher 4", "list of lists"]),
        ("overlap", 1, 4, ["'overlap'", "two student layers", "'regular'"]),
        ("skip_middle", 2, 2, ["'skip_middle'", "three layers or more", "it has 2", "'regular'"]),
        ("skip_middle", 3, 4, ["'skip_middle'", "keeps 2 of the teacher's 4", "student's 3"]),
        ("cross", 2, 5, ["'cross'", "need 6", "there are 5", "'regular'"]),
        ([[1]], 2, 4, ["[[1]]", "1 lists for 2 student layers"]),
        ([[1], [5]], 2, 4, ["[5]", "layer 5", "1…4"]),
        ([[1], [0]], 2, 4, ["layer 0", "1…4"]),
        ([[1, 1], [2]], 2, 4, ["[1, 1]", "twice"]),
    ],
)
def test_errors_name_the_field_both_numbers_and_the_fix_on_one_line(groups, student, teacher, parts):
    with pytest.raises(UserError) as caught:
        resolve(groups, student, teacher, "ckd.layer_groups")
    message = str(caught.value)
    assert message.startswith("params.yaml: ckd.layer_groups: ") and "\n" not in message
    for part in parts:
        assert part in message


def test_lists_are_copied():
    given = [[1], [2]]
    resolve(given, 2, 4, "x")[0].append(3)
    assert given == [[1], [2]]
