"""The span search against a slow reference in plain Python, the threshold against brute force."""

from pathlib import Path
from unittest.mock import patch

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UserError
from distill.tasks import spans as answers
from distill.tasks import squad
from distill.tasks.spans import NO_SPAN, Answers, Span, Windows

# Quarters: sums are exact and ties frequent.
logit = st.integers(-8, 8).map(lambda quarter: quarter / 4)


@st.composite
def windows_of(draw: st.DrawFn, context: str, example: int) -> dict:
    """One window: CLS first or last, a question, then tokens over the context (some empty)."""
    cuts = st.integers(0, len(context))
    spans = [tuple(sorted(draw(st.tuples(cuts, cuts)))) for _ in range(draw(st.integers(0, 7)))]
    offsets = [(-1, -1)] * draw(st.integers(0, 3)) + sorted(spans)
    cls_first = draw(st.booleans())
    offsets = [(-1, -1), *offsets] if cls_first else [*offsets, (-1, -1)]
    return {
        "example": example,
        "cls": 0 if cls_first else len(offsets) - 1,
        "offsets": offsets,
        "start": draw(st.lists(logit, min_size=len(offsets), max_size=len(offsets))),
        "end": draw(st.lists(logit, min_size=len(offsets), max_size=len(offsets))),
    }


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[str], list[dict]]:
    """Contexts with several windows each, the windows of different examples interleaved."""
    contexts = draw(st.lists(st.text("aé日𝔘 ́🙂", max_size=9), min_size=1, max_size=3))
    owners = list(range(len(contexts)))
    owners = draw(st.permutations(owners + draw(st.lists(st.sampled_from(owners), max_size=4))))
    return contexts, [draw(windows_of(contexts[i], i)) for i in owners]


def arrays(rows: list[dict]) -> tuple[Windows, np.ndarray, np.ndarray]:
    """(windows, logits, row offsets) as the pipeline has them."""
    length = np.array([len(row["offsets"]) for row in rows], np.int32)
    offsets = np.array([pair for row in rows for pair in row["offsets"]], np.int32)
    windows = Windows(
        length=length,
        example_index=np.array([row["example"] for row in rows], np.int32),
        cls_index=np.array([row["cls"] for row in rows], np.int32),
        offset_start=offsets[:, 0],
        offset_end=offsets[:, 1],
    )
    sides = [[x for row in rows for x in row[side]] for side in ("start", "end")]
    return windows, np.array(sides, np.float32).T, np.concatenate([[0], np.cumsum(length)])


def reference_search(
    contexts: list[str], rows: list[dict], n_best: int, longest: int
) -> list[tuple[float, list[Span]]]:
    """(null score, n-best) of each example, one rule after the other."""
    results = []
    for example, context in enumerate(contexts):
        null, found = float("inf"), []
        for row in rows:
            if row["example"] != example:
                continue
            null = min(null, row["start"][row["cls"]] + row["end"][row["cls"]])
            tokens = range(len(row["offsets"]))
            starts = sorted(tokens, key=lambda i, row=row: (-row["start"][i], i))[:n_best]
            ends = sorted(tokens, key=lambda i, row=row: (-row["end"][i], i))[:n_best]
            spans = []
            for s in starts:
                for e in ends:
                    a, b = row["offsets"][s][0], row["offsets"][e][1]
                    in_context = row["offsets"][s] != (-1, -1) and row["offsets"][e] != (-1, -1)
                    if s <= e and e - s + 1 <= longest and in_context and context[a:b]:
                        score = row["start"][s] + row["end"][e]
                        spans.append(Span(context[a:b], score, a, b))
            found += sorted(spans, key=lambda span: -span.score)[:n_best]
        unique = []
        for span in sorted(found, key=lambda span: -span.score):
            if (span.start, span.end) not in [(other.start, other.end) for other in unique]:
                unique.append(span)
        results.append((null, unique[:n_best]))
    return results


@given(problems(), st.integers(1, 5), st.integers(1, 5))
def test_search_equals_reference(problem: tuple, n_best: int, longest: int) -> None:
    contexts, rows = problem
    windows, logits, row_offsets = arrays(rows)
    with patch.object(answers, "_CHUNK", 2):  # Examples cross the borders of chunks.
        got = answers.search(windows, contexts, logits, row_offsets, n_best, longest)
    expected = reference_search(contexts, rows, n_best, longest)
    assert list(got.nbest) == [spans for _, spans in expected]
    assert got.null_score.tolist() == [null for null, _ in expected]
    for i, (null, spans) in enumerate(expected):
        assert got.text[i] == (spans[0].text if spans else "")
        assert got.score[i] == (spans[0].score if spans else -NO_SPAN)
        assert got.null_odds[i] == (null - spans[0].score if spans else NO_SPAN)


@pytest.mark.parametrize("steps", [2, 1000])
def test_long_contexts_equal_reference(steps: int) -> None:
    """Six windows of up to 384 tokens, n-best 20; with two steps to 1 nearly all scores are ties."""
    rng = np.random.default_rng(steps)
    contexts, rows = ["".join(map(chr, rng.integers(97, 123, 3000))) for _ in range(2)], []
    for first in (0, 250, 500):
        for example, count in enumerate((384, 311)):
            offsets = [(-1, -1)] * 12 + [(5 * (first // 2 + k), 5 * (first // 2 + k) + 4) for k in range(count - 12)]
            sides = (np.round(rng.normal(size=(2, count)) * 2 * steps) / steps).astype(np.float32).tolist()
            rows.append({"example": example, "cls": 0, "offsets": offsets, "start": sides[0], "end": sides[1]})
    windows, logits, row_offsets = arrays(rows)
    got = answers.search(windows, contexts, logits, row_offsets, 20, 30)
    expected = reference_search(contexts, rows, 20, 30)
    assert list(got.nbest) == [spans for _, spans in expected]
    assert min(len(spans) for _, spans in expected) == 20
    assert got.null_score.tolist() == [null for null, _ in expected]


def two_windows() -> tuple[list[str], list[dict]]:
    """ "naïve 日本 café" seen through two windows that share its middle token."""
    pieces = [(0, 5), (6, 8), (9, 13)]
    first = {"example": 0, "cls": 0, "offsets": [(-1, -1), *pieces[:2]]}
    second = {"example": 0, "cls": 0, "offsets": [(-1, -1), *pieces[1:]]}
    first |= {"start": [3.0, 1.0, 0.0], "end": [2.0, 0.0, 4.0]}
    second |= {"start": [-1.0, 2.0, 0.0], "end": [0.5, 0.0, 3.5]}
    return ["naïve 日本 café"], [first, second]


def test_best_span_and_lowest_null_score_over_windows() -> None:
    contexts, rows = two_windows()
    windows, logits, row_offsets = arrays(rows)
    got = answers.search(windows, contexts, logits, row_offsets, n_best=20, max_answer_length=30)
    assert got.nbest[0][:3] == [
        Span("日本 café", 5.5, 6, 13),
        Span("naïve 日本", 5.0, 0, 8),
        Span("日本", 4.0, 6, 8),  # In both windows: 4.0 in the first, 2.0 in the second, once here.
    ]
    assert len(got.nbest[0]) == 5
    assert got.null_score.tolist() == [-0.5]  # min(3 + 2, -1 + 0.5)
    assert got.null_odds.tolist() == [-6.0]
    shorter = answers.search(windows, contexts, logits, row_offsets, 20, max_answer_length=1)
    assert shorter.text == ["日本"]


def test_n_best_is_a_sequence_by_example() -> None:
    contexts, rows = two_windows()
    other = {"cls": 0, "offsets": [(-1, -1), (0, 2)], "start": [0, 1], "end": [0, 1]}
    windows, logits, row_offsets = arrays([*rows, other | {"example": 1}, other | {"example": 2}])
    got = answers.search(windows, [*contexts, "ab", "cd"], logits, row_offsets, 2, 30).nbest
    assert [len(spans) for spans in got] == [2, 1, 1]
    # The same characters of two examples are two spans.
    assert got[1] == [Span("ab", 2.0, 0, 2)]
    assert got[-1] == got[2] == [Span("cd", 2.0, 0, 2)]
    with pytest.raises(IndexError):
        got[3]


def test_equal_scores_go_by_window_then_start_logit_then_token() -> None:
    pieces = [(0, 1), (1, 2), (2, 3)]
    late = {"example": 0, "cls": 0, "offsets": [(-1, -1), *pieces]}
    late |= {"start": [0.0, 1.0, 2.0, 2.0], "end": [0.0, 1.0, 0.0, 0.0]}
    early = {"example": 0, "cls": 0, "offsets": [(-1, -1), (3, 4)], "start": [0, 1], "end": [0, 1]}
    windows, logits, row_offsets = arrays([early, late])
    got = answers.search(windows, ["abcd"], logits, row_offsets, 20, max_answer_length=1)
    assert [(span.text, span.score) for span in got.nbest[0]] == [
        ("d", 2.0),  # The earlier window,
        ("b", 2.0),  # the higher start logit, of two the earlier token,
        ("c", 2.0),
        ("a", 2.0),  # the lower start logit.
    ]


def test_scores_are_summed_beyond_float32() -> None:
    """In float32 both ends would score 2^24 and the earlier, lower one would win."""
    row = {"example": 0, "cls": 0, "offsets": [(-1, -1), (0, 1), (1, 2)]}
    row |= {"start": [0.0, 2.0**24, 0.0], "end": [0.0, 0.25, 0.5]}
    windows, logits, row_offsets = arrays([row])
    got = answers.search(windows, ["ab"], logits, row_offsets, 20, 30)
    assert (got.text, got.score.tolist()) == (["ab"], [2.0**24 + 0.5])


def test_without_a_valid_span_the_answer_is_none() -> None:
    row = {"example": 0, "cls": 0, "offsets": [(-1, -1), (-1, -1)], "start": [1, 2], "end": [1, 2]}
    windows, logits, row_offsets = arrays([row])
    got = answers.search(windows, ["text"], logits, row_offsets, 20, 30)
    assert (got.text, list(got.nbest)) == ([""], [[]])
    assert got.null_odds.tolist() == [NO_SPAN]
    assert np.isfinite(got.null_odds).all()
    assert answers.tune_threshold(got, ["q"], {"q": ["text"]}) == (0.0, 0.0)


def test_windows_come_from_an_arrow_file(tmp_path: Path) -> None:
    contexts, rows = two_windows()
    windows, logits, row_offsets = arrays(rows)
    columns = {
        "example_index": windows.example_index,
        "length": windows.length,
        "cls_index": windows.cls_index,
        "offset_start": [[a for a, _ in row["offsets"]] for row in rows],
        "offset_end": [[b for _, b in row["offsets"]] for row in rows],
    }
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "features"))
    table = datasets.load_from_disk(str(tmp_path / "features")).data.table
    loaded = Windows.from_table(table)
    for name in Windows.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(windows, name))
    # A slice's list columns start in the middle of the shared buffer.
    np.testing.assert_array_equal(Windows.from_table(table.slice(1)).offset_end, [-1, 8, 13])
    got = answers.search(loaded, contexts, logits, row_offsets, 20, 30)
    assert got.text == ["日本 café"]


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    contexts, rows = two_windows()
    windows, logits, row_offsets = arrays(rows)

    def search(windows=windows, contexts=contexts, logits=logits, row_offsets=row_offsets):
        return answers.search(windows, contexts, logits, row_offsets, 20, 30)

    with pytest.raises(ValueError, match="row_offsets do not fit"):
        search(row_offsets=row_offsets[:-1])
    with pytest.raises(ValueError, match=r"logits have shape \(5, 2\), the windows need \(6, 2\)"):
        search(logits=logits[:-1])
    with pytest.raises(ValueError, match="must cover the 2 examples"):
        search(contexts=contexts * 2)
    with pytest.raises(ValueError, match="must cover the 0 examples"):
        search(contexts=[])
    broken = logits.copy()
    broken[4, 1] = np.nan
    with pytest.raises(UserError, match="logits: not a finite number in feature 1 "):
        search(logits=broken)


def made(odds: list[float | None], texts: list[str]) -> Answers:
    """Answers with these null odds; None: no valid span."""
    score = np.array([-NO_SPAN if odd is None else -odd for odd in odds])
    texts = ["" if odd is None else text for odd, text in zip(odds, texts, strict=True)]
    return Answers(text=texts, score=score, null_score=np.zeros(len(odds)), nbest=[])


def test_predictions_abstain_above_the_threshold_only() -> None:
    found = made([0.5, 0.75, None, -1.0], ["a", "b", "c", "d"])
    ids = ["w", "x", "y", "z"]
    assert answers.predictions(found, ids, 0.5) == {"w": "a", "x": "", "y": "", "z": "d"}
    assert answers.predictions(found, ids, None) == {"w": "a", "x": "b", "y": "", "z": "d"}
    with pytest.raises(ValueError):
        answers.predictions(found, ids[:3], 0.5)


odd = st.none() | st.sampled_from([-3.0, -1.0, -1.0, 0.0, 0.5, 0.5, 2.0]) | st.floats(-5, 5)
word = st.sampled_from(["x", "x y", "y z w", "the", "é"])
golds = st.lists(word, max_size=2)


@given(st.lists(st.tuples(odd, word, golds), min_size=1, max_size=9))
def test_tuned_threshold_is_the_best_of_all(rows: list) -> None:
    found = made([row[0] for row in rows], [row[1] for row in rows])
    ids = [f"q{i}" for i in range(len(rows))]
    references = {key: row[2] for key, row in zip(ids, rows, strict=True)}

    def f1_at(threshold: float) -> float:
        texts = answers.predictions(found, ids, threshold)
        return squad.scores(texts, references, None, True, None)["f1"]

    threshold, f1 = answers.tune_threshold(found, ids, references)
    assert f1 == f1_at(threshold)
    edges = sorted({row[0] for row in rows if row[0] is not None})
    everywhere = [0.0, *edges, *(edge - 1 for edge in edges[:1])]  # One in each constant piece.
    best = max(map(f1_at, everywhere))
    assert f1 == pytest.approx(best, abs=1e-6)
    if f1_at(0.0) == best:
        assert threshold == 0.0


def test_equally_good_thresholds() -> None:
    """The smallest in size wins, and the middle of the gap stands for it."""
    # Best is to keep q0 alone, 1 <= t < 4, or q0 to q2, 6 <= t < 8: middles 2.5 and 7.
    found = made([1.0, 4.0, 6.0, 8.0], ["x"] * 4)
    references = {"q0": ["x"], "q1": [], "q2": ["x"], "q3": []}
    assert answers.tune_threshold(found, list(references), references) == (2.5, 75.0)
    # Mirrored: the same distance on both sides of 0, so the negative one.
    found = made([-3.0, -1.0, 1.0, 3.0], ["x"] * 4)
    references = {"q0": ["x"], "q1": [], "q2": ["x"], "q3": []}
    assert answers.tune_threshold(found, list(references), references) == (-2.0, 75.0)


def test_middle_of_neighbouring_floats_stays_below_the_upper_one() -> None:
    low, high = 1.0, float(np.nextafter(1.0, 2.0))
    found = made([low, high], ["x", "x"])
    threshold, f1 = answers.tune_threshold(found, ["q", "r"], {"q": ["x"], "r": []})
    assert (low <= threshold < high, f1) == (True, 100.0)


def test_candidate_scores_are_the_spans_and_no_answer():
    nbest = answers.NBest(["abc", "d", "e"], np.array([0, 2, 2, 3]), np.array([3.0, 1.5, 2.0]), *np.zeros((2, 3), int))
    found = Answers(["a", "", "e"], np.array([3.0, -NO_SPAN, 2.0]), np.array([0.5, -1.0, 4.0]), nbest)
    low = -np.inf
    assert answers.candidate_scores(found, null=False).tolist() == [[3.0, 1.5], [low, low], [2.0, low]]
    assert answers.candidate_scores(found, null=True).tolist() == [[0.5, 3.0, 1.5], [-1.0, low, low], [4.0, 2.0, low]]
    nothing = answers.NBest(["a"], np.array([0, 0]), np.zeros(0), *np.zeros((2, 0), int))
    assert nothing.scores().tolist() == [[low]]
