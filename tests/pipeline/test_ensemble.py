"""An ensemble of two models and a file of stored outputs, from its members to a student and to the report."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from distill.signals.stored import Stored
from pipeline.commands import save_predictions
from pipeline.stage import definition, paths
from pipeline.stage.inputs import open_data
from tests.helpers import micro

pytestmark = pytest.mark.slow

FILE = "data/raw/outputs.jsonl"
MEMBERS = ("one", "two", "annotator")
SETTINGS = {
    "task": "classification",
    "data.embedded": "sentences",
    "data.id": "id",
    "methods": ["ft", "kd"],
    "teacher.source": "ensemble",
    "ensemble.members": list(MEMBERS),
    "ensemble.weights": {"annotator": 2.0},
    "one": {"teacher": {"seed": 1}},
    "two": {"teacher": {"seed": 2}},
    "annotator": {"teacher": {"source": "predictions", "predictions": FILE, "missing": "labels_only"}},
    "distill.spread_weight": 1.0,
    "compare.resamples": 100,
}
BEFORE = [("finetune", "teacher"), ("finetune", "student"), ("plan",)]


def write_file(repo: Path, left_out: int = 0) -> None:
    """The gold class with a probability of 0.9, but for the first rows."""
    records = []
    for split in ("train", "validation"):
        with (repo / f"data/raw/atlas/sentences/{split}.tsv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        records += [{"id": row["id"], "label": row["label"], "confidence": 0.9} for row in rows]
    (repo / FILE).write_text("".join(json.dumps(record) + "\n" for record in records[left_out:]))


def read(repo: Path, name: str):
    return json.loads((repo / name).read_text())


def array(repo: Path, folder: str) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted((repo / folder).glob("*.npy"))]).astype(np.float64)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, stages) -> Path:
    """A repository in which everything has run; not to be changed."""
    repo = micro.repo(tmp_path_factory.mktemp("ensemble") / "repo", SETTINGS)
    (repo / FILE).parent.mkdir(exist_ok=True)
    (repo / FILE).write_text("")
    stages.run_all(repo, (("inputs",), ("corpus",)))
    write_file(repo)
    scripts = ("finetune_member", "predict_member", "evaluate_member")
    members = [(script, name) for script in scripts for name in MEMBERS]
    students = (("distill", "ft", "1"), ("distill", "kd", "1"))
    scored = (("evaluate", "student"), ("evaluate", "ft", "1"), ("evaluate", "kd", "1"))
    taught = (("inputs",), ("prepare",), *BEFORE, *members, ("predict",), *micro.OPTIONAL, ("signals",))
    stages.run_all(repo, (*taught, *students, ("evaluate_teacher",), *scored, ("cost",), ("summarize",)))
    return repo


def test_the_teacher_is_the_weighted_mean_of_its_members(ran):
    each = [softmax(array(ran, f"data/members/{name}/logits/logits"), axis=-1) for name in MEMBERS]
    mean = np.average(each, axis=0, weights=[1, 1, 2])
    np.testing.assert_allclose(softmax(array(ran, "data/teacher/logits"), axis=-1), mean, rtol=1e-5)
    assert not np.array_equal(each[0], each[1])
    meta = read(ran, "data/teacher/meta.json")
    assert meta["members"] == list(MEMBERS) and sorted(meta["arrays"]) == ["logits", "spread"]
    assert meta["teacher"] == read(ran, "data/signals/kd/signals.json")["weights"]


def test_a_member_is_the_teacher_that_its_section_describes(ran, tmp_path, stages):
    """Bit for bit: section teacher with the same seed gives the same model."""
    repo = shutil.copytree(ran, tmp_path / "repo")
    alone = {"teacher.source": "model", "ensemble.members": [], "ensemble.weights": {}, "distill.spread_weight": 0.0}
    (repo / "params.yaml").write_text(micro.params(SETTINGS | alone))
    stages.run_all(repo, (("inputs",), ("finetune", "teacher")))
    models = [(repo / f"data/models/{place}/model.safetensors").read_bytes() for place in ("teacher", "members/one")]
    assert models[0] == models[1]
    assert [path.name for path in (repo / "data/inputs/members").iterdir()] == [".gitkeep"]
    assert not list((repo / "metrics/runs").glob("member-*")), "left-over files of members that are not listed"


def test_ensemble_and_members_are_scored(ran):
    scores = {name: read(ran, f"metrics/runs/member-{name}.json") for name in MEMBERS}
    assert scores["annotator"]["accuracy"] == 100 and scores["one"]["accuracy"] < 100
    rows = read(ran, "metrics/analysis.json")["ensemble"]
    assert [(row["name"], row["weight"]) for row in rows] == [
        ("one", 1),
        ("two", 1),
        ("annotator", 2),
        ("teacher", None),
    ]
    assert rows[-1]["scores"]["accuracy"] == read(ran, "metrics/runs/teacher.json")["accuracy"]
    examples = [np.load(ran / f"data/members/{name}/scored/validation.npy").astype(np.float64) for name in MEMBERS]
    best = np.average([softmax(part, axis=-1) for part in examples], axis=0, weights=[1, 1, 2]).argmax(-1)
    with (ran / "data/predictions/teacher.examples.csv").open() as file:
        predicted = [row["predicted"] for row in csv.DictReader(file)]
    names = read(ran, "data/prepared/meta.json")["labels"]
    assert predicted == [names[number] for number in best]
    page = (ran / "metrics/report.html").read_text()
    assert "The teachers of the ensemble" in page and "annotator" in page


def test_what_the_ensemble_says_is_saved_for_all_splits(ran, tmp_path, monkeypatch):
    monkeypatch.chdir(ran)
    save_predictions.main([str(tmp_path / "outputs.jsonl")])
    data, task = open_data(paths.params(), reported=True)
    stored = Stored.read(tmp_path / "outputs.jsonl", data, task)
    assert not stored.uncovered() and all(known == size for known, size in stored.coverage.values())
    saved = softmax(stored.logits("train")[0].astype(np.float64), axis=-1)
    np.testing.assert_allclose(saved, softmax(array(ran, "data/teacher/logits"), axis=-1), atol=1e-6)
    scores = task.score(stored.predicted("validation"), paths.params().evaluate)
    assert scores["accuracy"] == read(ran, "metrics/runs/teacher.json")["accuracy"]


def test_the_cost_of_the_teacher_is_that_of_all_members(ran):
    records = [f"{stage}_member-{name}" for name in MEMBERS for stage in ("finetune", "predict")]
    seconds = sum(read(ran, f"data/runs/{name}.json")["seconds"] for name in records)
    assert read(ran, "metrics/training.json")["teacher"]["seconds"] == pytest.approx(seconds, abs=0.01)


def test_each_member_has_stages_of_its_own(ran, monkeypatch):
    monkeypatch.chdir(ran)
    member = definition.define("predict_member", "two")
    assert member.name == "predict_member@two" and Path("data/models/members/two") in member.deps
    assert Path("data/inputs/members/two.json") in member.deps and Path("data/members/two") in member.outs
    assert Path(FILE) not in member.deps and FILE in (ran / "data/inputs/members/annotator.json").read_text()
    assert "annotator" in definition.define("finetune_member", "annotator").declared


def test_rows_that_a_member_lacks_are_those_of_the_others(ran, tmp_path, stages):
    repo = shutil.copytree(ran, tmp_path / "repo")
    write_file(repo, left_out=5)
    stages.run_all(repo, (("inputs",), ("predict_member", "annotator"), ("predict",)))
    weight = array(repo, "data/members/annotator/logits/weight")[:, 0]
    missing = weight == 0
    assert 0 < missing.sum() <= 5
    others = np.mean([softmax(array(repo, f"data/members/{n}/logits/logits"), axis=-1) for n in ("one", "two")], axis=0)
    found = softmax(array(repo, "data/teacher/logits"), axis=-1)
    np.testing.assert_allclose(found[missing], others[missing], rtol=1e-5)
    assert "weight" not in read(repo, "data/teacher/meta.json")["arrays"]


def test_methods_that_need_a_model_are_refused(ran, tmp_path, stages):
    repo = shutil.copytree(ran, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"methods": ["ft", "lwd"]}))
    stages.run(repo, "inputs")
    with pytest.raises(AssertionError, match="teacher.source is 'ensemble'.*'lwd' reads the teacher's hidden states"):
        stages.run(repo, "plan")
