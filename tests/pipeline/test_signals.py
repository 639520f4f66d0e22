"""Stage signals: each method gets what it asks for, checked; its students need nothing else of the teacher."""

import json
import shutil
from pathlib import Path

import pytest

from distill.runtime.files import tree_hash
from tests.helpers import micro

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(base, stages, tmp_path_factory):
    """A repository in which kd and ted have a student each."""
    repo = shutil.copytree(base, tmp_path_factory.mktemp("trained") / "repo")
    stages.run_all(repo, [("distill", method, "1") for method in ("kd", "ted")])
    return repo


def student(repo: Path, method: str) -> dict[str, bytes]:
    """Relative name → bytes of what stage distill makes, without the record of the run."""
    files = [file for file in (repo / f"data/models/distill/{method}/1").rglob("*") if file.is_file()]
    files.append(repo / f"metrics/curves/{method}-1.csv")
    return {file.relative_to(repo).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("method", ["kd", "ted"])
def test_a_student_trains_from_its_methods_signals_alone(trained, stages, tmp_path, method):
    repo, aside = shutil.copytree(trained, tmp_path / "repo"), tmp_path / "aside"
    expected = student(repo, method)
    others = [path.relative_to(repo) for path in (repo / "data/signals").iterdir() if path.name != method]
    made = ["models/teacher", "models/filters", "models/distill", "teacher", "states", "filter_states", "plan"]
    for path in (*others, *(Path("data") / name for name in made)):
        (aside / path).parent.mkdir(parents=True, exist_ok=True)
        (repo / path).rename(aside / path)
    (repo / f"metrics/curves/{method}-1.csv").unlink()
    done = stages.run(repo, "distill", method, "1")
    assert "the teacher itself is not loaded" in done.out
    assert student(repo, method) == expected


def test_each_method_has_a_folder_with_what_it_asks_for_and_no_more(base):
    signals = base / "data/signals"
    contents = {path.name: {entry.name for entry in path.iterdir()} for path in signals.iterdir()}
    assert contents == {
        "ft": {"signals.json"},
        "kd": {"signals.json", "logits", "teacher"},
        "lwd": {"signals.json", "logits", "teacher", "states"},
        "ted": {"signals.json", "logits", "teacher", "states", "filters"},
    }
    for method in ("kd", "lwd", "ted"):
        assert [path.name for path in (signals / method / "teacher").iterdir()] == ["config.json"]
        assert tree_hash(signals / method / "logits") == tree_hash(base / "data/teacher")
    assert tree_hash(signals / "ted/filters") == tree_hash(base / "data/models/filters")


def test_the_manifest_names_the_teacher_and_says_whether_it_runs_along(repo, stages):
    weights = tree_hash(repo / "data/models/teacher/model.safetensors")
    for running in (False, True):
        (repo / "params.yaml").write_text(micro.params({"lwd.mask": not running}))
        stages.run_all(repo, (("plan",), ("signals",)))
        manifest = json.loads((repo / "data/signals/lwd/signals.json").read_text())
        assert (manifest["taught_by"], manifest["model"], manifest["copies"]) == ("teacher", running, False)
        assert manifest["weights"] == weights and "bert.embeddings.word_embeddings.weight" in manifest["tensors"]
        assert (repo / "data/signals/lwd/teacher/model.safetensors").exists() is running
        assert (repo / "data/signals/lwd/states").exists() is not running
    labels = json.loads((repo / "data/signals/ft/signals.json").read_text())
    assert labels == {"taught_by": None, "model": False, "copies": False, "weights": None, "tensors": {}}


def test_the_same_again_gives_the_same_bytes(base, repo, stages):
    stages.run(repo, "signals")
    assert tree_hash(repo / "data/signals") == tree_hash(base / "data/signals")


def test_without_methods_there_is_a_folder_all_the_same(repo, stages):
    (repo / "data/plan/signals.json").write_text("{}")
    stages.run(repo, "signals")
    assert [path.name for path in (repo / "data/signals").iterdir()] == ["not-needed.json"]


@pytest.mark.parametrize("cache", ["data/teacher", "data/states"])
def test_outputs_of_another_teacher_are_refused(repo, stages, cache):
    meta = repo / cache / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"teacher": "0" * 32}))
    before = tree_hash(repo / "data/signals")
    done = stages.run(repo, "signals", check=False)
    assert done.code == 2 and f"{cache}/meta.json: the predictions belong to the weights 000000000000" in done.err
    assert "`dvc repro predict_teacher`" in done.err and tree_hash(repo / "data/signals") == before


@pytest.mark.parametrize(
    ("listed", "folder", "stage"),
    [
        ({"methods": ["knn"]}, "data/candidates", "retrieve"),
        ({"methods": ["takd"]}, "data/assistant", "train_assistants"),
        ({"methods": ["mate"]}, "data/models/generator", "train_generator"),
        ({"methods": ["kd"], "augment.methods": ["kd"]}, "data/augmented", "augment"),
    ],
)
def test_an_artifact_that_was_not_made_is_named_with_its_stage(repo, stages, listed, folder, stage):
    (repo / "params.yaml").write_text(micro.params(listed))
    stages.run(repo, "plan")
    done = stages.run(repo, "signals", check=False)
    assert done.code == 2 and f"{folder}: not made" in done.err and f"run `dvc repro {stage}`" in done.err
