"""What params.yaml names, and the commits that take the place of branches."""

from pathlib import Path

import pytest

from distill import parameters
from distill.config import reading
from distill.config import references as module
from distill.config.references import ROLES, references, with_commits
from tests.helpers import micro

NAMED = {
    "data.source": "hub",
    "data.name": "user/data",
    "data.revision": "v1",
    "features.tokenizer.path": "user/teacher",
    "teacher.tokenizer.path": "user/teacher-words",
    "student.tokenizer.path": "user/student-words",
    "student.tokenizer.revision": "v2",
    "teacher.model.path": "user/teacher",
    "student.model.path": "user/student",
    "generator.model.path": "user/generator",
    "assistant.chain": [
        {
            "model": {"path": None, "revision": None, "config": {"model_type": "bert"}},
            "layers": "last",
            "num_layers": None,
        }
        | {"init": "random"},
        {"model": {"path": "user/second", "revision": "main", "config": {}}, "layers": "last", "num_layers": None}
        | {"init": "pretrained"},
    ],
}


def load(overrides):
    return parameters.parse(reading.parse(micro.params(overrides), "params.yaml"), Path("params.yaml"))


@pytest.fixture
def params():
    return load(NAMED)


def test_all_that_is_named_is_listed(params):
    listed = {item.field: (item.role, item.name, item.revision, item.kind) for item in references(params)}
    assert listed == {
        "data.name": ("data", "user/data", "v1", "dataset"),
        "features.tokenizer.path": ("tokenizer", "user/teacher", None, "model"),
        "teacher.tokenizer.path": ("tokenizer", "user/teacher-words", None, "model"),
        "student.tokenizer.path": ("tokenizer", "user/student-words", "v2", "model"),
        "teacher.model.path": ("teacher", "user/teacher", None, "model"),
        "student.model.path": ("student", "user/student", None, "model"),
        "assistant.chain.1.model.path": ("assistant", "user/second", "main", "model"),
        "generator.model.path": ("generator", "user/generator", None, "model"),
    }
    assert {role for role, *_ in listed.values()} == set(ROLES)


def test_every_parameter_that_holds_a_revision_is_listed(params):
    """A section that names a model and is not listed would be read without anybody looking at its content."""
    with_revision = {field.removesuffix("revision") for field in paths_to("revision", params.model_dump())}
    assert {
        f"{field.rpartition('.')[0]}." for field in (item.field for item in references(params))
    } == with_revision - {
        "assistant.chain.0.model."  # has no path
    }


def paths_to(name, values, prefix=""):
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield from [f"{prefix}{key}"] if key == name else paths_to(name, value, f"{prefix}{key}.")


def test_nothing_is_named_by_default():
    params = load({})
    assert references(params) == [] and module.files(params) == {"retrieve.pool": "data/none"}


def test_files_are_those_that_are_read():
    params = load({"data.source": "files", "data.train": "a.json", "data.validation": "b.json"})
    names = ["data.train", "data.validation", "data.mismatched", "data.selection", "data.transfer", "retrieve.pool"]
    assert list(module.files(params)) == names


def test_stored_predictions_are_a_file_where_they_teach():
    params = load({"teacher.source": "predictions", "teacher.predictions": "outputs.jsonl"})
    assert module.files(params) == {"teacher.predictions": "outputs.jsonl", "retrieve.pool": "data/none"}


def test_a_teachers_model_that_nothing_reads_is_not_looked_up():
    changes = {"features.tokenizer.path": "some/model", "teacher.model.path": "some/model"}
    stored = {"teacher.source": "predictions", "teacher.predictions": "outputs.jsonl"}
    assert "teacher.model.path" in {item.field for item in references(load(changes))}
    assert "teacher.model.path" not in {item.field for item in references(load(changes | stored))}


def test_extra_files_are_known_by_their_content_as_no_dependency_of_dvc_can_name_them():
    """dvc.yaml cannot list the values of a mapping."""
    params = load({"data.source": "files", "data.extra": {"reviews": "c.json", "news": "d.json"}})
    named = {"data.extra.reviews": "c.json", "data.extra.news": "d.json"}
    assert named.items() <= module.files(params).items()
    assert {item.field: item.name for item in references(params)} == named
    hub = load({"data.source": "hub", "data.name": "nyu-mll/glue", "data.extra": {"more": "test"}})
    assert [item.field for item in references(hub)] == ["data.name"]


def test_commits_take_the_place_of_branches(params):
    commits = {item.field: f"{number:040x}" for number, item in enumerate(references(params), start=1)}
    pinned = with_commits(params, commits)
    assert {item.field: item.revision for item in references(pinned)} == commits
    assert {item.field: item.name for item in references(pinned)} == {
        item.field: item.name for item in references(params)
    }
    assert with_commits(params, {}) is params
    branches = {item.field: item.revision for item in references(params)}
    assert with_commits(pinned, branches).data == params.data


def test_a_path_is_what_lies_there(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(item.path is None for item in references(params))
    (tmp_path / "user" / "teacher").mkdir(parents=True)
    assert {item.field for item in references(params) if item.path} == {"features.tokenizer.path", "teacher.model.path"}
