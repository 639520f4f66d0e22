"""Several labels per text through the stages: stored outputs teach, unlabelled texts too; report, export, answers."""

import csv
import json

import numpy as np
import pytest

from distill.data.loading.prepared import Prepared
from distill.data.synthetic import atlas_topics
from distill.inference import classify
from distill.inference.model import load
from tests.helpers import micro

pytestmark = pytest.mark.slow

RAW = "data/raw/atlas/topics"
SETTINGS = {
    "task": "multi_label",
    "methods": ["ft", "kd"],
    "data.source": "files",
    "data.train": f"{RAW}/train.jsonl",
    "data.transfer": f"{RAW}/train.jsonl",  # the rows that are not drawn
    "data.validation": f"{RAW}/validation.jsonl",
    "data.max_train_examples": 120,
    "data.text": "text",
    "data.label": "labels",
    "data.id": "id",
    "data.selection_fraction": 0.2,
    "features.max_length": 64,
    "teacher.source": "predictions",
    "teacher.predictions": "annotated.jsonl",
    "distill.class_weights": "balanced",
    "distill.label_noise": 0.1,
    "distill.learning_rate": 0.01,
    "cost.seconds": 0.01,
}
TOPICS = ["culture", "food", "people", "trade", "traffic", "water"]


@pytest.fixture(scope="module")
def repo(stages, tmp_path_factory):
    repo = micro.repo(tmp_path_factory.mktemp("labels") / "repo", SETTINGS)
    rows = [row for part in atlas_topics.generate(240, 60, 7).values() for row in part]  # what stage corpus writes
    said = [{"id": row["id"], "labels": row["labels"], "confidence": 0.9} for row in rows]
    (repo / "annotated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    students = [(stage, name, "1") for stage in ("distill", "evaluate") for name in ("ft", "kd")]
    prepared = [(name,) for name in ("inputs", "corpus", "prepare", "plan")]
    taught = [("finetune", "teacher"), ("finetune", "student"), ("predict",), *micro.OPTIONAL, ("signals",)]
    scored = [("evaluate_teacher",), ("evaluate", "student"), ("cost",), ("summarize",)]
    printed = stages.run_all(repo, (*prepared, *taught, *students, *scored))
    (repo / "prepared.txt").write_text(printed["prepare",])
    return repo


def content(repo, path):
    return json.loads((repo / path).read_text())


def test_labels_are_0_and_1_of_each_class_and_nan_without_a_label(repo):
    data = Prepared(repo / "data/prepared")
    assert data.meta["labels"] == TOPICS
    counts = data.meta["splits"]["train"]
    labels, sets = np.array(data.features("train")["labels"]), data.examples("train")["label"]
    assert labels.shape == (120, 6) and [np.flatnonzero(row).tolist() for row in labels] == list(sets)
    assert counts["labels"] == labels.sum(0).tolist() and counts["without_class"] == (labels.sum(1) == 0).sum() > 0
    shown = ", ".join(f'"{name}" {count}' for name, count in zip(TOPICS, counts["labels"], strict=True))
    assert f"classes train: {shown}" in (repo / "prepared.txt").read_text()
    assert np.isnan(np.array(data.features("transfer")["labels"])).all() and data.meta["splits"]["transfer"]["examples"]


def test_stored_labels_are_a_teacher_and_are_scored(repo):
    scores = content(repo, "metrics/runs/teacher.json")
    assert scores["micro_f1"] == scores["subset_accuracy"] == 100 and scores["examples"] == 60
    logits = np.load(next((repo / "data/teacher/logits").glob("*.npy")))
    assert np.abs(logits) == pytest.approx(np.full(logits.shape, np.log(9)), rel=1e-5)  # 0.9 or 0.1


def test_students_learn_from_unlabelled_texts_too(repo):
    for method, rows in (("ft", 0), ("kd", 1)):
        record = content(repo, f"data/runs/distill-{method}-1.json")
        assert bool(record.get("unlabelled_rows", 0)) == bool(rows), record


def test_the_summary_compares_by_micro_f1_and_the_report_has_every_class(repo):
    row = content(repo, "metrics/summary.json")["kd"]
    scores = content(repo, "metrics/runs/kd-1.json")
    assert row["micro_f1"] == scores["micro_f1"] and row["micro_f1_vs_ft_low"] <= row["micro_f1_vs_ft"]
    analysis = content(repo, "metrics/analysis.json")
    assert {part["class"] for part in analysis["classes"]["classes"]} == set(TOPICS)
    assert analysis["slices"][0]["metric"] == "example_f1" and analysis["calibration"]["kd"]["temperature"] > 0
    page = (repo / "metrics/report.html").read_text()
    assert "Distillation report: several labels per text" in page and "Average precision" in page


def test_an_exported_student_says_what_the_evaluation_says(repo, stages):
    stages.run(repo, "export", "kd", "1")
    validation = [json.loads(line) for line in (repo / RAW / "validation.jsonl").open()]
    stored = content(repo, "data/predictions/kd-1.json")
    tuned = {
        row["id"]: json.loads(row["tuned"])
        for row in csv.DictReader((repo / "data/predictions/kd-1.examples.csv").open())
    }
    asked = [(row["text"], None) for row in validation]
    settings = content(repo, "data/export/kd/1/task.json")
    scores = content(repo, "metrics/runs/kd-1.json")
    assert settings["thresholds"] == [scores[f"tuned_threshold_{number}"] for number in range(6)]
    for folder in ("data/export/kd/1", "data/models/distill/kd/1"):
        model = load(
            str(repo / folder), False, {"max_length": 64, "thresholds": settings["thresholds"], "temperature": 1.0}
        )
        for decided in (False, True):
            found = classify.classify(model, asked, decided)
            expected = [tuned[row["id"]] if decided else stored[row["id"]]["labels"] for row in validation]
            assert [one["labels"] for one in found] == expected
    assert len({tuple(labels) for labels in tuned.values()}) > 1
    card = (repo / "data/export/kd/1/README.md").read_text()
    assert "with several labels each" in card and "any number of these classes" in card
