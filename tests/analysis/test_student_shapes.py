"""The grid of students' shapes, which of them to train, and their figures before that."""

from dataclasses import asdict

import pytest
from transformers import AutoConfig

from distill.analysis import student_shapes
from distill.analysis.student_shapes import TEACHER, Budget, Shape, candidates, grid
from distill.config.scoring import Cost
from distill.errors import UserError
from distill.tasks.registry import load_task
from tests.helpers import families, tiny
from tests.models.test_initialization import section

TASK = load_task("qa")
BERT = families.config("bert", num_hidden_layers=6)


def test_the_grid_is_sixths_of_the_layers_and_parts_of_the_units_without_the_teacher():
    twelve = AutoConfig.for_model("bert")
    shapes = grid(twelve)
    assert list(dict.fromkeys(len(shape.layers) for shape in shapes)) == [12, 10, 8, 6, 4, 2]
    assert {shape.units for shape in shapes} == {3072, 1536, 768} and {shape.heads for shape in shapes} == {12}
    assert len(shapes) == 6 * 3 - 1 and Shape(tuple(range(1, 13)), 3072, 12) not in shapes
    assert Shape((3, 6, 9, 12), 768, 12) in shapes
    both = grid(BERT, [2, 6], [32, 8], trimmed=[True, False])
    assert [shape.name for shape in both[:3]] == ["l1.2.3.4.5.6-u8-h2", "l1.2.3.4.5.6-u8-h2-trimmed", "l3.6-u32-h2"]
    assert len(both) == 6


@pytest.mark.parametrize(
    ("family", "own", "numbers"),
    [
        ("nomic_bert", {"num_attention_heads": 5, "head_dim": 8}, {5, 3}),
        ("eurobert", {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}, {4, 2}),
        ("eurobert", {"hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8}, {6, 4}),
        ("eurobert", {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8}, {4}),
        ("bert", {}, {2}),
    ],
)
def test_the_grid_has_half_of_the_heads_where_they_can_be_left_out(family, own, numbers):
    teacher = families.config(family, num_hidden_layers=2, **own)
    shapes = grid(teacher, [1])
    assert {shape.heads for shape in shapes} == numbers
    assert {*student_shapes.possible(shapes, teacher, section(num_layers=1), TASK)[0]} == {*shapes}


@pytest.mark.parametrize(
    ("asked", "part"),
    [(([7],), "--layers 7: .* 1 to 6"), (([], [64]), "--units 64: the teacher has 32"), (([], [], [3]), "--heads 3")],
)
def test_no_shape_has_more_than_the_teacher(asked, part):
    with pytest.raises(UserError, match=part):
        grid(BERT, *asked)


def test_candidates_are_those_that_no_other_one_has_everything_of():
    deep, wide, small = Shape((1, 2, 3), 8, 2), Shape((3,), 32, 2), Shape((3,), 8, 2)
    trimmed = Shape((1, 2, 3), 16, 2, trimmed=True)
    sizes = {deep: 30, wide: 20, small: 10, trimmed: 40}
    fitting = {shape: {"parameters_without_embeddings": size} for shape, size in sizes.items()}
    assert candidates(fitting) == [trimmed, deep, wide]
    whole = Shape((1, 2, 3), 16, 2)
    assert candidates(fitting | {whole: {"parameters_without_embeddings": 40}}) == [whole, wide]


def test_the_excess_names_each_limit_that_is_broken():
    assert Budget(10, None).excess(10.0, 1e9) == ""
    assert Budget(10, 20).excess(12.34, 20.5) == "12.3 ms of 10, 20.5 MB of 20"


def test_figures_are_those_of_stage_cost_and_a_trimmed_size_is_that_of_the_file(tmp_path):
    teacher = tiny.model("bert", layers=2).config
    shapes = grid(teacher, [1, 2], [8, 16], trimmed=[False, True])
    configs, refused = student_shapes.possible(shapes, teacher, section(num_layers=1), TASK)
    assert not {*shapes} - {*configs} - {*refused}
    cost = Cost(batch_sizes=[1, 8], seconds=0.01, precision="fp32")
    found = student_shapes.measure(configs, teacher, TASK, tiny.features(6), 0, cost, kept_tokens=30)
    assert set(found) == {TEACHER, *configs}
    for shape, row in found.items():
        assert 0 < row["latency_ms_p10"] <= row["latency_ms"] <= row["latency_ms_p90"]
        config = teacher if shape == TEACHER else configs[shape]
        fields = config.to_dict() | ({"vocab_size": 30} if shape != TEACHER and shape.trimmed else {})
        model = TASK.auto_class().from_config(AutoConfig.for_model(fields.pop("model_type"), **fields))
        model.save_pretrained(tmp_path / "model")
        size = (tmp_path / "model/model.safetensors").stat().st_size / 1e6
        assert row["checkpoint_mb"] == pytest.approx(size, abs=1e-4)
        if shape == TEACHER or not shape.trimmed:
            assert row["parameters_without_embeddings"] == model.num_parameters(exclude_embeddings=True)
    narrow = next(shape for shape in configs if shape.units == 8)
    assert asdict(narrow)["units"] == configs[narrow].intermediate_size == 8
    assert configs[narrow].num_hidden_layers == len(narrow.layers)


def test_shapes_that_cannot_be_made_are_told_with_the_reason():
    teacher = families.config("bert", num_hidden_layers=2)
    shapes = grid(teacher, [1], heads=[1, 2])
    found, refused = student_shapes.possible(shapes, teacher, section(num_layers=1), TASK)
    assert {shape.heads for shape in found} == {2} and {shape.heads for shape in refused} == {1}
    assert all("a bert of fewer heads has wider ones" in reason for reason in refused.values())
    with pytest.raises(UserError, match="a bert of fewer heads has wider ones"):
        student_shapes.possible(refused, teacher, section(num_layers=1), TASK)
