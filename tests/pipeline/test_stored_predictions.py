"""Students of a teacher that left its outputs in a file: from the file to the report, with and without its score."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from distill.experiments import presets
from distill.runtime.files import tree_hash
from pipeline import export
from pipeline.commands import compare, report, save_predictions
from pipeline.stage import definition, paths
from tests.helpers import micro

pytestmark = pytest.mark.slow

FILE = "data/raw/outputs.jsonl"
SETTINGS = {
    "task": "classification",
    "data.embedded": "sentences",
    "data.id": "id",
    "methods": ["ft", "kd"],
    "teacher.source": "predictions",
    "teacher.predictions": FILE,
    "compare.resamples": 100,
}
OTHER = {"favourable": "unfavourable", "unfavourable": "favourable"}
BEFORE = [("finetune", "teacher"), ("finetune", "student"), ("plan",), ("predict",), *micro.OPTIONAL, ("signals",)]
SCORED = [("evaluate_teacher",), ("evaluate", "student"), ("evaluate", "ft", "1"), ("evaluate", "kd", "1")]


def sentences(repo: Path, split: str) -> list[dict[str, str]]:
    with (repo / f"data/raw/atlas/sentences/{split}.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def write(repo: Path, splits, sure: float = 0.9, leave_out: int = 0) -> None:
    """The gold class with a probability, the rows of the last split backwards."""
    rows = [row for split in splits for row in sentences(repo, split)][::-1]
    records = (
        {"id": row["id"], "probabilities": {OTHER[row["label"]]: 1 - sure, row["label"]: sure}}
        for row in rows[leave_out:]
    )
    (repo / FILE).write_text("".join(json.dumps(record) + "\n" for record in records))


def read(repo: Path, name: str):
    return json.loads((repo / name).read_text())


@pytest.fixture(scope="module")
def ran(tmp_path_factory, stages) -> Path:
    """A repository in which everything has run, from a file that covers all splits; not to be changed."""
    repo = micro.repo(tmp_path_factory.mktemp("stored") / "repo", SETTINGS)
    (repo / FILE).parent.mkdir(exist_ok=True)
    (repo / FILE).write_text("")
    stages.run_all(repo, (("inputs",), ("corpus",), ("prepare",)))
    write(repo, ("train", "validation"))
    students = (("distill", "ft", "1"), ("distill", "kd", "1"))
    stages.run_all(repo, (*BEFORE, *students, *SCORED, ("cost",), ("summarize",)))
    return repo


@pytest.fixture
def repo(ran, tmp_path) -> Path:
    return shutil.copytree(ran, tmp_path / "repo")


def test_the_outputs_become_the_cache_of_a_teacher(ran):
    """Whatever the order of the file: a row's logits are those of its own id."""
    import datasets

    logits = np.concatenate([np.load(file) for file in sorted((ran / "data/teacher/logits").glob("*.npy"))])
    examples = datasets.Dataset.from_file(str(ran / "data/prepared/train/examples.arrow"))
    gold = np.array(examples["label"])
    assert logits[np.arange(len(gold)), gold] == pytest.approx(np.log(0.9), rel=1e-6)
    assert logits[np.arange(len(gold)), 1 - gold] == pytest.approx(np.log(0.1), rel=1e-6)
    meta = read(ran, "data/teacher/meta.json")
    assert (
        list(meta["arrays"]) == ["logits"] and meta["teacher"] == read(ran, "data/signals/kd/signals.json")["weights"]
    )
    assert {path.name for path in (ran / "data/models/teacher").iterdir()} == {"no-checkpoint.json"}
    assert read(ran, "data/states/meta.json")["arrays"] == {}


def test_the_teacher_is_scored_and_the_report_has_its_row(ran):
    scores, summary = read(ran, "metrics/runs/teacher.json"), read(ran, "metrics/summary.json")
    assert scores["accuracy"] == 100 and scores["selection_accuracy"] == 100 and scores["ece"] == pytest.approx(10)
    assert list(summary) == ["teacher", "student", "ft", "kd"] and summary["teacher"]["accuracy"] == 100
    assert set(read(ran, "metrics/cost.json")["models"]) == {"student"}
    assert "evaluate_teacher" in (ran / "metrics/report.html").read_text()


def test_kd_learns_from_the_outputs(ran):
    with (ran / "metrics/curves/kd-1.csv").open() as file:
        assert all(float(row["kl"]) > 0 for row in csv.DictReader(file))
    assert {path.name for path in (ran / "data/signals/kd").iterdir()} == {"signals.json", "logits"}
    students = [tree_hash(ran / f"data/models/distill/{name}/1/model.safetensors") for name in ("ft", "kd")]
    assert students[0] != students[1]


def test_the_stages_that_read_the_file_depend_on_it(ran, monkeypatch):
    """So DVC runs them again, and what follows, where its content changes."""
    monkeypatch.chdir(ran)
    reading = [definition.define("predict"), definition.define("evaluate_teacher")]
    assert all(Path(FILE) in stage.deps for stage in reading)
    assert Path(FILE) not in definition.define("finetune", "student").deps


def test_outputs_of_the_training_rows_alone_teach_and_have_no_score(repo, stages, monkeypatch, capsys):
    """Nothing downstream trips over a teacher without a row."""
    write(repo, ("train",))
    shutil.rmtree(repo / "data/models/distill/kd")
    done = stages.run(repo, "evaluate_teacher")
    assert "the teacher has no score: its outputs lack 60 validation rows" in done.out
    assert read(repo, "metrics/runs/teacher.json") == {} and read(repo, "data/predictions/teacher.json") == {}
    stages.run(repo, "summarize")
    summary = read(repo, "metrics/summary.json")
    assert list(summary) == ["student", "ft", "kd"] and summary["kd"]["gap_closed"] is None
    assert "The teacher has no score: its outputs do not cover" in (repo / "metrics/report.md").read_text()
    assert read(repo, "metrics/analysis.json")["agreement"] == {}
    monkeypatch.chdir(repo)
    assert compare.main(["kd", "ft"]) == 0
    report.main(["--output", "page.html"])
    assert "3 models" in capsys.readouterr().out
    assert list(export.scores("kd-1")) == ["student", "kd-1"]


def test_missing_rows_are_refused_or_teach_by_their_labels_alone(repo, stages):
    write(repo, ("validation", "train"), leave_out=100)
    refused = stages.run(repo, "predict", check=False)
    assert refused.code == 2 and "says nothing about" in refused.err and "train rows, such as" in refused.err
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"teacher.missing": "labels_only"}))
    assert "rows have no outputs and teach by their labels alone" in stages.run(repo, "predict").out
    weights = np.concatenate([np.load(file) for file in sorted((repo / "data/teacher/weight").glob("*.npy"))])
    logits = np.concatenate([np.load(file) for file in sorted((repo / "data/teacher/logits").glob("*.npy"))])
    assert 90 < (weights == 0).sum() <= 100 and (logits[weights[:, 0] == 0] == 0).all() and set(weights.flat) == {0, 1}
    stages.run(repo, "signals")
    before = tree_hash(repo / "data/models/distill/kd")
    stages.run(repo, "distill", "kd", "1")
    assert tree_hash(repo / "data/models/distill/kd") != before


def test_other_content_is_another_teacher(repo, stages):
    """Its hash goes with the cache, by which signals of the old one are refused."""
    before = read(repo, "data/teacher/meta.json")["teacher"]
    write(repo, ("train", "validation"), sure=0.8)
    stages.run(repo, "predict")
    stages.run(repo, "signals")
    after = read(repo, "data/teacher/meta.json")["teacher"]
    assert after != before and read(repo, "data/signals/kd/signals.json")["weights"] == after
    assert read(repo, "data/signals/ft/signals.json")["weights"] is None


def test_what_needs_the_model_is_refused_before_anything_is_trained(repo, stages):
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"methods": ["ft", "kd", "lwd"]}))
    done = stages.run(repo, "plan", check=False)
    assert done.code == 2 and "'lwd' reads the teacher's hidden states: take them out of methods" in done.err


def test_a_student_of_the_saved_outputs_is_the_student_of_the_model(ran, stages, tmp_path, monkeypatch, capsys):
    """Up to the rounding of probabilities: no weight differs by more than 1e-4, after updates of 0.003 each."""
    by_model = SETTINGS | {"teacher.source": "model", "teacher.predictions": "data/none"}
    students = []
    repo = shutil.copytree(ran, tmp_path / "repo")
    for settings in (by_model, SETTINGS):
        (repo / "params.yaml").write_text(micro.params(settings | {"methods": ["kd"]}))
        stages.run_all(repo, (("finetune", "teacher"), ("plan",), ("predict",), ("signals",), ("distill", "kd", "1")))
        students.append(load_file(repo / "data/models/distill/kd/1/model.safetensors"))
        stages.run(repo, "evaluate_teacher")
        students.append(read(repo, "metrics/runs/teacher.json"))
        if settings is by_model:
            monkeypatch.chdir(repo)
            save_predictions.main([FILE])
            assert "rows" in capsys.readouterr().out
    (model, scores), (saved, same) = students[:2], students[2:]
    start = load_file(repo / "data/models/student/model.safetensors")
    assert max((model[name] - start[name]).abs().max() for name in model) > 1e-3
    assert max((model[name] - saved[name]).abs().max() for name in model) < 1e-4
    assert same == pytest.approx(scores, abs=1e-3)


def test_the_annotator_of_the_embedded_sentences_teaches_and_is_scored(repo, stages):
    """The file of preset embedded-predictions covers every row, whatever the ids; a tenth is wrong."""
    preset = presets.load("embedded-predictions")["teacher"]
    changes = {f"teacher.{name}": preset[name] for name in ("source", "predictions", "missing")}
    assert preset["predictions"] == paths.ANNOTATOR.as_posix()
    (repo / "params.yaml").write_text(micro.params(SETTINGS | changes))
    done = stages.run(repo, "inputs"), stages.run(repo, "predict"), stages.run(repo, "evaluate_teacher")
    assert "rows have no outputs" not in done[1].out and "240 rows with label" in done[1].out
    assert "300 rows with label" in done[2].out
    assert 75 < read(repo, "metrics/runs/teacher.json")["accuracy"] < 100


def test_an_assistant_with_a_start_of_its_own_learns_from_the_outputs(repo, stages):
    text = micro.params(SETTINGS | {"methods": ["takd"]})
    model = yaml.safe_load(text)["student"]["model"]
    link = {"model": model, "init": "random", "layers": "uniform", "num_layers": None}
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"methods": ["takd"], "assistant.chain": [link]}))
    stages.run_all(repo, (("inputs",), ("plan",), ("train_assistants",), ("signals",), ("distill", "takd", "1")))
    assert {path.name for path in (repo / "data/signals/takd").iterdir()} == {"signals.json", "assistant"}
    assert (repo / "data/models/distill/takd/1/model.safetensors").is_file()
