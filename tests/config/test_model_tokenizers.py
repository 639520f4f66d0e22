"""Which tokenizer each model reads by."""

from pathlib import Path

import pytest

from distill import parameters
from distill.config import model_tokenizers, reading, references
from distill.errors import UserError
from tests.helpers import micro


def load(overrides):
    return parameters.parse(reading.parse(micro.params(overrides), "params.yaml"), Path("params.yaml"))


def test_without_parameters_of_their_own_both_read_by_that_of_features():
    params = load({})
    for role in ("teacher", "student"):
        assert model_tokenizers.of(params, role) == params.features.tokenizer
        assert model_tokenizers.field(params, role) == "features.tokenizer"


def test_a_path_is_the_models_alone():
    params = load({"teacher.tokenizer.path": "a", "teacher.tokenizer.revision": "v1"})
    own = model_tokenizers.of(params, "teacher")
    assert (own.path, own.revision) == ("a", "v1") and model_tokenizers.field(params, "teacher") == "teacher.tokenizer"
    assert model_tokenizers.of(params, "student").path is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"vocab_size": 900}, (None, 900, True)),
        ({"lowercase": False}, (None, 600, False)),
        ({"vocab_size": 900, "lowercase": False}, (None, 900, False)),
    ],
)
def test_what_a_trained_one_leaves_out_is_as_in_features(changes, expected):
    params = load({f"student.tokenizer.{name}": value for name, value in changes.items()})
    own = model_tokenizers.of(params, "student")
    assert (own.path, own.vocab_size, own.lowercase) == expected


def test_one_is_trained_for_the_teacher_where_the_students_is_pretrained():
    params = load({"features.tokenizer.path": "a", "teacher.tokenizer.vocab_size": 900})
    assert model_tokenizers.of(params, "teacher").path is None and model_tokenizers.of(params, "student").path == "a"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"teacher.tokenizer.path": "a", "teacher.tokenizer.vocab_size": 900},
            "tokenizer.path is 'a' but tokenizer.vocab_size is 900",
        ),
        (
            {"student.tokenizer.path": "a", "student.tokenizer.lowercase": False},
            "tokenizer.path is 'a' but tokenizer.lowercase is false",
        ),
        ({"teacher.tokenizer.vocab_size": True}, "vocab_size"),
        (
            {"teacher.model.path": "m", "teacher.tokenizer.vocab_size": 900, "features.tokenizer.path": "m"},
            "teacher.tokenizer.path is null .* teacher.model.path is 'm'.* set teacher.tokenizer.path to 'm'$",
        ),
        (
            {"teacher.model.path": "m"},
            "set features.tokenizer.path to 'm', or teacher.tokenizer.path, for the teacher alone",
        ),
        (
            {"student.model.path": "m", "features.tokenizer.path": "m", "student.tokenizer.lowercase": False},
            "student.tokenizer.path is null",
        ),
    ],
)
def test_contradictions_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        load(changes)


def test_checkpoints_of_two_vocabularies_are_allowed():
    own = {"teacher.model.path": "t", "teacher.tokenizer.path": "t", "student.model.path": "s"}
    params = load(own | {"student.tokenizer.path": "s", "teacher.model.config": {}, "student.model.config": {}})
    assert [model_tokenizers.of(params, role).path for role in ("teacher", "student")] == ["t", "s"]


def test_an_assistant_reads_the_students_tokens():
    link = {"model": {"path": "a", "revision": None, "config": {}}, "init": "pretrained"}
    link |= {"layers": "uniform", "num_layers": None}
    changes = {"methods": ["ft", "takd"], "assistant.chain": [link], "teacher.tokenizer.path": "t"}
    with pytest.raises(UserError, match="features.tokenizer.path is null .* assistant.chain.0.model.path is 'a'"):
        load(changes)
    load(changes | {"student.tokenizer.path": "a"})


TWO = {"teacher.source": "ensemble", "ensemble.members": ["first", "second"], "teacher.tokenizer.path": "t"}


def ensemble(root, overrides):
    return parameters.load(root / "tests/params.yaml", overrides)


def test_members_read_the_students_tokens_or_the_teachers_or_their_own(root):
    own = {"first.teacher": {"seed": 5}, "second.teacher": {"tokenizer": {"path": "m"}, "seed": 6}}
    params = ensemble(root, TWO | own)
    assert model_tokenizers.reader_of(params, "first") == "teacher"
    assert model_tokenizers.reader_of(params, "second") == "second"
    assert {name: own.path for name, own in model_tokenizers.of_members(params).items()} == {"second": "m"}
    shared = ensemble(root, TWO | own | {"second.teacher": {"tokenizer": {}, "seed": 6}})
    assert model_tokenizers.reader_of(shared, "second") == "student" and not model_tokenizers.of_members(shared)


def test_none_is_trained_for_a_member(root):
    own = {"first.teacher": {"seed": 5}, "second.teacher": {"tokenizer": {"vocab_size": 900}}}
    with pytest.raises(UserError, match="second.teacher.tokenizer: a WordPiece is trained for .* name a tokenizer in"):
        ensemble(root, TWO | own)


def test_tokenizers_of_members_are_listed_and_pinned(root):
    own = {"first.teacher": {"seed": 5}, "second.teacher": {"tokenizer": {"path": "user/m"}, "seed": 6}}
    params = ensemble(root, TWO | own)
    listed = {item.field: item.name for item in references.references(params) if item.role == "tokenizer"}
    assert listed["second.teacher.tokenizer.path"] == "user/m"
    pinned = references.with_commits(params, {"second.teacher.tokenizer.path": "0" * 40})
    assert pinned.members["second"].tokenizer.revision == "0" * 40
    assert pinned.members["first"] == params.members["first"]
