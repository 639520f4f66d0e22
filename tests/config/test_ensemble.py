"""Members of an ensemble: section teacher with changes, under a name of their own."""

import pytest

from distill import parameters
from distill.config.values import pick, sections
from distill.errors import UserError

TWO = {
    "teacher.source": "ensemble",
    "ensemble.members": ["seconds", "file"],
    "seconds": {"teacher": {"seed": 2, "batch_size": 4}},
    "file": {"teacher": {"source": "predictions", "predictions": "data/raw/mine.jsonl"}},
}


@pytest.fixture
def load(root):
    return lambda changes={}: parameters.load(root / "tests/params.yaml", TWO | changes)


def test_a_member_is_section_teacher_but_for_its_changes(load):
    params = load()
    second = params.members["seconds"]
    assert (second.source, second.seed, second.batch_size) == ("model", 2, 4)
    same = {"source": "ensemble", "seed": params.teacher.seed, "batch_size": params.teacher.batch_size}
    assert second.model_copy(update=same) == params.teacher
    assert params.as_member("seconds").teacher is second and params.teacher.source == "ensemble"
    assert params.members["file"].predictions == "data/raw/mine.jsonl"


def test_a_members_files_are_its_own(load):
    """Where section teacher reads stored predictions, a member that is a model does not."""
    stored = {"teacher.source": "predictions", "teacher.predictions": "data/raw/all.parquet"}
    params = load(stored | {"ensemble.members": []})
    assert params.members["seconds"].predictions == "data/none" and params.members["seconds"].source == "model"
    assert params.members["file"].predictions == "data/raw/mine.jsonl"


def test_values_of_training_reach_members(load):
    params = load({"training.batch_size": 64, "training.weight_decay": 0.5})
    assert params.members["seconds"].batch_size == 4 and params.members["seconds"].weight_decay == 0.5


def test_a_members_model_is_its_own_as_a_whole(load):
    """The shape of section teacher does not fit another checkpoint."""
    params = load({"seconds": {"teacher": {"model": {"path": "some/model"}}}, "features.tokenizer.path": "some/model"})
    assert params.members["seconds"].model.model_dump() == {"path": "some/model", "revision": None, "config": {}}


def test_members_are_picked_by_name_and_are_no_section_of_the_file(load):
    params = load()
    assert pick(params, ["seconds"])["seconds"]["teacher"]["seed"] == 2
    assert "members" not in sections(params) and "ensemble" in sections(params)


def test_a_member_that_is_not_listed_is_read_all_the_same(load):
    params = load({"teacher.source": "model", "ensemble.members": []})
    assert params.members["seconds"].seed == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ensemble.members": ["seconds"]}, "ensemble.members: ['seconds']: an ensemble has two members or more"),
        ({"ensemble.members": ["seconds", "seconds"]}, "list each once"),
        ({"ensemble.members": ["seconds", "third"]}, "'third' has no section of its own: add `third:` with `teacher:`"),
        ({"teacher.source": "model"}, "ensemble.members: ['seconds', 'file'], but teacher.source is 'model'"),
        ({"ensemble.weights": {"third": 1}}, "ensemble.weights: 'third' is not among ensemble.members"),
        ({"ensemble.weights": {"file": 0}}, "ensemble.weights.file: "),
        ({"seconds": {"teacher": {"sede": 2}}}, "seconds.teacher.sede: unknown parameter: did you mean 'seed'?"),
        ({"seconds": {"teacher": {"seed": -2}}}, "seconds.teacher.seed: "),
        ({"seconds": {"teacher": {}, "weight": 2}}, "seconds.weight: a member of an ensemble has `teacher:` and"),
        (
            {"seconds": {"teacher": {"source": "ensemble"}}},
            "seconds.teacher.source: a member is a model or predictions",
        ),
        (
            {"ensemble.members": ["seconds", "twin"], "twin": TWO["seconds"]},
            "'seconds' and 'twin' are the same teacher",
        ),
        ({"ensemble.members": ["seconds", "se conds"], "se conds": {"teacher": {}}}, "se conds: expected a name"),
        ({"ensemble.members": ["seconds", "Seconds"], "Seconds": {"teacher": {}}}, "by capitals alone"),
        ({"members": {"seconds": 1}}, "members: unknown section"),
        ({"distill.spread_weight": 1.0, "teacher.source": "model", "ensemble.members": []}, "distill.spread_weight"),
    ],
)
def test_impossible_members_are_refused(load, changes, message):
    with pytest.raises(UserError) as refused:
        load(changes)
    assert message in str(refused.value) and "\n" not in str(refused.value)
