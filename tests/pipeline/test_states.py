"""The teacher's states on disk, through the stages: students that learn from them are those of a running teacher."""

import csv
import json
import shutil

import numpy as np
import pytest

from distill import registry
from tests import micro

pytestmark = pytest.mark.slow

READERS = {"hidden": ["hidden", "lwd", "pkd", "ckd", "rail", "alp", "tinybert"], "filtered": ["ted"]}
SETTINGS = {
    **{f"methods.{group}": names for group, names in READERS.items()},
    "teacher.model.config.num_hidden_layers": 4,
    "student.model.config.num_hidden_layers": 2,
    "distill.max_steps": 12,
    "distill.learning_rate": 0.001,
}
CACHED = [name for names in READERS.values() for name in names if name != "tinybert"]
NOT_LOADED = "the teacher itself is not loaded"


@pytest.fixture(scope="module")
def ready(base, stages, tmp_path_factory):
    repo = shutil.copytree(base, tmp_path_factory.mktemp("states") / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS))
    for words in ("finetune teacher", "finetune student", "plan", "predict"):
        stages.run(repo, *words.split())
    for role in ("teacher", "student"):
        stages.run(repo, "train_filters", role)
    return repo


@pytest.fixture(scope="module")
def cached(ready, stages, tmp_path_factory):
    """All states are kept."""
    repo = shutil.copytree(ready, tmp_path_factory.mktemp("cached") / "repo")
    done = stages.run(repo, "predict")
    assert "states of all tokens of layers 1, 2, 3, 4" in done.out and "running along" not in done.out
    return repo


@pytest.fixture(scope="module")
def online(ready, stages, tmp_path_factory):
    """None are."""
    repo = shutil.copytree(ready, tmp_path_factory.mktemp("online") / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"cache.max_gb": 0}))
    assert "over cache.max_gb 0, so with the teacher running along: pkd" in stages.run(repo, "predict").out
    return repo


def curves(repo, method):
    rows = list(csv.DictReader((repo / f"metrics/curves/{method}-1.csv").read_text().splitlines()))
    return {name: np.array([float(row[name]) for row in rows if row[name]]) for name in rows[0]}


@pytest.mark.parametrize("method", CACHED)
def test_losses_and_scores_are_those_of_a_running_teacher(cached, online, stages, method):
    found, scores = {}, {}
    for repo, loaded in ((cached, False), (online, True)):
        done = stages.run(repo, "distill", method, "1")
        assert (NOT_LOADED in done.out) is not loaded and ("runs along" in done.out) is loaded
        stages.run(repo, "evaluate", method, "1")
        found[loaded] = curves(repo, method)
        scores[loaded] = json.loads((repo / f"metrics/runs/{method}-1.json").read_text())
    assert found[True].keys() == found[False].keys()
    for name, values in found[True].items():
        np.testing.assert_allclose(found[False][name], values, rtol=2e-3, atol=1e-5, err_msg=name)
    assert scores[True] == pytest.approx(scores[False], abs=1e-6)


def test_filters_trained_on_kept_states_are_those_of_a_running_teacher(cached, online, stages, tmp_path):
    found = {}
    for name, source in (("cached", cached), ("online", online)):
        repo = shutil.copytree(source, tmp_path / name)
        done = stages.run(repo, "train_filters", "teacher")
        assert ("it runs for the selection split only" in done.out) is (name == "cached")
        rows = list(csv.DictReader((repo / "metrics/curves/filters-teacher.csv").read_text().splitlines()))
        scores = json.loads((repo / "metrics/filters/teacher.json").read_text())
        found[name] = [float(row["loss"]) for row in rows], scores
    assert found["cached"][0] == pytest.approx(found["online"][0], rel=1e-4) and len(found["cached"][0]) > 2
    for layer, scores in found["online"][1].items():
        assert found["cached"][1][layer] == pytest.approx(scores)


@pytest.mark.parametrize("changes", [{"teacher_filters.backbone_dropout": True}, {"teacher_filters.precision": "bf16"}])
def test_filters_run_the_teacher_where_kept_states_would_be_others(cached, stages, tmp_path, changes):
    repo = shutil.copytree(cached, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | changes))
    assert "runs for the selection split only" not in stages.run(repo, "train_filters", "teacher").out


@pytest.mark.parametrize("method", ["lwd", "ted"])
def test_an_average_over_padding_takes_a_running_teacher(cached, stages, tmp_path, method):
    repo = shutil.copytree(cached, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {f"{method}.mask": False}))
    assert "runs along" in stages.run(repo, "distill", method, "1").out


def test_what_needs_more_than_states_runs_the_teacher(cached, stages):
    assert "runs along" in stages.run(cached, "distill", "tinybert", "1").out
    assert json.loads((cached / "data/states/views/tinybert.json").read_text()) == {}


def test_a_method_depends_on_its_own_states_alone(cached, stages, tmp_path):
    """Other methods' states come and go: the file that a student depends on stays as it is, and so do the logits."""
    repo = shutil.copytree(cached, tmp_path / "repo")
    before = {name: (repo / f"data/states/views/{name}.json").read_bytes() for name in CACHED}
    logits = (repo / "data/teacher/logits/00000.npy").read_bytes()
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"methods.hidden": ["pkd"], "pkd.layer_map": "last"}))
    stages.run(repo, "plan")
    stages.run(repo, "predict")
    views = {path.stem: json.loads(path.read_text()) for path in (repo / "data/states/views").iterdir()}
    assert {name for name, arrays in views.items() if arrays} == {"pkd", "ted", "teacher_filters"}
    assert (repo / "data/states/views/ted.json").read_bytes() == before["ted"]
    assert (repo / "data/states/views/pkd.json").read_bytes() != before["pkd"]
    assert (repo / "data/teacher/logits/00000.npy").read_bytes() == logits


def test_the_plan_changes_only_where_states_are_wanted_or_no_more(ready, stages, tmp_path):
    repo, plans = shutil.copytree(ready, tmp_path / "repo"), []
    for methods in (["lwd", "pkd"], ["pkd", "lwd", "tinybert"], ["pkd", "lwd", "rail"]):
        (repo / "params.yaml").write_text(micro.params(SETTINGS | {"methods.hidden": methods}))
        stages.run(repo, "plan")
        plans.append((repo / "data/plan/states.json").read_bytes())
    assert plans[0] == plans[1] != plans[2]
    assert {"tinybert", "ckd"} <= json.loads(plans[0]).keys()


def test_states_that_are_too_large_leave_their_methods_to_a_running_teacher(ready, stages, tmp_path):
    repo = shutil.copytree(ready, tmp_path / "repo")
    # 240 rows of 16 values; all tokens of a layer are many times that.
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"cache.max_gb": 6 * 300 * 16 * 4 / 1e9}))
    out = stages.run(repo, "predict").out
    assert "for pkd, hidden, alp, rail; over cache.max_gb" in out and "ted (" in out and "lwd (" in out
    assert NOT_LOADED in stages.run(repo, "distill", "rail", "1").out
    assert "runs along" in stages.run(repo, "distill", "ted", "1").out
    record = json.loads((repo / "data/runs/predict_teacher.json").read_text())
    assert (
        record["online"] == ["ckd", "lwd", "teacher_filters", "ted"]
        and record["bytes"]["hidden"] == 0 < record["bytes"]["cls"]
    )


def test_half_precision_is_close(cached, ready, stages, tmp_path):
    repo = shutil.copytree(ready, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"cache.dtype": "float16"}))
    stages.run(repo, "predict")
    assert np.load(repo / "data/states/hidden-2/00000.npy", mmap_mode="r").dtype == np.float16
    for path in (repo, cached):
        stages.run(path, "distill", "lwd", "1")
    np.testing.assert_allclose(curves(repo, "lwd")["loss"], curves(cached, "lwd")["loss"], rtol=1e-2)


def test_states_of_another_teacher_are_refused(cached, stages, tmp_path):
    repo = shutil.copytree(cached, tmp_path / "repo")
    meta = repo / "data/states/meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"teacher": "0" * 32}))
    shutil.rmtree(repo / "data/models/distill", ignore_errors=True)
    done = stages.run(repo, "distill", "ted", "1", check=False)
    assert done.code == 2 and "data/states/meta.json: the predictions belong to the weights 000000000000" in done.err
    assert not (repo / "data/models/distill/ted/1").exists()


@pytest.mark.parametrize("content", ["", "[", "[1]"])
def test_a_damaged_plan_says_how_to_make_it_again(ready, stages, tmp_path, content):
    repo = shutil.copytree(ready, tmp_path / "repo")
    (repo / "data/plan/states.json").write_text(content)
    done = stages.run(repo, "predict", check=False)
    assert done.code == 2 and "data/plan/states.json: cannot be read" in done.err and "`dvc repro plan`" in done.err


def test_dvc_reruns_the_plan_when_a_layer_changes(root):
    import yaml

    declared = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["plan"]["params"]
    for name in registry.available():
        for field in registry.load(name).layer_fields:
            assert f"{name}.{field}" in declared
