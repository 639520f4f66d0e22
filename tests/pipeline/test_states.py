"""The teacher's states on disk, through the stages: students that learn from them are those of a running teacher."""

import csv
import json
import shutil

import numpy as np
import pytest

from distill.runtime.files import tree_hash
from tests.helpers import micro

pytestmark = pytest.mark.slow

READERS = ["hidden", "lwd", "pkd", "ckd", "rail", "alp", "tinybert", "ted"]
SETTINGS = {
    "methods": READERS,
    "teacher.model.config.num_hidden_layers": 4,
    "student.model.config.num_hidden_layers": 2,
    "distill.max_steps": 12,
    "distill.learning_rate": 0.001,
}
CACHED = [name for name in READERS if name != "tinybert"]
NOT_LOADED = "the teacher itself is not loaded"


@pytest.fixture(scope="module")
def ready(base, stages, tmp_path_factory):
    repo = shutil.copytree(base, tmp_path_factory.mktemp("states") / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS))
    trained = (("finetune", "teacher"), ("finetune", "student"))
    stages.run_all(repo, (*trained, ("inputs",), ("plan",), ("predict",), *micro.OPTIONAL, ("signals",)))
    return repo


@pytest.fixture(scope="module")
def cached(ready, stages, tmp_path_factory):
    """All states are kept."""
    repo = shutil.copytree(ready, tmp_path_factory.mktemp("cached") / "repo")
    done = stages.run(repo, "predict")
    assert "states of all tokens of layers 1, 2, 3, 4" in done.out and "over cache.max_gb" not in done.out
    handed = handed_over(stages.run(repo, "signals"))
    assert {name for name, line in handed.items() if "runs along" in line} == {"tinybert"}
    assert handed["tinybert"].endswith(
        "(the teacher runs along: the method needs attention scores and the model itself)"
    )
    return repo


@pytest.fixture(scope="module")
def online(ready, stages, tmp_path_factory):
    """None are."""
    repo = shutil.copytree(ready, tmp_path_factory.mktemp("online") / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"cache.max_gb": 0}))
    assert "over cache.max_gb 0, so with the teacher running along: pkd" in stages.run(repo, "predict").out
    handed = handed_over(stages.run(repo, "signals"))
    assert all("the teacher runs along" in line for line in handed.values())
    assert "its states are over cache.max_gb" in handed["lwd"]
    return repo


def handed_over(done):
    """What stage signals says of each method."""
    lines = [line.split(maxsplit=2) for line in done.out.splitlines() if line.startswith("  hands")]
    return {name: text.strip() for _, name, text in lines}


def curves(repo, method):
    rows = list(csv.DictReader((repo / f"metrics/curves/{method}-1.csv").read_text().splitlines()))
    return {name: np.array([float(row[name]) for row in rows if row[name]]) for name in rows[0]}


# A method for each kind of states that is kept: first tokens, those of layers that change while it trains, all tokens,
# and those that its filters are asked for.
KINDS = ("hidden", "rail", "lwd", "ted")


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[] if name in KINDS else pytest.mark.exhaustive) for name in CACHED]
)
def test_losses_and_scores_are_those_of_a_running_teacher(cached, online, stages, method):
    found, scores = {}, {}
    for repo, loaded in ((cached, False), (online, True)):
        words = ("distill", method, "1")
        out = stages.run_all(repo, (words, ("evaluate", method, "1")))[words]
        assert (NOT_LOADED in out) is not loaded and ("runs along" in out) is loaded
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


# 228 training features, several times over.
REPEATED = {"student_filters.max_steps": None, "student_filters.epochs": 2, "student_filters.batch_size": 16}
# A large epsilon: where a gradient is nothing but rounding, Adam would make a step of it.
REPEATED |= {"student_filters.log_every": 4, "student_filters.adam_epsilon": 1e-4}
OWN = "its states over the training features ("


def student_filters(repo, stages, env=None, **changes):
    """What was printed, and every filter's loss and scores."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    (repo / "params.yaml").write_text(micro.params(SETTINGS | REPEATED | named))
    done = stages.run(repo, "train_filters", "student", env=env)
    rows = list(csv.DictReader((repo / "metrics/curves/filters-student.csv").read_text().splitlines()))
    assert not list((repo / ".scratch").glob("train_student_filters*"))
    scores = json.loads((repo / "metrics/filters/student.json").read_text())
    return done.out, [float(row["loss"]) for row in rows], scores


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_student_runs_once_for_its_filters_which_are_those_of_one_that_runs_in_every_epoch(
    ready, stages, tmp_path, precision
):
    found = {}
    for room in (4, 0):
        repo = shutil.copytree(ready, tmp_path / str(room))
        out, *found[room] = student_filters(repo, stages, cache__max_gb=room, student_filters__precision=precision)
        assert (OWN in out) is (room == 4)
    (losses, scores), (expected, others) = found[4], found[0]
    assert losses == pytest.approx(expected, rel=1e-4 if precision == "fp32" else 1e-2) and len(losses) > 6
    for layer, values in others.items():
        assert scores[layer] == pytest.approx(values, abs=1e-6 if precision == "fp32" else 5)


def test_two_processes_share_a_students_states(ready, stages, two, tmp_path):
    found = {}
    for processes, env in ((1, {}), (2, two)):
        repo = shutil.copytree(ready, tmp_path / str(processes))
        out, *found[processes] = student_filters(repo, stages, env)
        assert OWN in out
    assert found[2][0] == pytest.approx(found[1][0], rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{"student_filters__epochs": 1}, {"student_filters__epochs": 3, "student_filters__backbone_dropout": True}],
)
def test_a_student_runs_along_where_its_states_would_be_read_once_or_be_others(ready, stages, tmp_path, changes):
    repo = shutil.copytree(ready, tmp_path / "repo")
    assert OWN not in student_filters(repo, stages, **changes)[0]


@pytest.mark.parametrize("changes", [{"teacher_filters.backbone_dropout": True}, {"teacher_filters.precision": "bf16"}])
def test_filters_run_the_teacher_where_kept_states_would_be_others(cached, stages, tmp_path, changes):
    repo = shutil.copytree(cached, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | changes))
    assert "runs for the selection split only" not in stages.run(repo, "train_filters", "teacher").out


@pytest.mark.parametrize("method", ["lwd", "ted"])
def test_an_average_over_padding_takes_a_running_teacher(cached, stages, tmp_path, method):
    repo = shutil.copytree(cached, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {f"{method}.mask": False}))
    stages.run_all(repo, (("inputs",), ("plan",), ("signals",)))
    assert "runs along" in stages.run(repo, "distill", method, "1").out


def test_what_needs_more_than_states_runs_the_teacher(cached, stages):
    assert "runs along" in stages.run(cached, "distill", "tinybert", "1").out
    assert not (cached / "data/signals/tinybert/states").exists()


def test_a_method_depends_on_its_own_states_alone(cached, stages, tmp_path):
    """Other methods' states come and go: the folder that a student depends on stays as it is, and so do the logits."""
    repo = shutil.copytree(cached, tmp_path / "repo")
    before = {name: tree_hash(repo / "data/signals" / name) for name in CACHED}
    filters, logits = tree_hash(repo / "data/filter_states"), (repo / "data/teacher/logits/00000.npy").read_bytes()
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"methods": ["pkd", "ted"], "pkd.layer_map": "last"}))
    stages.run_all(repo, (("inputs",), ("plan",), ("predict",), ("signals",)))
    assert {path.name for path in (repo / "data/signals").iterdir()} == {"pkd", "ted"}
    assert tree_hash(repo / "data/signals/ted") == before["ted"] and tree_hash(repo / "data/filter_states") == filters
    assert tree_hash(repo / "data/signals/pkd") != before["pkd"]
    assert (repo / "data/teacher/logits/00000.npy").read_bytes() == logits


def test_what_is_handed_over_takes_no_room_on_the_disk(cached):
    for file in (cached / "data/signals").rglob("*.npy"):
        assert file.stat().st_nlink > 1, file


def test_the_plan_changes_only_where_states_are_wanted_or_no_more(ready, stages, tmp_path):
    repo, plans = shutil.copytree(ready, tmp_path / "repo"), []
    for methods in (["lwd", "pkd"], ["pkd", "lwd", "tinybert"], ["pkd", "lwd", "rail"]):
        (repo / "params.yaml").write_text(micro.params(SETTINGS | {"methods": [*methods, "ted"]}))
        stages.run_all(repo, (("inputs",), ("plan",)))
        plans.append((repo / "data/plan/states.json").read_bytes())
    assert plans[0] == plans[1] != plans[2]
    assert {"tinybert", "ckd"} <= json.loads(plans[0]).keys()


def test_states_that_are_too_large_leave_their_methods_to_a_running_teacher(ready, stages, tmp_path):
    repo = shutil.copytree(ready, tmp_path / "repo")
    # 240 rows of 16 values; all tokens of a layer are many times that.
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"cache.max_gb": 6 * 300 * 16 * 4 / 1e9}))
    out = stages.run(repo, "predict").out
    stages.run(repo, "signals")
    assert "for pkd, hidden, alp, rail; over cache.max_gb" in out and "ted (" in out and "lwd (" in out
    assert NOT_LOADED in stages.run(repo, "distill", "rail", "1").out
    assert "runs along" in stages.run(repo, "distill", "ted", "1").out
    record = json.loads((repo / "data/runs/predict_teacher.json").read_text())
    assert record["bytes"]["hidden"] == 0 < record["bytes"]["cls"]


def test_half_precision_is_close(cached, ready, stages, tmp_path):
    repo = shutil.copytree(ready, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"cache.dtype": "float16"}))
    stages.run_all(repo, (("predict",), ("signals",)))
    assert np.load(repo / "data/states/hidden-2/00000.npy", mmap_mode="r").dtype == np.float16
    for path in (repo, cached):
        stages.run(path, "distill", "lwd", "1")
    np.testing.assert_allclose(curves(repo, "lwd")["loss"], curves(cached, "lwd")["loss"], rtol=1e-2)


def test_states_of_another_teacher_are_refused(cached, stages, tmp_path):
    repo = shutil.copytree(cached, tmp_path / "repo")
    meta = repo / "data/states/meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"teacher": "0" * 32}))
    done = stages.run(repo, "signals", check=False)
    assert done.code == 2 and "data/states/meta.json: the predictions belong to the weights 000000000000" in done.err


@pytest.mark.parametrize("content", ["", "[", "[1]"])
def test_a_damaged_plan_says_how_to_make_it_again(ready, stages, tmp_path, content):
    repo = shutil.copytree(ready, tmp_path / "repo")
    (repo / "data/plan/states.json").write_text(content)
    done = stages.run(repo, "predict", check=False)
    assert done.code == 2 and "data/plan/states.json: cannot be read" in done.err and "`dvc repro plan`" in done.err
