"""Outputs from files, joined with the data: against naive references in float64, whatever the order of the file."""

import math

import numpy as np
import pytest

from distill.errors import UserError
from distill.signals.cache import Cache, complete
from distill.signals.stored import Stored
from tests.data.features.test_question_features import row, wordpiece
from tests.helpers import stored
from tests.helpers.stored import CLASSES, Data, texts

__all__ = ["wordpiece"]  # a fixture
RANDOM = np.random.default_rng(0)


def shares(count):
    return RANDOM.dirichlet([0.5] * len(CLASSES), count)


def records(ids, values, **more):
    return [
        {"id": key, **more, "probabilities": dict(zip(CLASSES, row.tolist(), strict=True))}
        for key, row in zip(ids, values, strict=True)
    ]


def logits_of(cache, data):
    features = data.taught_features()
    return cache.rows("logits", list(range(len(features))), max(features["length"]))


def cached(read, folder):
    hashed = read.write(folder)
    identity = {"data": "a" * 32, "tokenizer": "b" * 32, "teacher": hashed}
    return Cache.open(complete(folder), identity)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_cache_holds_log_probabilities_in_the_order_of_the_data(tmp_path, suffix):
    data, values = Data("classification", {"train": texts(2500), "validation": texts(3, "v")}), shares(2500)
    order = RANDOM.permutation(2500)
    path = stored.write(tmp_path / f"x{suffix}", records([str(i) for i in order], values[order]))
    cache = cached(stored.read(path, data), tmp_path / "cache")
    assert list(cache.arrays) == ["logits"] and cache.meta["task"] == "classification"
    found = logits_of(cache, data).astype(np.float64)
    expected = np.array([[math.log(max(p, 1e-6)) for p in row] for row in values.tolist()])
    assert found == pytest.approx(expected, rel=1e-6)
    assert stored.softmax(found) == pytest.approx(values, abs=3e-6)


def test_missing_rows_have_no_weight_and_logits_0(tmp_path):
    data = Data("classification", {"train": texts(5), "selection": texts(2, "s"), "validation": texts(2, "v")})
    read = stored.read(stored.write(tmp_path / "x.jsonl", records(["3", "1"], shares(2))), data)
    assert read.coverage == {"train": (2, 5), "selection": (0, 2), "validation": (0, 2)}
    assert read.uncovered() == {"selection": 2, "validation": 2}
    with pytest.raises(UserError) as error:
        read.check_missing("refuse", tmp_path / "x.jsonl")
    assert str(error.value) == (
        f'{tmp_path}/x.jsonl: says nothing about 3 of 5 train rows, such as "0": add them, or set teacher.missing to'
        " labels_only: such rows then teach by their labels alone"
    )
    read.check_missing("labels_only", tmp_path)
    cache = cached(read, tmp_path / "cache")
    assert cache.column("weight")[:, 0].tolist() == [0, 1, 0, 1, 0]
    assert (logits_of(cache, data)[[0, 2, 4]] == 0).all()


def test_without_any_training_row_nothing_is_learnt_whatever_is_asked_for(tmp_path):
    data = Data("classification", {"train": texts(2), "validation": texts(2, "v")})
    read = stored.read(stored.write(tmp_path / "x.jsonl", records(["v0", "v1"], shares(2))), data)
    with pytest.raises(UserError, match="2 of 2 train rows.*name a file with outputs for the training rows"):
        read.check_missing("labels_only", tmp_path)


def test_rows_of_other_data_are_counted_or_refused_where_all_are(tmp_path):
    data = Data("classification", {"train": texts(2), "validation": texts(2, "v")})
    path = stored.write(tmp_path / "x.jsonl", records(["0", "old-1", "1", "old-2"], shares(4)))
    assert stored.read(path, data).lines == [
        "2 rows with probabilities",
        f"2 rows are about no row of the data and are left out, such as {path}, line 2",
    ]
    path = stored.write(tmp_path / "x.jsonl", records(["old-1", "old-2"], shares(2)))
    with pytest.raises(UserError, match='2 rows, and none is about a row of the data, whose first id is "0"'):
        stored.read(path, data)


@pytest.mark.parametrize("again", [{"id": "1"}, {"text": "text 1"}])
@pytest.mark.parametrize("label", ["good", "bad"])
def test_two_rows_about_the_same_are_refused_whether_they_agree_or_not(tmp_path, again, label):
    data = Data("classification", {"train": texts(2)})
    path = stored.write(tmp_path / "x.jsonl", [{"id": "1", "label": "good"}, again | {"label": label}])
    with pytest.raises(UserError) as error:
        stored.read(path, data)
    assert f'{path}: line 2, id: is about the train row "1", as {path}, line 1 is; give every row' in str(error.value)


def test_a_text_counts_for_every_row_that_has_it(tmp_path):
    same = [*texts(2), texts(1)[0] | {"id": "again"}]
    data = Data("classification", {"train": same})
    path = stored.write(tmp_path / "x.csv", [{"text": "text 0", "label": "good"}, {"text": "text 1", "label": "bad"}])
    found = stored.read(path, data).logits("train")[0]
    assert found.argmax(1).tolist() == [2, 0, 2]


def test_outputs_are_scored_as_a_models_are(tmp_path):
    """In classes and in numbers: the task's report takes them."""
    gold = [0, 1, 2, 0]
    data = Data(
        "classification", {"train": texts(2), "selection": texts(4, "s", gold), "validation": texts(4, "v", gold)}
    )
    ids, names = [*"01", *(f"{p}{i}" for p in "sv" for i in range(4))], [CLASSES[i] for i in (0, 0, *gold, 0, 1, 2, 1)]
    path = stored.write(tmp_path / "x.csv", [{"id": i, "label": n} for i, n in zip(ids, names, strict=True)])
    read = stored.read(path, data)
    assert read.uncovered() == {}
    predicted = read.predicted("validation")
    assert predicted.logits.shape == (4, 3) and predicted.offsets.tolist() == [0, 1, 2, 3, 4]
    assert stored.task(data).score(predicted, None)["accuracy"] == 75
    with pytest.raises(ValueError, match="validation: 4 features have no outputs"):
        part = stored.write(tmp_path / "y.csv", [{"id": "0", "label": "good"}])
        stored.read(part, data).predicted("validation")


def test_numbers_teach_as_they_are(tmp_path):
    data = Data("regression", {"train": texts(3)})
    path = stored.write(tmp_path / "x.csv", [{"id": str(i), "score": 0.5 - i} for i in (2, 0, 1)])
    cache = cached(stored.read(path, data), tmp_path / "cache")
    assert logits_of(cache, data)[:, 0].tolist() == [0.5, -0.5, -1.5]


def test_the_hash_is_that_of_the_outputs_and_of_nothing_else(tmp_path):
    """Another order or format of the file is the same teacher; another number is another one."""
    data, values = Data("classification", {"train": texts(20)}), shares(20)
    every = records([str(i) for i in range(20)], values)
    hashes = [
        stored.read(stored.write(tmp_path / name, rows), data).write(tmp_path / f"c{i}")
        for i, (name, rows) in enumerate(
            [("a.jsonl", every), ("b.parquet", every[::-1]), ("c.jsonl", every[:-1] + records(["19"], shares(1)))]
        )
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_unlabelled_rows_follow_those_of_train(tmp_path):
    data = Data("classification", {"train": texts(2), "selection": texts(1, "s"), "transfer": texts(3, "u")})
    assert data.taught_splits == ["train", "transfer"]
    path = stored.write(tmp_path / "x.csv", [{"id": i, "label": n} for i, n in (("u2", "good"), ("0", "bad"))])
    cache = cached(stored.read(path, data), tmp_path / "cache")
    assert cache.column("weight")[:, 0].tolist() == [1, 0, 0, 0, 1]
    assert logits_of(cache, data).argmax(1)[[0, 4]].tolist() == [0, 2]


def test_unlabelled_rows_without_outputs_are_refused_in_any_case(tmp_path):
    """They would teach nothing at all, silently."""
    data = Data("classification", {"train": texts(2), "transfer": texts(2, "u")})
    path = stored.write(tmp_path / "x.csv", [{"id": i, "label": "good"} for i in ("u0", "0", "1")])
    read = stored.read(path, data)
    with pytest.raises(UserError, match='nothing about 1 of 2 transfer rows, such as "u1", which have no label'):
        read.check_missing("labels_only", path)
    path = stored.write(tmp_path / "y.csv", [{"id": i, "label": "good"} for i in ("u0", "u1", "1")])
    stored.read(path, data).check_missing("labels_only", path)


def questions(wordpiece):
    context = "the river bank the tower city founded painted green seven hundred mayor lake bridge stone the river bank"
    rows = [
        row("a", "what tower?", context, "seven hundred"),
        row("b", "what lake?", context),
        row("c", "what?", context),
    ]
    return stored.questions(rows, wordpiece, 16, 4)


def test_answers_lie_on_the_tokens_of_each_window_and_on_cls_where_it_cuts_them(tmp_path, wordpiece):
    """Against the distributions written out by hand from the tokens' characters."""
    data = questions(wordpiece)
    answers = {
        "a": [("seven hundred", None, 0.5), ("the river", 0, 0.25), ("", None, 0.25)],
        "b": [("", None, 1.0)],
        "c": [("river bank", None, 1.0)],  # twice
    }
    lines = [
        {"id": key, "answers": [{"text": t, "start": s, "probability": p} for t, s, p in listed]}
        for key, listed in answers.items()
    ]
    logits, offsets, known = stored.read(stored.write(tmp_path / "x.jsonl", lines[::-1]), data).logits("train")
    assert known.all() and len(offsets) > 6
    for window, begin, end in zip(data.features("train"), offsets[:-1], offsets[1:], strict=True):
        example = data.examples("train")[window["example_index"]]
        expected = np.zeros((window["length"], 2))
        spans = []
        for text, start, share in answers[example["id"]]:
            places = [i for i in range(len(example["context"])) if text and example["context"].startswith(text, i)]
            places = places if start is None else [start]
            spans += [(place, place + len(text), share / len(places)) for place in places]
            expected[0] += 0 if text else share
        starts, ends = window["offset_start"], window["offset_end"]
        for first, last, share in spans:
            if first in starts and last in ends:  # words are tokens here
                expected[starts.index(first), 0] += share
                expected[ends.index(last), 1] += share
            else:
                expected[0] += share
        assert np.exp(logits[begin:end].astype(float)) == pytest.approx(np.maximum(expected, 1e-6), rel=1e-5)
        assert expected.sum(0) == pytest.approx([1, 1])


def test_questions_without_an_answer_in_their_context_count_as_missing(tmp_path, wordpiece):
    data = questions(wordpiece)
    rows = [{"id": key, "answer": text} for key, text in (("a", "ocean"), ("b", ""), ("c", "lake"))]
    read = stored.read(stored.write(tmp_path / "x.jsonl", rows), data)
    assert read.coverage == {"train": (2, 3)}
    assert read.lines[-1] == "1 questions have no answer that occurs in their context: they count as missing"
    logits, offsets, known = read.logits("train")
    assert (logits[: offsets[1]] == 0).all() and not known[0]
    cache = cached(read, tmp_path / "cache")
    assert set(cache.column("weight")[:, 0]) == {0.0, 1.0}
    assert isinstance(read, Stored)


def test_questions_are_found_by_their_texts(tmp_path, wordpiece):
    data = questions(wordpiece)
    context = data.examples("train")[0]["context"]
    rows = [{"question": text, "context": context, "answer": "lake"} for text in ("what?", "what tower?", "what lake?")]
    assert stored.read(stored.write(tmp_path / "x.jsonl", rows), data).coverage == {"train": (3, 3)}
    with pytest.raises(UserError, match="id: is missing, and so is the text.*by question and context"):
        stored.read(stored.write(tmp_path / "x.jsonl", [{"question": "what?", "answer": "lake"}]), data)
