"""Teachers of words: other tokens, stored outputs, ensembles; each word keeps what is said of it, in loops."""

import json

import numpy as np
import pytest
from scipy.special import softmax

from distill.errors import UserError
from distill.models.predict import layout
from distill.signals import ensemble, other_tokens
from distill.signals.cache import Array, Cache, Writer, complete
from distill.signals.predictions import saving
from distill.signals.stored import Stored
from distill.tasks.base import Predicted
from distill.tasks.token_classification import TASK as TokenClassification
from tests.helpers import words

IDENTITY = {"data": "d", "tokenizer": "t", "teacher": "x"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return words.prepared(tmp_path_factory.mktemp("words"), transfer=6)


@pytest.fixture(scope="module")
def task(data):
    return TokenClassification(labels=data.meta["labels"])


def said(features, logits) -> dict[tuple[int, int], list[float]]:
    """What logits (tokens, C) say of each word, by text and word."""
    found, start = {}, 0
    for feature in features:
        for place, word in enumerate(feature["words"]):
            if word >= 0:
                found[feature["example_index"], word] = logits[start + place].tolist()
        start += feature["length"]
    return found


def drawn(features, channels, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (sum(features["length"]), channels)).astype(np.float32)


def filled(folder, features, logits) -> Cache:
    offsets = layout(features, True)
    folder.mkdir(parents=True)
    writer = Writer(folder, offsets, {"logits": Array(logits.shape[1], True)})
    for row in range(len(features)):
        writer.write(np.array([row]), {"logits": logits[None, offsets[row] : offsets[row + 1]]})
    writer.finish(IDENTITY | {"teacher": folder.name})
    complete(folder)
    return Cache.open(folder, {})


def test_a_teachers_words_go_to_the_students_tokens(tmp_path, data, task):
    own = data.read_by("teacher")
    theirs, ours = own.taught_features(), data.taught_features()
    assert len(theirs) != len(ours), "other windows"
    logits = drawn(theirs, task.channels)
    filled(tmp_path / "teacher", theirs, logits)
    (tmp_path / "moved").mkdir()
    moved = other_tokens.write_words(tmp_path / "moved", tmp_path / "teacher", data, own, IDENTITY)
    cache = Cache.open(complete(tmp_path / "moved"), {})
    flat = np.concatenate([cache.rows("logits", [row], n)[0] for row, n in enumerate(ours["length"])])
    begin = 0
    for split in data.taught_splits:
        part, size = own.features(split), sum(own.features(split)["length"])
        student = data.features(split)
        mine = flat[: sum(student["length"])]
        flat = flat[len(mine) :]
        assert said(student, mine) == said(part, logits[begin : begin + size])
        begin += size
    count = sum(len(starts) for split in data.taught_splits for starts in data.examples(split)["starts"])
    assert (moved.words, moved.silent) == (count, 0)


def test_scored_splits_move_too(data, task):
    own = data.read_by("teacher")
    theirs = own.features("validation")
    given = Predicted(own.examples("validation"), theirs, drawn(theirs, task.channels), layout(theirs, True), own.meta)
    moved = other_tokens.predicted(given, data, "validation")
    assert said(moved.features, moved.logits) == said(theirs, given.logits)
    assert moved.logits[np.concatenate(moved.features["words"]) < 0].any() == np.False_


def test_outputs_that_were_saved_come_back_word_by_word(tmp_path, data, task):
    outputs, records = {}, []
    for split in data.meta["splits"]:
        features = data.features(split)
        logits = drawn(features, task.channels, len(split))
        outputs[split] = Predicted(data.examples(split), features, logits, layout(features, True), data.meta)
        records += saving.records(outputs[split], split, task, words.SETTINGS)
    assert set(records[0]) == {"id", "split", "text", "probabilities"}
    saving.write(tmp_path / "out.jsonl", records)
    read = Stored.read(tmp_path / "out.jsonl", data, task)
    for split, given in outputs.items():
        found = read.predicted(split)
        ours, theirs = (said(given.features, softmax(part.logits.astype(float), -1)) for part in (found, given))
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), atol=3e-6)
    (tmp_path / "cache").mkdir()
    assert read.write(tmp_path / "cache")


def written(folder, *records):
    path = folder / "tags.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_tags_with_confidences_are_read_and_texts_without_any_have_no_weight(tmp_path, data, task):
    example = data.examples("train")[0]
    count, tags = len(example["starts"]), [data.meta["labels"][tag] for tag in example["tags"]]
    path = written(tmp_path, {"id": example["id"], "tags": tags, "confidences": [0.9] * count})
    read = Stored.read(path, data, task)
    assert read.coverage["train"] == (1, len(data.examples("train")))
    logits, offsets, known = read.logits("train")
    rows = np.array(data.features("train")["example_index"]) == 0
    assert known.tolist() == rows.tolist()
    for (text, word), values in said(data.features("train"), logits).items():
        share = softmax(values)
        if text == 0:
            assert share[example["tags"][word]] == pytest.approx(0.9, abs=1e-6)
        else:
            assert not any(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ["O"]}, "line 1, tags: has 1 entries for the"),
        ({"tags": "O"}, 'line 1, tags: is "O"; it must be a list'),
        ({}, "line 1, probabilities and tags: are missing"),
        ({"tags": ["B-NONE"]}, "no tag"),
        ({"tags": ["O"], "confidences": [0.01]}, "confidences\\[0\\]: is 0.01"),
        ({"probabilities": [[0.5, 0.5]]}, "probabilities\\[0\\]: is .*an object with a number for each class"),
    ],
)
def test_bad_outputs_are_refused_in_one_line(tmp_path, data, task, change, message):
    example = data.examples("train")[0]
    count = len(example["starts"])
    values = {k: v * count if isinstance(v, list) and "has 1" not in message else v for k, v in change.items()}
    with pytest.raises(UserError, match=message):
        Stored.read(written(tmp_path, {"id": example["id"], **values}), data, task)


def test_an_ensemble_is_the_mean_of_each_words_probabilities(tmp_path, data, task):
    features = data.taught_features()
    logits = [drawn(features, task.channels, seed) for seed in (1, 2)]
    caches = {f"m{i}": filled(tmp_path / f"m{i}", features, part) for i, part in enumerate(logits)}
    (tmp_path / "mean").mkdir()
    counted = ensemble.words_of(features, task)
    ensemble.write(tmp_path / "mean", caches, {"m0": 1.0, "m1": 3.0}, task, {}, counted)
    cache = Cache.open(complete(tmp_path / "mean"), {})
    p = [softmax(part.astype(float), -1) for part in logits]
    mean = np.average(p, axis=0, weights=[1, 3])
    divergence = sum(w * (q * np.log(q / mean)).sum(-1) for w, q in zip((0.25, 0.75), p, strict=True))
    start = 0
    for row, length in enumerate(features["length"]):
        part = slice(start, start + length)
        found = softmax(cache.rows("logits", [row], length)[0].astype(float), -1)
        np.testing.assert_allclose(found, mean[part], rtol=1e-5)
        assert cache.column("spread")[row, 0] == pytest.approx(divergence[part][counted[part]].mean(), rel=1e-4)
        start += length
    both = [Predicted(data.examples("train"), features, part, layout(features, True), data.meta) for part in logits]
    joint = ensemble.of_splits(both, [1.0, 3.0], task)
    np.testing.assert_allclose(softmax(joint.logits.astype(float), -1), mean, rtol=1e-5)
