"""What is saved reads back as the same outputs: probabilities to 1e-8, answers with their spans."""

import numpy as np
import pytest

from distill.errors import UserError
from distill.models.predict import layout
from distill.signals.predictions import saving
from distill.tasks.base import Predicted
from tests.data.features.test_question_features import row, wordpiece
from tests.helpers import stored, text
from tests.helpers.stored import Data, texts

__all__ = ["wordpiece"]  # a fixture
RANDOM = np.random.default_rng(0)


def saved(path, data, task, logits, known=None):
    features = data.features("train")
    offsets = layout(features, task.per_token)
    predicted = Predicted(data.examples("train"), features, logits.astype(np.float32), offsets, data.meta)
    saving.write(path, saving.records(predicted, "train", task, text.SETTINGS, known))
    return stored.read(path, data)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_classes_come_back_as_probabilities(tmp_path, suffix):
    data = Data("classification", {"train": texts(50)})
    logits = 2 * RANDOM.normal(size=(50, 3))
    found = saved(tmp_path / f"x{suffix}", data, stored.task(data), logits).logits("train")[0]
    assert stored.softmax(found) == pytest.approx(stored.softmax(np.float32(logits)), abs=1e-6)


def test_numbers_come_back_exactly(tmp_path):
    data = Data("regression", {"train": texts(50)})
    logits = RANDOM.normal(size=(50, 1)).astype(np.float32)
    assert (saved(tmp_path / "x.jsonl", data, stored.task(data), logits).logits("train")[0] == logits).all()


def test_rows_without_outputs_are_not_saved(tmp_path):
    data = Data("regression", {"train": texts(4)})
    known = np.array([True, False, True, True])
    read = saved(tmp_path / "x.jsonl", data, stored.task(data), np.ones((4, 1)), known)
    assert read.coverage == {"train": (3, 4)} and read.lines == ["3 rows with score"]


def test_answers_come_back_where_they_were_and_no_answer_too(tmp_path, wordpiece):
    """A model that is sure of one span, or of none: the same answer is the best one afterwards."""
    context = "the river bank the tower city founded painted green seven hundred mayor"
    rows = [row("a", "what tower?", context, "green seven"), row("b", "what lake?", context)]
    data = stored.questions(rows, wordpiece, 16, 4)
    task, features = stored.task(data), data.features("train")
    logits = []
    for window in features:
        values = np.full((window["length"], 2), -6.0)
        values[window["start_positions"], 0] = values[window["end_positions"], 1] = 6.0
        logits.append(values)
    read = saved(tmp_path / "x.jsonl", data, task, np.concatenate(logits))
    scores = task.score(read.predicted("train"), text.SETTINGS)
    assert scores["em"] == 100 and scores["no_answer_em"] == 100
    found, offsets, _ = read.logits("train")
    for number, window in enumerate(features):
        places = found[offsets[number] : offsets[number + 1]].argmax(0)
        assert tuple(places) == (window["start_positions"], window["end_positions"])


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(UserError, match=r'has the suffix ".csv": name a file with .jsonl or .parquet'):
        saving.write(tmp_path / "x.csv", [])
