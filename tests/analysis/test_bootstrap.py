"""Scores on resamples are what scipy and scikit-learn give for the drawn rows, one resample at a time."""

import numpy as np
import pandas as pd
import pytest

from distill.analysis import bootstrap
from distill.errors import UserError
from distill.tasks import glue

N, RUNS, RESAMPLES = 37, 3, 9


GROUPS = np.random.default_rng(9).integers(0, 12, N)


@pytest.fixture(scope="module", params=["examples", "groups"])
def counts(request):
    """Resamples of examples, and of groups: those have more or fewer than N examples."""
    groups = GROUPS if request.param == "groups" else None
    return np.concatenate(list(bootstrap.draws(N, RESAMPLES, 3, groups)), axis=1)


def drawn(counts, resample):
    """Row numbers of a resample, each as often as it was drawn."""
    return np.repeat(np.arange(N), counts[:, resample].astype(int))


def test_draws_are_resamples_of_all_rows_and_repeat(monkeypatch):
    counts = np.concatenate(list(bootstrap.draws(N, RESAMPLES, seed=3)), axis=1)
    assert counts.shape == (N, RESAMPLES) and (counts.sum(0) == N).all()
    again = np.concatenate(list(bootstrap.draws(N, RESAMPLES, seed=3)), axis=1)
    assert (again == counts).all()
    monkeypatch.setattr(bootstrap, "_CHUNK", 4 * N)
    parts = list(bootstrap.draws(N, RESAMPLES, seed=3))
    assert [part.shape[1] for part in parts] == [4, 4, 1]


def test_groups_are_drawn_whole_and_as_many_as_there_are():
    counts = np.concatenate(list(bootstrap.draws(N, RESAMPLES, 3, GROUPS)), axis=1)
    names, firsts = np.unique(GROUPS, return_index=True)
    assert (counts == counts[firsts][np.searchsorted(names, GROUPS)]).all()
    assert (counts[firsts].sum(0) == len(names)).all() and len(set(counts.sum(0))) > 1
    # The naive reference: the same draws of group numbers, group by group.
    drawn = np.random.default_rng(3).integers(0, len(names), (len(names), RESAMPLES))
    naive = np.array([[(drawn[:, r] == np.searchsorted(names, g)).sum() for r in range(RESAMPLES)] for g in GROUPS])
    assert (counts == naive).all()


def test_groups_of_one_are_no_groups():
    plain, grouped = (list(bootstrap.draws(N, 10, 3, groups)) for groups in (None, np.array(list("ab" * N))[:N]))
    alone = list(bootstrap.draws(N, 10, 3, np.random.default_rng(0).permutation(N)))
    assert (alone[0] == plain[0]).all() and (grouped[0] != plain[0]).any()


def test_draws_are_fair():
    counts = np.concatenate(list(bootstrap.draws(5, 20000, seed=1)), axis=1)
    # Multinomial: mean 1, variance 4/5, covariance -1/5.
    assert counts.mean(1) == pytest.approx([1] * 5, abs=0.03)
    assert np.cov(counts) == pytest.approx(np.where(np.eye(5), 0.8, -0.2), abs=0.04)


def test_means(counts):
    values = np.random.default_rng(0).random((RUNS, N))
    found = bootstrap.Mean(values)(counts)
    expected = [[values[run, drawn(counts, r)].mean() for r in range(RESAMPLES)] for run in range(RUNS)]
    assert found == pytest.approx(np.array(expected))


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
@pytest.mark.parametrize("ties", [True, False])
def test_correlations(counts, kind, ties):
    generator = np.random.default_rng(1)
    gold = generator.normal(1000, 1, N)
    predicted = gold + generator.normal(-900, 2, (RUNS, N))
    if ties:
        gold, predicted = gold.round(), predicted.round()
    found = {"pearson": bootstrap.Pearson, "spearman": bootstrap.Spearman}[kind](gold, predicted)(counts)
    for r in range(RESAMPLES):
        rows = drawn(counts, r)
        expected = [glue.regression(predicted[run, rows], gold[rows])[kind] for run in range(RUNS)]
        assert found[:, r] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("kind", [bootstrap.Pearson, bootstrap.Spearman])
def test_constant_sides_correlate_0(kind):
    gold = np.array([1.0, 2.0, 2.0, 4.0])
    predicted = np.array([[0.3, 0.3, 0.3, 0.3], [0.1, 0.7, 0.7, 0.9]])
    resamples = np.array([[1, 1, 1, 1], [0, 2, 2, 0], [0, 0, 0, 4]], float).T
    found = kind(gold, predicted)(resamples)
    assert (found[0] == 0).all() and found[1, 0] > 80 and (found[1, 1:] == 0).all()


@pytest.mark.parametrize("kind", ["f1", "mcc", "macro_f1"])
@pytest.mark.parametrize("classes", [2, 3, 6])
def test_scores_of_classes(counts, kind, classes):
    """Six classes: some are missing from some resamples."""
    generator = np.random.default_rng(2)
    gold = generator.integers(0, classes, N)
    predicted = np.where(generator.random((RUNS, N)) < 0.6, gold, generator.integers(0, classes, (RUNS, N)))
    kinds = {"f1": bootstrap.ClassF1, "mcc": bootstrap.Mcc, "macro_f1": bootstrap.MacroF1}
    found = kinds[kind](gold, predicted, classes)(counts)
    for r in range(RESAMPLES):
        rows = drawn(counts, r)
        expected = [glue.classification(predicted[run, rows], gold[rows], classes)[kind] for run in range(RUNS)]
        assert found[:, r] == pytest.approx(expected, abs=1e-9)


def test_one_class_alone_has_no_correlation():
    gold, predicted = np.zeros(4, int), np.array([[0, 0, 0, 0], [0, 1, 0, 1]])
    assert (bootstrap.Mcc(gold, predicted, 2)(np.ones((4, 1))) == 0).all()
    assert (bootstrap.ClassF1(gold, predicted, 2)(np.ones((4, 1))) == 0).all()


def test_the_score_is_found_by_its_name_in_the_tables():
    whole = np.ones((3, 1))
    questions = [pd.DataFrame({"em": [100.0, 0, 0], "f1": [100.0, 50, 0]})] * 2
    assert bootstrap.score_of("f1", questions)(whole).tolist() == [[50.0], [50.0]]
    classes = pd.DataFrame({"accuracy": [100.0, 0, 100], "gold": ["b", "b", "a"], "predicted": ["b", "a", "a"]})
    assert bootstrap.score_of("accuracy", [classes])(whole)[0, 0] == pytest.approx(200 / 3)
    assert bootstrap.score_of("f1", [classes], ["a", "b"])(whole)[0, 0] == pytest.approx(200 / 3)
    assert bootstrap.score_of("f1", [classes], ["b", "a"])(whole)[0, 0] == pytest.approx(200 / 3)
    assert bootstrap.score_of("mcc", [classes], ["a", "b"])(whole)[0, 0] == pytest.approx(50)
    assert bootstrap.score_of("macro_f1", [classes], ["a", "b"])(whole)[0, 0] == pytest.approx(200 / 3)
    numbers = pd.DataFrame({"gold": [1.0, 2, 4], "predicted": [1.0, 3, 9]})
    assert bootstrap.score_of("spearman", [numbers])(whole)[0, 0] == pytest.approx(100)
    assert bootstrap.score_of("pearson", [numbers])(whole)[0, 0] == pytest.approx(
        100 * np.corrcoef(numbers["gold"], numbers["predicted"])[0, 1]
    )
    with pytest.raises(UserError, match="'tuned_f1'.*dvc repro"):
        bootstrap.score_of("tuned_f1", questions)


@pytest.mark.parametrize(
    ("metric", "columns", "read"),
    [
        ("accuracy", {"accuracy": [100.0, 0.0], "gold": ["a", "b"], "predicted": ["a", "a"]}, ["accuracy"]),
        ("f1", {"gold": ["a", "b"], "predicted": ["a", "a"], "confidence": [0.9, 0.6]}, ["gold", "predicted"]),
        ("pearson", {"gold": [1.0, 2.0], "predicted": [1.5, 2.5], "other": [0, 0]}, ["gold", "predicted"]),
        (
            "recall",
            {"entities": [2, 1], "entities_said": [1, 1], "entities_right": [1, 0], "words": [5, 4]},
            ["entities_right", "entities"],
        ),
        (
            "micro_f1",
            {"gold": ['["a"]', "[]"], "predicted": ['["a"]', '["b"]'], "example_f1": [1, 0]},
            ["gold", "predicted", "example_f1"],
        ),
    ],
)
def test_a_score_needs_no_other_columns_than_those_that_are_named(metric, columns, read):
    table = pd.DataFrame(columns)
    assert bootstrap.columns_of(metric, table) == read
    whole, part = (bootstrap.score_of(metric, [t], ["a", "b"])(np.ones((2, 1))) for t in (table, table[read]))
    assert whole == part
