"""Outputs of teachers for rankings: stored scores joined with the data, and several teachers brought to one scale."""

import math
import statistics

import numpy as np
import pytest

from distill.errors import UserError
from distill.signals import ensemble, relevance
from distill.signals.cache import Cache, complete
from distill.signals.predictions import saving
from distill.tasks.registry import load_task
from tests.helpers import rankings, stored

SIZES = [3, 2, 4]
TASK = load_task("ranking")
RANDOM = np.random.default_rng(0)


def data(**splits):
    parts = {"train": rankings.rows(SIZES), "validation": rankings.rows([2, 3], "v")} | splits
    features = {split: rankings.features(rows) for split, rows in parts.items()}
    return stored.Data("ranking", parts, features)


def records(rows, scores, by_text=False):
    names = {"query": "text", "passage": "text_pair"} if by_text else {"id": "id"}
    return [
        {name: row[column] for name, column in names.items()} | {"score": float(score)}
        for row, score in zip(rows, scores, strict=True)
    ]


@pytest.mark.parametrize("by_text", [True, False])
def test_stored_scores_are_found_by_id_or_by_query_and_passage(tmp_path, by_text):
    given, scores = data(), RANDOM.normal(0, 9, 14).astype(np.float32)
    everything = [*rankings.rows(SIZES), *rankings.rows([2, 3], "v")]
    order = RANDOM.permutation(14)
    path = stored.write(tmp_path / "x.jsonl", records([everything[i] for i in order], scores[order], by_text))
    read = stored.read(path, given)
    assert read.coverage == {"train": (9, 9), "validation": (5, 5)}
    assert read.logits("train")[0][:, 0].tolist() == scores[:9].tolist()
    assert read.predicted("validation").logits[:, 0].tolist() == scores[9:].tolist()
    # What is saved is what is read.
    saved = list(saving.records(read.predicted("validation"), "validation", TASK, None))
    assert set(saved[0]) == {"id", "split", "query", "passage", "score"}
    again = stored.read(stored.write(tmp_path / "y.jsonl", saved), given)
    assert again.predicted("validation").logits.tolist() == read.predicted("validation").logits.tolist()


def test_a_query_of_which_a_passage_is_missing_counts_as_missing(tmp_path):
    rows = rankings.rows(SIZES)
    path = stored.write(tmp_path / "x.jsonl", records(rows[:4] + rows[5:], range(8)))
    read = stored.read(path, data())
    assert read.coverage["train"] == (7, 9) and read.found["train"].known.tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 1]
    assert "1 queries have outputs for some of their passages alone: they count as missing" in read.lines
    with pytest.raises(UserError, match='says nothing about 2 of 9 train rows, such as "q1/0"'):
        read.check_missing("refuse", path)
    with pytest.raises(UserError, match="line 1, score: is missing"):
        stored.read(stored.write(tmp_path / "y.jsonl", [{"id": "q0/0", "label": 1}]), data())


def loops(members, weights):
    """The mean of z-scores within a query times the mean standard deviation, for one query."""
    each, deviations = [], []
    for scores in members:
        mean, deviation = statistics.fmean(scores), statistics.pstdev(scores)
        each.append([(score - mean) / deviation if deviation else 0.0 for score in scores])
        deviations.append(deviation)
    shares = [weight / sum(weights) for weight in weights]
    scale = sum(share * deviation for share, deviation in zip(shares, deviations, strict=True))
    return [scale * sum(w * z for w, z in zip(shares, column, strict=True)) for column in zip(*each, strict=True)]


def test_the_mean_of_teachers_is_that_of_their_z_scores_within_a_query():
    bounds = rankings.bounds(SIZES)
    scores = np.stack([RANDOM.normal(0, 1, 9), RANDOM.normal(50, 20, 9), np.zeros(9)])[..., None]
    scores[0, 3:5] = 2.0  # all passages alike
    weights = np.repeat([[1.0], [0.5], [0.25]], 9, axis=1)
    weights[2, :3] = 0  # says nothing about the first query
    found = ensemble.combine_groups(scores, weights, bounds)
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
        expected = loops(scores[:, begin:end, 0].tolist(), weights[:, begin].tolist())
        assert found.logits[begin:end, 0].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert len(set(found.spread[begin:end].tolist())) == 1
    # Level and scale of a member that is alone do not change its order, and another level changes nothing at all.
    alone = relevance.leveled(scores[:1] + 7, weights[:1], bounds)
    assert alone == pytest.approx(relevance.leveled(scores[:1], weights[:1], bounds), abs=1e-9)
    assert alone[0, :3, 0] == pytest.approx(scores[0, :3, 0] - scores[0, :3, 0].mean())


def test_an_ensemble_is_written_by_queries_and_leaves_out_who_says_nothing(tmp_path):
    given, caches, values = data(), {}, {}
    bounds = rankings.bounds(SIZES)
    for name, missing in (("one", ()), ("two", (1,)), ("three", (1, 2))):
        values[name] = RANDOM.normal(0, 3, 9).astype(np.float32)
        rows = [
            (row, score)
            for row, score in zip(rankings.rows(SIZES), values[name], strict=True)
            if int(row["query"][1:]) not in missing
        ]
        read = stored.read(stored.write(tmp_path / f"{name}.jsonl", records(*zip(*rows, strict=True))), given)
        hashed = read.write(tmp_path / name)
        identity = {"data": "a" * 32, "tokenizer": "b" * 32, "teacher": hashed}
        caches[name] = Cache.open(complete(tmp_path / name), identity)
    meta = {"task": "ranking", "precision": "fp32"}
    weights = {"one": 1.0, "two": 2.0, "three": 1.0}
    teacher = ensemble.write(tmp_path / "all", caches, weights, TASK, meta, bounds=bounds)
    identity = {"data": "a" * 32, "tokenizer": "b" * 32, "teacher": teacher}
    cache = Cache.open(complete(tmp_path / "all"), identity)
    found = cache.column("logits")[:, 0]
    for query, names in enumerate((("one", "two", "three"), ("one",), ("one", "two"))):
        part = slice(*bounds[query : query + 2])
        expected = loops([values[name][part].tolist() for name in names], [weights[name] for name in names])
        assert found[part].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    spread = cache.column("spread")[:, 0]
    assert math.isclose(spread[3], 0, abs_tol=1e-6) and spread[0] == spread[2] > 0 and "weight" not in cache.arrays
