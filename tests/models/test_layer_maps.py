"""Which teacher layer teaches which student layer."""

import functools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UserError
from distill.models.layer_maps import both, resolve, resolve_inner, stated
from tests.helpers.states import load


@pytest.mark.parametrize(
    ("layers", "student", "teacher", "expected"),
    [
        ("uniform", 6, 12, [2, 4, 6, 8, 10, 12]),
        ("uniform", 4, 12, [3, 6, 9, 12]),
        ("uniform", 5, 12, [3, 5, 8, 10, 12]),
        ("uniform", 4, 4, [1, 2, 3, 4]),
        ("uniform", 1, 12, [12]),
        ("last", 3, 12, [10, 11, 12]),
        ("last", 12, 12, list(range(1, 13))),
        ("skip", 6, 12, [2, 4, 6, 8, 10, 12]),
        ("skip", 3, 12, [2, 4, 6]),
        ("first", 3, 6, [1, 2, 3]),
        ("first", 6, 6, [1, 2, 3, 4, 5, 6]),
        ("reversed", 3, 6, [6, 4, 2]),
        ("reversed", 5, 12, [12, 10, 8, 5, 3]),
        ("reversed", 1, 12, [12]),
        ([1, 1, 12], 3, 12, [1, 1, 12]),
        ([4, 2, 1, 1], 4, 4, [4, 2, 1, 1]),
        ([1, 2, 2], 3, 2, [1, 2, 2]),
    ],
)
def test_maps(layers, student, teacher, expected):
    assert resolve(layers, student, teacher, "lwd.layer_map") == expected


@given(
    student=st.integers(1, 40),
    teacher=st.integers(1, 40),
    name=st.sampled_from(["uniform", "last", "skip", "first", "reversed"]),
)
def test_named_maps_rise_and_name_existing_layers(student, teacher, name):
    if student > teacher or (name == "skip" and 2 * student > teacher):
        with pytest.raises(UserError):
            resolve(name, student, teacher, "lwd.layer_map")
        return
    found = resolve(name, student, teacher, "lwd.layer_map")
    assert len(found) == student
    rising = found[::-1] if name == "reversed" else found
    assert rising == sorted(set(found))
    assert rising[0] >= 1 and rising[-1] <= teacher
    if name not in ("skip", "first"):
        assert rising[-1] == teacher


def test_a_list_is_copied():
    given = [1, 2]
    resolve(given, 2, 4, "x").append(3)
    assert given == [1, 2]


@pytest.mark.parametrize(
    ("layers", "student", "teacher", "parts"),
    [
        ([1, 2], 3, 12, ["[1, 2]", "2 entries", "3 student layers"]),
        ([1, 13], 2, 12, ["layer 13", "1…12"]),
        ([0, 1], 2, 12, ["layer 0", "1…12"]),
        ("uniform", 5, 4, ["'uniform'", "student has 5", "teacher 4", "explicit list"]),
        ("skip", 4, 7, ["'skip'", "at least 8", "it has 7", "'uniform'"]),
    ],
)
def test_errors_name_the_field_both_numbers_and_the_fix_on_one_line(layers, student, teacher, parts):
    with pytest.raises(UserError) as caught:
        resolve(layers, student, teacher, "lwd.layer_map")
    message = str(caught.value)
    assert message.startswith("params.yaml: lwd.layer_map: ") and "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("layers", "student", "teacher", "expected"),
    [
        ("uniform", 6, 12, [2, 4, 6, 8, 10]),
        ("uniform", 3, 12, [4, 8]),
        ("skip", 6, 12, [2, 4, 6, 8, 10]),
        ("last", 6, 12, [7, 8, 9, 10, 11]),
        ([5, 1], 3, 6, [5, 1]),
        ("uniform", 2, 4, [2]),
        ("reversed", 3, 6, [4, 2]),
        ("first", 3, 6, [1, 2]),
    ],
)
def test_inner_maps_leave_out_the_last_student_layer(layers, student, teacher, expected):
    assert resolve_inner(layers, student, teacher, "pkd.layer_map") == expected


@pytest.mark.parametrize(
    ("layers", "student", "parts"),
    [
        ("uniform", 1, ["student has 1 layer", "two layers or more"]),
        ([1, 2, 3], 3, ["3 entries", "student layers 1…2", "give 2"]),
        ([1, 13], 3, ["layer 13", "1…12"]),
    ],
)
def test_errors_of_inner_maps(layers, student, parts):
    with pytest.raises(UserError) as caught:
        resolve_inner(layers, student, 12, "pkd.layer_map")
    message = str(caught.value)
    assert message.startswith("params.yaml: pkd.layer_map: ") and "\n" not in message
    for part in parts:
        assert part in message


def depths(params, what="layers"):
    return both(functools.partial(stated, params), what)


def test_stated_depths_are_those_of_the_student_as_distillation_starts_from_it():
    params = load("lwd", (2, 4))
    assert depths(params) == (2, 4)
    section = params.student.model_copy(update={"init": "teacher_layers", "layers": [1, 2, 4]})
    assert depths(params.model_copy(update={"student": section})) == (3, 4)
    section = params.student.model_copy(update={"init": "teacher_layers", "num_layers": 1})
    assert depths(params.model_copy(update={"student": section})) == (1, 4)
    copied = params.distill.model_copy(update={"init": "teacher_layers"})
    section = params.student.model_copy(update={"init": "random", "num_layers": 3})
    assert depths(params.model_copy(update={"student": section})) == (2, 4)
    assert depths(params.model_copy(update={"student": section, "distill": copied})) == (3, 4)
    model = params.teacher.model.model_copy(update={"config": {"model_type": "bert"}})
    teacher = params.teacher.model_copy(update={"model": model})
    assert depths(params.model_copy(update={"teacher": teacher})) is None


@pytest.mark.parametrize("init", ["finetuned", "random"])
def test_a_random_student_has_the_shape_of_the_fine_tuned_one(init):
    """`students.initial` takes it from the fine-tuned model, whose shape `student.init` decides."""
    params = load("lwd", (2, 4))
    section = params.student.model_copy(update={"init": "teacher_layers", "num_layers": 1})
    own = params.distill.model_copy(update={"init": init})
    changed = params.model_copy(update={"student": section, "distill": own})
    assert depths(changed) == (1, 4)
    heads = params.teacher.model.config["num_attention_heads"]
    assert depths(changed, "heads") == (heads, heads)  # copied with the layers


@pytest.mark.parametrize("names", [("num_hidden_layers", "num_attention_heads"), ("n_layers", "n_heads")])
def test_a_local_checkpoint_states_what_the_parameters_do_not(tmp_path, names):
    (tmp_path / "config.json").write_text(json.dumps(dict(zip(names, (6, 3), strict=True))))
    params = load("lwd", (2, 4))
    model = params.teacher.model.model_copy(update={"path": str(tmp_path), "config": {}})
    local = params.model_copy(update={"teacher": params.teacher.model_copy(update={"model": model})})
    assert [stated(local, "teacher", what) for what in ("layers", "heads")] == [6, 3]
    model = model.model_copy(update={"config": {names[0]: 5}})
    local = params.model_copy(update={"teacher": params.teacher.model_copy(update={"model": model})})
    assert [stated(local, "teacher", what) for what in ("layers", "heads")] == [5, 3]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"num_hidden_layers": ' + "6" * 5_000 + "}", "{", "[1]"])
def test_a_local_checkpoint_that_cannot_be_read_states_nothing(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    params = load("lwd", (2, 4))
    model = params.teacher.model.model_copy(update={"path": str(tmp_path), "config": {}})
    local = params.model_copy(update={"teacher": params.teacher.model_copy(update={"model": model})})
    assert stated(local, "teacher", "layers") is None
