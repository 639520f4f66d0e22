"""data.extra: files that every model is scored on beside validation, from params.yaml to the report."""

import json

import pytest

from tests.helpers import micro

pytestmark = pytest.mark.slow

FILES = {split: f"data/raw/mine/{split}.tsv" for split in ("train", "validation", "news", "reviews")}
SETTINGS = {
    "methods": [],
    "task": "classification",
    "data.source": "files",
    "data.embedded": "sentences",
    "data.train": FILES["train"],
    "data.validation": FILES["validation"],
    "data.extra": {"news": FILES["news"], "reviews": FILES["reviews"]},
    "data.selection_fraction": 0.2,
    "features.tokenizer.vocab_size": 200,
}


def table(split: str, rows: int) -> str:
    lines = [f"{split} number {i} is {('bad', 'good')[i % 2]}\t{('no', 'yes')[i % 2]}" for i in range(rows)]
    return "\n".join(["sentence\tlabel", *lines])


@pytest.fixture(scope="module")
def repo(stages, tmp_path_factory):
    """A repository after every stage but those of methods, of which there are none."""
    folder = micro.repo(tmp_path_factory.mktemp("extra") / "repo", SETTINGS)
    (folder / "data/raw/mine").mkdir(parents=True)
    (folder / "data/raw/atlas").mkdir()  # stage corpus makes it, and nothing here reads it
    for (split, path), rows in zip(FILES.items(), (60, 20, 6, 8), strict=True):
        (folder / path).write_text(table(split, rows))
    trained = (("inputs",), ("prepare",), ("finetune", "teacher"), ("finetune", "student"), ("plan",), ("cost",))
    stages.run_all(folder, (*trained, ("evaluate_teacher",), ("evaluate", "student")))
    return folder


def test_every_model_is_scored_on_every_file(repo):
    for role in ("teacher", "student"):
        scores = json.loads((repo / f"metrics/runs/{role}.json").read_text())
        assert (scores["examples"], scores["news_examples"], scores["reviews_examples"]) == (20, 6, 8)
        assert all(0 <= scores[f"{split}_accuracy"] <= 100 for split in ("news", "reviews"))


def test_summary_and_report_have_the_scores(repo, stages):
    for name in ("curves", "filters"):
        (repo / "metrics" / name).mkdir(exist_ok=True)
    stages.run(repo, "summarize")
    summary = json.loads((repo / "metrics/summary.json").read_text())
    runs = {role: json.loads((repo / f"metrics/runs/{role}.json").read_text()) for role in ("teacher", "student")}
    for role, row in summary.items():
        assert row["news_accuracy"] == runs[role]["news_accuracy"]
        assert row["reviews_accuracy"] == runs[role]["reviews_accuracy"]
    report = (repo / "metrics/report.md").read_text()
    assert "News accuracy" in report and "Reviews accuracy" in report


def test_a_changed_file_is_another_input(repo, stages):
    """DVC sees it by data/inputs/data.json alone, on which stage prepare depends."""
    written = repo / "data/inputs/data.json"
    before = json.loads(written.read_text())
    assert list(before) == ["data.extra.news", "data.extra.reviews"]
    (repo / FILES["news"]).write_text(table("news", 5))
    stages.run(repo, "inputs")
    after = json.loads(written.read_text())
    assert after["data.extra.news"] != before["data.extra.news"]
    assert after["data.extra.reviews"] == before["data.extra.reviews"]
    (repo / FILES["news"]).unlink()
    done = stages.run(repo, "inputs", check=False)
    assert done.code == 2 and f"params.yaml: data.extra.news: {FILES['news']}: no such file" in done.err
