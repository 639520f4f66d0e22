"""Classes and numbers of single texts, against transformers' own tokenizer and model in float64."""

import io
import json

import numpy as np
import pytest
import torch
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from distill.errors import UserError
from distill.inference import classify
from distill.inference.model import load
from tests.helpers import text, tiny

NAMES = ["bad", "fair", "good"]
TEXTS = ["w1 w2 w3", "w30 w4 w4 w4 w8 w9 w10", "w7", " ".join(["w2", "w5"] * 60)]
LENGTH = 24


def saved(folder, channels: int, **fields) -> str:
    """A checkpoint as transformers saves one."""
    text.model("bert", layers=1, channels=channels, **fields).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> str:
    return saved(tmp_path_factory.mktemp("classes"), 3, id2label=dict(enumerate(NAMES)))


@pytest.fixture(scope="module")
def number(tmp_path_factory) -> str:
    return saved(tmp_path_factory.mktemp("number"), 1)


def logits(checkpoint: str, first: str, pair: str | None) -> list[float]:
    """Of one text, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).double().eval()
    with torch.no_grad():
        row = tokenizer(first, pair, truncation="longest_first", max_length=LENGTH, return_tensors="pt")
        return model(**row).logits[0].tolist()


@pytest.mark.parametrize("second", [None, "w5 w6"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_classes_and_probabilities(classes, second, temperature):
    model = load(classes, False, {"max_length": LENGTH, "temperature": temperature})
    for first, found in zip(TEXTS, classify.classify(model, [(first, second) for first in TEXTS]), strict=True):
        expected = softmax([value / temperature for value in logits(classes, first, second)])
        assert found["label"] == NAMES[expected.argmax()]
        assert found["probabilities"] == pytest.approx(dict(zip(NAMES, expected, strict=True)), abs=1e-5)
        assert found["confidence"] == pytest.approx(expected.max(), abs=1e-5)


def test_the_tuned_decision_changes_the_class_and_no_probability(classes):
    fields = {"max_length": LENGTH, "temperature": 1.0}
    texts = [(first, None) for first in TEXTS]
    plain = classify.classify(load(classes, False, fields), texts)
    offsets = [0.0, 50.0, -1.0]
    model = load(classes, False, fields | {"offsets": offsets})
    assert classify.classify(model, texts) == plain
    for first, found, before in zip(TEXTS, classify.classify(model, texts, tuned=True), plain, strict=True):
        expected = int(np.argmax(np.add(logits(classes, first, None), offsets)))
        assert found["label"] == NAMES[expected] and found["probabilities"] == before["probabilities"]
        assert found["confidence"] == found["probabilities"][found["label"]]
    assert {row["label"] for row in classify.classify(model, texts, tuned=True)} == {NAMES[1]}


def test_without_a_tuned_decision_none_is_pretended(classes):
    with pytest.raises(UserError, match="--tuned: the model has no tuned decision"):
        classify.classify(load(classes, False, {"max_length": LENGTH, "temperature": 1.0}), [("w1", None)], tuned=True)


def test_a_number(number):
    model = load(number, False, {"max_length": LENGTH})
    found = classify.classify(model, [(first, None) for first in TEXTS])
    assert [one["value"] for one in found] == pytest.approx([logits(number, t, None)[0] for t in TEXTS], abs=1e-5)


@pytest.mark.parametrize(
    ("texts", "pairs", "message"),
    [
        ([("w1", None), (" ", None)], False, "text 2: is empty"),
        ([("w1", "")], True, "text 1: is empty"),
        ([("w1", None)], True, "text 1: the model takes pairs of texts"),
        ([("w1", "w2")], False, "text 1: the model takes single texts"),
        ([("w1", "w2"), ("w1", None)], None, "text 2: the model takes pairs of texts"),
    ],
)
def test_texts_that_do_not_fit_are_refused(classes, texts, pairs, message):
    with pytest.raises(UserError, match=message):
        classify.classify(load(classes, False, {"pairs": pairs, "temperature": 1.0}), texts)


def test_the_command(classes, number, capsys, monkeypatch):
    classify.main([TEXTS[0], "--model", classes])
    shown = capsys.readouterr().out.splitlines()
    classify.main([TEXTS[0], "--model", classes, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert shown[0] == told["label"] and shown[1].endswith(told["label"])
    assert {line.split()[1] for line in shown[1:]} == set(NAMES)
    classify.main([TEXTS[0], TEXTS[1], "--model", number])
    full = load(number, False, {"max_length": 64})
    expected = classify.classify(full, [(TEXTS[0], TEXTS[1])])[0]["value"]
    assert float(capsys.readouterr().out) == pytest.approx(expected, abs=1e-4)
    rows = [{"id": i, "text": first} for i, first in enumerate(TEXTS)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(json.dumps, rows))))
    classify.main(["-", "--model", classes])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in lines] == [0, 1, 2, 3] and lines[0]["label"] == told["label"]
    with pytest.raises(SystemExit):
        classify.main(["-", "w1"])


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> str:
    fields = {"id2label": dict(enumerate(NAMES)), "problem_type": "multi_label_classification"}
    return saved(tmp_path_factory.mktemp("several"), 3, **fields)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_several_labels_have_a_probability_each_and_their_own_thresholds(several, temperature):
    fields, bounds = {"max_length": LENGTH, "temperature": temperature}, [0.999, 0.5, 0.001]
    model = load(several, False, fields | {"thresholds": bounds})
    assert model.settings.task == "multi_label"
    asked = [(first, None) for first in TEXTS]
    for first, found, tuned in zip(
        TEXTS, classify.classify(model, asked), classify.classify(model, asked, tuned=True), strict=True
    ):
        expected = logits(several, first, None)
        assert found["labels"] == [name for name, z in zip(NAMES, expected, strict=True) if z > 0]
        shares = {name: 1 / (1 + np.exp(-z / temperature)) for name, z in zip(NAMES, expected, strict=True)}
        assert found["probabilities"] == tuned["probabilities"] == pytest.approx(shares, abs=1e-5)
        raw = [1 / (1 + np.exp(-z)) for z in expected]
        assert tuned["labels"] == [name for name, p, bound in zip(NAMES, raw, bounds, strict=True) if p > bound]
    with pytest.raises(UserError, match="--tuned"):
        classify.classify(load(several, False, fields), asked, tuned=True)


def test_the_command_lists_all_labels_or_says_none(several, capsys):
    for first in TEXTS:
        classify.main([first, "--model", several])
        shown = capsys.readouterr().out.splitlines()
        said = [line.split()[1] for line in shown[1:] if float(line.split()[0]) > 0.5]
        assert sorted(shown[0].split(", ")) == sorted(said or ["none"])


def test_thresholds_are_as_many_as_classes(several):
    with pytest.raises(UserError, match="2 thresholds for 3 labels"):
        load(several, False, {"thresholds": [0.5, 0.5]})
