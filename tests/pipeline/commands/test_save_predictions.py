"""The command that saves a teacher's outputs, for questions; for classes see test_stored_predictions.py."""

import json
from pathlib import Path

import numpy as np
import pytest

from distill.errors import UserError
from distill.signals.stored import Stored
from pipeline.commands import save_predictions
from pipeline.stage import paths
from pipeline.stage.inputs import open_data
from tests.helpers import micro

pytestmark = pytest.mark.slow


def test_a_question_keeps_its_best_answers_and_no_answer(base, tmp_path, monkeypatch, capsys):
    """All splits are there, every answer stands where it says, and the file reads back."""
    monkeypatch.chdir(base)
    save_predictions.main([str(tmp_path / "outputs.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "outputs.jsonl").read_text().splitlines()]
    data, task = open_data(paths.params(), reported=True)
    sizes = {split: len(data.examples(split)) for split in data.meta["splits"]}
    listed = ", ".join(f"{size:,} {split}" for split, size in sizes.items())
    assert f"{tmp_path}/outputs.jsonl: {listed} rows" in capsys.readouterr().out
    assert len(rows) == sum(sizes.values()) and set(rows[0]) == {"id", "split", "question", "answers"}
    for row in rows:
        assert sum(answer["probability"] for answer in row["answers"]) == pytest.approx(1)
    stored = Stored.read(tmp_path / "outputs.jsonl", data, task)
    assert stored.coverage == {split: (size, size) for split, size in sizes.items()}
    assert task.score(stored.predicted("validation"), paths.params().evaluate).keys() >= {"em", "f1"}


def test_another_suffix_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"x.csv: has the suffix"):
        save_predictions.main(["x.csv"])


def test_students_learn_from_the_saved_answers(repo, stages, monkeypatch):
    """Through the stages, as from the model."""
    monkeypatch.chdir(repo)
    by_model = np.concatenate([np.load(file) for file in sorted(Path("data/teacher/logits").glob("*.npy"))])
    save_predictions.main(["outputs.parquet"])
    stored = {"teacher.source": "predictions", "teacher.predictions": "outputs.parquet", "methods": ["ft", "kd"]}
    (repo / "params.yaml").write_text(micro.params(stored))
    stages.run_all(
        repo, (("inputs",), ("finetune", "teacher"), ("plan",), ("predict",), ("signals",), ("distill", "kd", "1"))
    )
    by_file = np.concatenate([np.load(file) for file in sorted(Path("data/teacher/logits").glob("*.npy"))])
    assert by_file.shape == by_model.shape and np.isfinite(by_file).all() and by_file.max() <= 0
    assert {path.name for path in Path("data/signals/kd").iterdir()} == {"signals.json", "logits"}
    assert "kl" in (repo / "metrics/curves/kd-1.csv").read_text().splitlines()[0]
