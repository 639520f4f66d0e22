"""From span logits to answers: n-best spans over an example's windows, null scores, thresholds.

The rules are those of the SQuAD v2.0 baselines (Devlin et al. 2019, section 4.3): in each window
(feature) the `n_best` highest starts meet the `n_best` highest ends, both taken over all tokens;
spans that end before they start, are too long, leave the context or are empty strings are dropped;
the score is the sum of both logits. An example's answer is the best span of all its windows, its
null score the *lowest* s[CLS] + e[CLS] of them.

Equal scores are settled by the earlier window, then the higher start logit, then the higher end
logit; equal logits by the earlier token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from distill.errors import UserError
from distill.tasks.squad import question_scores, scores

NO_SPAN = 1e9
"""Null odds of an example without any valid span (its score is -NO_SPAN): finite, as JSON needs."""

# Windows worked on at once: bounds the memory (about 25 MB at 384 tokens and n_best 20).
_CHUNK = 1024


class Span(NamedTuple):
    """A candidate: text `context[start:end]` (characters) and the sum of its two logits."""

    text: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Windows:
    """The columns of the features that the search reads: one entry per window, or per token of all windows.

    Attributes:
        length: int, (windows,): tokens per window.
        example_index: int, (windows,): the row of the window's example.
        cls_index: int, (windows,): position of the window's CLS token.
        offset_start, offset_end: int, (sum of length,): character span in the context, -1 for other
            tokens.
    """

    length: np.ndarray
    example_index: np.ndarray
    cls_index: np.ndarray
    offset_start: np.ndarray
    offset_end: np.ndarray

    @classmethod
    def from_table(cls, table: pa.Table) -> "Windows":
        """From a features table with columns of these names.

        Args:
            table: `dataset.data.table` of a `datasets.Dataset`; a selection made with `select` or
                `filter` is visible in it only after `flatten_indices()`.
        """
        columns = {name: table.column(name).combine_chunks() for name in cls.__dataclass_fields__}
        for name in ("offset_start", "offset_end"):
            columns[name] = columns[name].flatten()
        return cls(**{name: column.to_numpy(zero_copy_only=False) for name, column in columns.items()})


class NBest(Sequence[list[Span]]):
    """The best spans of every example, `nbest[i]`, made when they are asked for.

    Args:
        contexts: the text of each example.
        bounds: int, (examples + 1,): example i owns the spans from bounds[i] to before bounds[i + 1].
        score: float64, (spans,).
        start, end: int, (spans,): characters.
    """

    def __init__(
        self, contexts: Sequence[str], bounds: np.ndarray, score: np.ndarray, start: np.ndarray, end: np.ndarray
    ):
        self._contexts, self._bounds, self._columns = contexts, bounds, (score, start, end)

    def scores(self) -> np.ndarray:
        """float64, (examples, most spans of an example, at least 1): falling, -inf where an example has fewer."""
        count = np.diff(self._bounds)
        real = np.arange(max(1, count.max(initial=0))) < count[:, None]
        return _padded(self._columns[0], real, -np.inf)

    def __len__(self) -> int:
        return len(self._contexts)

    def __getitem__(self, row: int) -> list[Span]:
        row = range(len(self))[row]
        part = slice(self._bounds[row], self._bounds[row + 1])
        columns = (column[part].tolist() for column in self._columns)
        return [Span(self._contexts[row][a:b], score, a, b) for score, a, b in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Answers:
    """The answers of a split, one entry per row of its examples.

    Attributes:
        text: the best span's text, "" where no span is valid.
        score: float64, (examples,): the best span's score, -NO_SPAN where no span is valid.
        null_score: float64, (examples,): lowest s[CLS] + e[CLS] over the example's windows.
        nbest: up to n_best spans by falling score, each character span once; the first is the
            answer.
    """

    text: list[str]
    score: np.ndarray
    null_score: np.ndarray
    nbest: NBest

    @property
    def null_odds(self) -> np.ndarray:
        """float64, (examples,): null_score - score; NO_SPAN where no span is valid."""
        return np.where(self.score == -NO_SPAN, NO_SPAN, self.null_score - self.score)


def search(
    windows: Windows,
    contexts: Sequence[str],
    logits: np.ndarray,
    row_offsets: np.ndarray,
    n_best: int,
    max_answer_length: int,
) -> Answers:
    """Finds the answers of all examples.

    Args:
        windows: the features, every example with at least one.
        contexts: the text of each example.
        logits: float32, (tokens, 2): start and end logits of all windows' tokens; may be
            memory-mapped.
        row_offsets: int64, (windows + 1,): window i owns logits[row_offsets[i]:row_offsets[i + 1]].
        n_best: starts and ends tried per window, and spans kept per example.
        max_answer_length: longest span in tokens.

    Raises:
        UserError: a logit is NaN or infinite.
        ValueError: the arrays do not belong together, or an example has no window.
    """
    _check(windows, len(contexts), logits, row_offsets)
    null_score = np.full(len(contexts), np.inf)
    chunks: list[tuple[np.ndarray, ...]] = []
    for offset in range(0, len(windows.length), _CHUNK):
        rows = slice(offset, offset + _CHUNK)
        tokens = slice(row_offsets[offset], row_offsets[min(offset + _CHUNK, len(windows.length))])
        length, example = windows.length[rows], windows.example_index[rows]
        real = np.arange(length.max(initial=0)) < length[:, None]
        start, end = (_padded(logits[tokens, side], real, -np.inf) for side in (0, 1))
        char_start = _padded(windows.offset_start[tokens], real, -1)
        char_end = _padded(windows.offset_end[tokens], real, -1)
        at_cls = np.arange(len(length)), windows.cls_index[rows]
        # float64: the sum of two float32 logits must not round, or different spans would tie.
        np.minimum.at(null_score, example, np.add(start[at_cls], end[at_cls], dtype=np.float64))
        window, score, s, e = _best_spans(start, end, char_start, char_end, n_best, max_answer_length)
        chunks.append((example[window], score, char_start[window, s], char_end[window, e]))
    return _collect(chunks, null_score, contexts, n_best)


def candidate_scores(answers: Answers, null: bool) -> np.ndarray:
    """Scores of all candidate answers, (examples, K), -inf where an example has fewer.

    Args:
        null: whether "no answer" is among them (SQuAD v2.0), as the first column. The highest is then the
            prediction at threshold 0.
    """
    spans = answers.nbest.scores()
    return np.concatenate([answers.null_score[:, None], spans], axis=1) if null else spans


def predictions(answers: Answers, ids: Sequence[str], threshold: float | None) -> dict[str, str]:
    """The official prediction format: id to text, "" where null_odds > threshold.

    Args:
        answers: answers of the examples in `ids`, in the same order.
        ids: unique question ids.
        threshold: threshold on the null odds; None (SQuAD v1.1) keeps every answer.
    """
    abstain = np.zeros(len(ids), bool) if threshold is None else answers.null_odds > threshold
    return {key: "" if no else text for key, text, no in zip(ids, answers.text, abstain, strict=True)}


def tune_threshold(
    answers: Answers, ids: Sequence[str], references: Mapping[str, Sequence[str]]
) -> tuple[float, float]:
    """The null-odds threshold with the highest SQuAD v2.0 F1, to be tuned on the selection split.

    Between two neighbouring null odds F1 is constant. Each such interval is represented by 0 if
    it contains 0, else by its middle (1 beyond the outermost odds). Among equally good intervals the
    smallest |threshold| wins, then the negative one.

    Args:
        answers, ids: as for `predictions`.
        references: id to all gold answer texts, none for an unanswerable question.

    Returns:
        (threshold, f1): f1 in percent, as the official evaluator prints it for
        `predictions(answers, ids, threshold)`.
    """
    golds = [references[key] for key in ids]
    # Examples without a valid span answer "" at any threshold: no threshold moves them.
    movable = np.flatnonzero(answers.score != -NO_SPAN)
    odds = answers.null_odds[movable]
    order = np.argsort(odds, kind="stable")
    answered = [question_scores(golds[i], answers.text[i], True)[1] for i in movable[order]]
    abstained = [question_scores(golds[i], "", True)[1] for i in movable[order]]
    # gain[k]: F1 sum with the k answers of lowest odds, over abstaining everywhere.
    gain = np.concatenate([[0.0], np.cumsum(np.subtract(answered, abstained))])

    edges, count = np.unique(odds, return_counts=True)
    gain = gain[np.concatenate([[0], np.cumsum(count)])]
    low, high = np.append(-np.inf, edges), np.append(edges, np.inf)
    candidates = np.array([_between(a, b) for a, b in zip(low, high, strict=True)])
    # The tolerance is far below one question's weight and above the rounding of the running sum.
    best = candidates[gain >= gain.max() - 1e-7]
    threshold = float(best[np.lexsort((best, np.abs(best)))[0]])
    thresholded = predictions(answers, ids, threshold)
    subset = {key: references[key] for key in ids}
    return threshold, scores(thresholded, subset, None, version_2=True, threshold=None)["f1"]


def _between(low: float, high: float) -> float:
    """A threshold that keeps odds of `low` and drops those of `high`: low <= t < high."""
    if low <= 0 < high:
        return 0.0
    if np.isinf(low):
        return high - 1.0
    if np.isinf(high):
        return low + 1.0
    middle = low + (high - low) / 2
    return middle if low <= middle < high else low


def _check(windows: Windows, examples: int, logits: np.ndarray, row_offsets: np.ndarray) -> None:
    tokens = int(windows.length.sum())
    if not np.array_equal(np.diff(row_offsets), windows.length):
        raise ValueError("row_offsets do not fit the windows: they must rise by each window's length")
    if logits.shape != (tokens, 2):
        raise ValueError(f"logits have shape {logits.shape}, the windows need ({tokens}, 2)")
    for name in ("offset_start", "offset_end"):
        if getattr(windows, name).shape != (tokens,):
            raise ValueError(f"{name} has {getattr(windows, name).size} entries for {tokens} tokens")
    if not examples or not np.array_equal(np.unique(windows.example_index), np.arange(examples)):
        raise ValueError(f"the windows must cover the {examples} examples, each with one window or more")
    if not np.isfinite(logits).all():
        token = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        window = int(np.searchsorted(row_offsets, token, side="right")) - 1
        raise UserError(
            f"logits: not a finite number in feature {window} ({logits[token]}); the model is "
            "broken, train it again with a lower learning rate or in float32"
        )


def _padded(flat: np.ndarray, real: np.ndarray, fill: float) -> np.ndarray:
    """(windows, longest) from the real tokens in row order; `fill` elsewhere."""
    padded = np.full(real.shape, fill, flat.dtype)
    padded[real] = flat
    return padded


def _best_spans(
    start: np.ndarray,
    end: np.ndarray,
    char_start: np.ndarray,
    char_end: np.ndarray,
    n_best: int,
    max_answer_length: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The n_best valid spans per window, ordered by window, falling score, start rank, end rank.

    Args:
        start, end: float32, (windows, tokens): logits, -inf for padding.
        char_start, char_end: int, (windows, tokens): -1 outside the context.

    Returns:
        window, score, first token, last token; each (spans,).
    """
    starts = np.argsort(-start, axis=1, kind="stable")[:, :n_best]
    ends = np.argsort(-end, axis=1, kind="stable")[:, :n_best]

    def take(values: np.ndarray, which: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, which, axis=1)

    score = np.add(take(start, starts)[:, :, None], take(end, ends)[:, None, :], dtype=np.float64)
    tokens = ends[:, None, :] - starts[:, :, None] + 1
    begin, stop = take(char_start, starts)[:, :, None], take(char_end, ends)[:, None, :]
    valid = (tokens >= 1) & (tokens <= max_answer_length) & (begin >= 0) & (stop > begin)
    score = np.where(valid, score, -np.inf).reshape(len(start), -1)

    best = np.argsort(-score, axis=1, kind="stable")[:, :n_best]
    window, rank = np.nonzero(np.isfinite(take(score, best)))
    pair = best[window, rank]
    width = ends.shape[1]
    return window, score[window, pair], starts[window, pair // width], ends[window, pair % width]


def _collect(
    chunks: list[tuple[np.ndarray, ...]],
    null_score: np.ndarray,
    contexts: Sequence[str],
    n_best: int,
) -> Answers:
    """Joins the windows' spans by example: falling score, each character span once."""
    example, score, start, end = (np.concatenate(column) for column in zip(*chunks, strict=True))
    order = np.lexsort((-score, example))  # Stable: equal scores stay in window order.
    example, score, start, end = (column[order] for column in (example, score, start, end))
    # Stable again: the first of equal spans is the one with the highest score.
    alike = np.lexsort((end, start, example))
    same = np.all([np.diff(column[alike]) == 0 for column in (example, start, end)], axis=0)
    keep = np.sort(alike[np.append(True, ~same)[: len(alike)]])
    place = np.arange(len(keep)) - np.searchsorted(example[keep], example[keep])
    keep = keep[place < n_best]
    bounds = np.searchsorted(example[keep], np.arange(len(null_score) + 1))
    score, start, end = score[keep], start[keep], end[keep]

    has = np.flatnonzero(np.diff(bounds))
    best, text = np.full(len(null_score), -NO_SPAN), [""] * len(null_score)
    best[has] = score[bounds[has]]
    for row, a, b in zip(has.tolist(), start[bounds[has]].tolist(), end[bounds[has]].tolist(), strict=True):
        text[row] = contexts[row][a:b]
    return Answers(text, best, null_score, NBest(contexts, bounds, score, start, end))
