"""distill.experiments.search: ranges as they are written, and proposals that are a function of what is known."""

import math

import pytest

from distill.errors import UserError
from distill.experiments import search
from distill.experiments.search import Space


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ted.mse_alpha=log:10:10000", Space("ted.mse_alpha", "log", 10, 10000)),
        ("distill.learning_rate=log:1e-5:1e-3", Space("distill.learning_rate", "log", 1e-5, 1e-3)),
        ("pkd.alpha=float:0:1", Space("pkd.alpha", "float", 0, 1)),
        ("knn.neighbours=int:1:8", Space("knn.neighbours", "int", 1, 8)),
        ("lwd.layer_map=choice:uniform,last", Space("lwd.layer_map", "choice", choices=("uniform", "last"))),
        ("ted.mask=choice:true,false", Space("ted.mask", "choice", choices=(True, False))),
        ("a.b=choice:1,2.5,1e-3,null", Space("a.b", "choice", choices=(1, 2.5, 1e-3, None))),
    ],
)
def test_ranges_are_read(text, expected):
    assert search.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ted.mse_alpha", "expected NAME=log:LOW:HIGH"),
        ("ted.mse_alpha=exp:1:2", "expected NAME=log:LOW:HIGH"),
        ("ted.mse_alpha=log:1", "expected two numbers"),
        ("ted.mse_alpha=log:1:2:3", "expected two numbers"),
        ("ted.mse_alpha=float:a:2", "expected two numbers"),
        ("ted.mse_alpha=float:0:inf", "expected two numbers"),
        ("ted.mse_alpha=float:true:2", "expected two numbers"),
        ("knn.neighbours=int:1:2.5", "expected two whole numbers"),
        ("ted.mse_alpha=log:0:2", "two numbers above 0"),
        ("ted.mse_alpha=float:3:2", "the lower number first"),
        ("lwd.layers=choice:[1],2", "choices are single values"),
    ],
)
def test_what_is_no_range_is_an_error_that_says_so(text, reason):
    with pytest.raises(UserError, match=reason):
        search.parse(text)


def test_membership():
    log, whole = search.parse("x=log:1:10"), search.parse("x=int:1:4")
    assert 1 in log and 10 in log and 0.5 not in log and "1" not in log and True not in log
    assert 4 in whole and 4.0 in whole and 2.5 not in whole and 5 not in whole
    assert True in search.parse("x=choice:true,false") and 1 not in search.parse("x=choice:true,false")


def test_a_missing_package_is_an_error_that_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"optuna is not installed: run `pip install -e '\.\[sweep\]'`"):
        search.check_installed()


@pytest.fixture
def optuna():
    """An extra: the tests that need it say so where it is not installed."""
    return pytest.importorskip("optuna")


SPACES = [search.parse(text) for text in ("x=log:1:10000", "y=float:-1:1", "n=int:1:8", "c=choice:a,b,c")]


def score(values) -> float:
    """Highest at x = 100, y = 0.5."""
    return -((math.log10(values[0]) - 2) ** 2) - (values[1] - 0.5) ** 2


def searched(spaces, seed: int, trials: int, known=()) -> list:
    known = list(known)
    for _ in range(trials):
        values = search.propose(spaces, known, seed)
        known.append((values, score(values) if len(known) != 3 else None))
    return known


@pytest.mark.usefixtures("optuna")
def test_proposals_lie_in_their_ranges_and_have_few_digits():
    for values, _ in searched(SPACES, 0, 15):
        assert all(value in space for value, space in zip(values, SPACES, strict=True))
        assert values[0] == float(f"{values[0]:.4g}") and type(values[2]) is int


@pytest.mark.usefixtures("optuna")
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not():
    whole = searched(SPACES, 3, 14)
    assert searched(SPACES, 3, 6, whole[:8]) == whole
    assert searched(SPACES, 4, 1) != whole[:1]


@pytest.mark.usefixtures("optuna")
def test_random_trials_do_not_repeat():
    assert len({values for values, _ in searched(SPACES, 1, 10)}) == 10


@pytest.mark.usefixtures("optuna")
def test_later_trials_are_where_the_score_is_high():
    """A quarter of the range of log x is within half a unit of the best; random draws would come there as often."""
    spaces = SPACES[:2]
    later = [values for seed in range(4) for values, _ in searched(spaces, seed, 30)[15:]]
    near = sum(abs(math.log10(x) - 2) < 0.5 for x, _ in later) / len(later)
    assert near > 0.4  # of 60; by chance 0.25


@pytest.mark.usefixtures("optuna")
def test_values_that_somebody_else_tried_count():
    grid = [((10.0**i, y), score((10.0**i, y))) for i in range(5) for y in (-0.5, 0.0, 0.5)]
    proposals = [search.propose(SPACES[:2], grid, seed) for seed in range(20)]
    assert sum(abs(math.log10(x) - 2) < 1 for x, _ in proposals) > 12
