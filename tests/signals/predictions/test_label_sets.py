"""Stored outputs of several labels: by name, each class for itself; what is wrong with them is one line."""

import json
import math

import datasets
import numpy as np
import pytest

from distill.errors import UserError
from distill.signals.log_probabilities import FLOOR
from distill.signals.predictions import saving
from distill.signals.predictions.label_sets import read_labels
from distill.tasks.base import Predicted
from distill.tasks.registry import load_task
from tests.helpers import stored, text
from tests.helpers.stored import record

CLASSES = ("late", "rude", "wrong")
P = {"wrong": 0.9, "late": 0.8, "rude": 0.0}


def refused(values, *parts, textual=False):
    with pytest.raises(UserError) as error:
        read_labels(record(values, textual), CLASSES)
    line = str(error.value)
    assert line.startswith("x.jsonl: line 7, ") and "\n" not in line and all(part in line for part in parts), line


@pytest.mark.parametrize("wide", [False, True])
def test_probabilities_need_not_add_up_to_one_and_become_log_odds(wide):
    values = {f"probability:{name}": str(p) for name, p in P.items()} if wide else {"probabilities": P}
    found, form = read_labels(record(values, textual=wide), CLASSES)
    assert found.dtype == np.float32 and form == "probabilities"
    assert found == pytest.approx([math.log(4), math.log(FLOOR / (1 - FLOOR)), math.log(9)], rel=1e-5)


def test_logits_stay_as_they_are():
    found, form = read_labels(record({"logits": {"rude": 3.5, "late": -1, "wrong": 0}, "labels": ["late"]}), CLASSES)
    assert found.tolist() == [-1, 3.5, 0] and form == "logits"


@pytest.mark.parametrize(("confidence", "p"), [(None, 1 - FLOOR), (0.75, 0.75)])
@pytest.mark.parametrize("names", [["wrong", "late"], []])
def test_labels_are_decisions_on_every_class(names, confidence, p):
    values = {"labels": names} | ({} if confidence is None else {"confidence": confidence})
    found, form = read_labels(record(values), CLASSES)
    assert form == "labels"
    assert 1 / (1 + np.exp(-found.astype(float))) == pytest.approx([p if c in names else 1 - p for c in CLASSES])


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"probabilities": P | {"late": 1.5}}, ("probabilities", "has 1.5", "from 0 to 1", "are these logits?")),
        ({"probabilities": {"late": 0.5}}, ("lacks class", "rude")),
        ({"probabilities": P | {"mute": 0.5}}, ('has "mute", which is no class', '"late", "rude", "wrong"')),
        ({"probabilities": P, "logits": P}, ("stand beside each other",)),
        ({"logits": P | {"late": 1e39}}, ("float32",)),
        ({"labels": ["late", "mute"]}, ("labels", 'has "mute", which is no class')),
        ({"labels": ["late", "late"]}, ('names class "late" twice',)),
        ({"labels": "late"}, ("labels", "write a list of names", "probability:<name>")),
        ({"labels": ["late"], "confidence": 0.4}, ("confidence", "is 0.4", "from 0.5 to 1")),
        ({"label": "late"}, ("have no outputs of the teacher", "labels")),
    ],
)
def test_what_is_wrong_is_said_in_one_line(values, parts):
    refused(values, *parts)


def test_what_is_saved_is_read_back(tmp_path):
    """save_predictions writes what teacher.predictions reads: the same log-odds, up to the floor."""
    task, rows = load_task("multi_label", labels=CLASSES), stored.texts(3, labels=[[0, 2], [], [1]])
    data = stored.Data("multi_label", {"train": rows})
    data.meta["labels"] = list(CLASSES)
    logits = np.array([[3.0, -12.0, 0.1], [-1.0, -2.0, -3.0], [0.0, 5.0, 9.0]], np.float32)
    predicted = Predicted(data.examples("train"), data.features("train"), logits, np.arange(4), data.meta)
    path = stored.write(tmp_path / "p.jsonl", list(saving.records(predicted, "train", task, text.SETTINGS)))
    assert set(json.loads(path.read_text().splitlines()[0])["probabilities"]) == set(CLASSES)
    found, _, known = stored.Stored.read(path, data, task).logits("train")
    assert known.all() and found == pytest.approx(logits, abs=2e-3)
    assert isinstance(data.examples("train"), datasets.Dataset)
