"""Several teachers as one: the weighted mean of their probabilities, and how far the members are apart on each row.

The mean is taken of probabilities, not of logits: members of different kinds have logits of different scales, and a
file of probabilities has none. Its logarithm stands where a model's logits do, so that a softmax gives the mean again.
Of rankings it is the mean of scores on one level and scale (`distill.signals.relevance`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill.data.loading import groups
from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.models.predict import layout
from distill.runtime import json_text
from distill.runtime.files import file_hash
from distill.signals import relevance
from distill.signals.cache import IDENTITY, SPREAD, WEIGHT, Array, Cache, Writer
from distill.tasks.base import Predicted, Task, label_column

#: Rows that are combined at a time: bounds the memory, changes nothing.
ROWS = 512


class Combined(NamedTuple):
    """The mean of several teachers.

    Attributes:
        logits: log-probabilities of the mean, float64, (entries, C); of several labels the log-odds of the mean; of
            numbers the mean itself.
        spread: float64, (rows,): mean over members of KL(member ‖ mean) in nats, from 0 to log(members) (the
            Jensen-Shannon divergence; of a question's window the mean of start and end, of several labels the mean over
            classes); of numbers the standard deviation over members.
    """

    logits: np.ndarray
    spread: np.ndarray


def combine(
    logits: np.ndarray,
    weights: np.ndarray,
    offsets: np.ndarray | None,
    has_classes: bool,
    words: np.ndarray | None = None,
) -> Combined:
    """The weighted mean of members.

    Args:
        logits: (members, entries, C), finite.
        weights: of each member on each row, (members, rows), not negative, not all 0 on a row.
        offsets: int64 (rows + 1,), where each row's entries begin, which are its classes (tokens of a window); None:
            an entry is a row, and its C values are its classes.
        has_classes: False: the values are numbers.
        words: bool, (entries,), where an entry is a token whose C values are its classes: the tokens that stand for
            words, over which the spread of a row is the mean (0 for a row without any). None: see `offsets`.
    """
    weights = weights / weights.sum(0)
    logits = logits.astype(np.float64)
    if not has_classes:
        mean = (weights[:, :, None] * logits).sum(0)
        variance = (weights[:, :, None] * np.square(logits - mean)).sum(0)
        return Combined(mean, np.sqrt(variance).mean(-1))
    entries = weights if offsets is None else np.repeat(weights, np.diff(offsets), axis=1)
    log_p = logits - _log_total(logits, offsets if words is None else None)
    with np.errstate(divide="ignore"):  # a member without weight on a row adds nothing
        log_weights = np.log(entries)[:, :, None]
    mean = np.logaddexp.reduce(log_weights + log_p, axis=0)
    divergence = (entries[:, :, None] * np.exp(log_p) * (log_p - mean)).sum(0)
    if offsets is None:
        return Combined(mean, divergence.sum(-1))
    if words is not None:
        counts = np.add.reduceat(words.astype(np.int64), offsets[:-1])
        sums = np.add.reduceat(divergence.sum(-1) * words, offsets[:-1])
        return Combined(mean, sums / np.maximum(counts, 1))
    return Combined(mean, np.add.reduceat(divergence, offsets[:-1], axis=0).mean(-1))


def combine_labels(logits: np.ndarray, weights: np.ndarray) -> Combined:
    """`combine` where each class is a choice of its own, true or false: the mean of sigmoids.

    Args:
        logits: log-odds, (members, rows, C).
        weights: as for `combine`.
    """
    members, rows, classes = logits.shape
    outcomes = np.stack([np.zeros_like(logits), logits], -1).reshape(members, rows * classes, 2)
    mean, spread = combine(outcomes, np.repeat(weights, classes, axis=1), None, True)
    return Combined((mean[:, 1] - mean[:, 0]).reshape(rows, classes), spread.reshape(rows, classes).mean(1))


def combine_groups(scores: np.ndarray, weights: np.ndarray, bounds: np.ndarray) -> Combined:
    """The weighted mean of members' scores for the passages of queries, `relevance.leveled`.

    Args:
        scores: (members, rows, 1), finite.
        weights: of each member on each row, (members, rows), the same for all passages of a query, not all 0.
        bounds: int64, (groups + 1,), where the rows of each query begin.

    Returns:
        the spread is the mean over a query's passages of the standard deviation over members, the same for all of them
    """
    combined = combine(relevance.leveled(scores, weights, bounds), weights, None, has_classes=False)
    return Combined(combined.logits, relevance.of_groups(combined.spread, bounds))


def _combined(
    logits: np.ndarray, weights: np.ndarray, offsets: np.ndarray | None, task: Task, words: np.ndarray | None
) -> Combined:
    if task.logits_of == "labels":
        return combine_labels(logits, weights)
    return combine(logits, weights, offsets, task.has_classes, words)


def _log_total(logits: np.ndarray, offsets: np.ndarray | None) -> np.ndarray:
    """log Σ exp over the classes, broadcast to the shape of (members, entries, C)."""
    if offsets is None:
        return np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return np.repeat(np.logaddexp.reduceat(logits, offsets[:-1], axis=1), np.diff(offsets), axis=1)


def save_scored(folder: Path, splits: Mapping[str, Predicted]) -> None:
    """Write a member's logits over the splits that are scored, for `read_scored`: `<split>.npy`, and their hashes.

    Args:
        folder: folder to make.
        splits: outputs in the student's features, by split; none where the member cannot be scored.
    """
    folder.mkdir()
    for split, predicted in splits.items():
        np.save(folder / f"{split}.npy", predicted.logits)
    hashes = {split: file_hash(folder / f"{split}.npy") for split in splits}
    (folder / "meta.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


def read_scored(folder: Path, data: Prepared, task: Task) -> dict[str, Predicted]:
    """A member's outputs over the splits that are scored, by split; empty where it cannot be scored.

    Raises:
        UserError: a file is missing, damaged or of other features.
    """
    fix = f"run `dvc checkout {folder.parent}`, or `dvc repro predict_member`"
    splits = {}
    try:
        for split, written in json_text.parse((folder / "meta.json").read_text(encoding="utf-8")).items():
            features = data.features(split)
            offsets = layout(features, task.per_token)
            path = folder / f"{split}.npy"
            logits = np.load(path)
            if logits.shape != (offsets[-1], task.channels) or file_hash(path) != written:
                raise ValueError(f"{path.name} does not have the content that was written for these features")
            splits[split] = Predicted(data.examples(split), features, logits, offsets, data.meta)
    except (OSError, ValueError, EOFError, AttributeError) as error:
        raise UserError(f"{folder}: cannot be read ({' '.join(str(error).split())[:200]}): {fix}") from error
    return splits


def of_splits(members: Sequence[Predicted], weights: Sequence[float], task: Task) -> Predicted:
    """The mean of members over a split.

    Args:
        members: over the same features.
        weights: one for each member.

    Raises:
        ValueError: they are of different features.
    """
    first = members[0]
    for number, member in enumerate(members[1:], start=2):
        if not np.array_equal(first.offsets, member.offsets) or first.logits.shape != member.logits.shape:
            raise ValueError(f"member {number} is of other rows than the first: {member.logits.shape}")
    each = np.repeat(np.asarray(weights, np.float64)[:, None], len(first.offsets) - 1, axis=1)
    stacked = np.stack([member.logits for member in members])
    if task.logits_of == "relevance":
        combined = combine_groups(stacked, each, groups.bounds(first.features))
    else:
        offsets = first.offsets if task.per_token else None
        combined = _combined(stacked, each, offsets, task, words_of(first.features, task))
    return replace(first, logits=combined.logits.astype(np.float32))


def words_of(features: Any, task: Task) -> np.ndarray | None:
    """The tokens that stand for words, bool (tokens,), of a task with classes for each token; None of others."""
    if not task.per_token or task.logits_of != "classes":
        return None
    return label_column(features, "words") >= 0


def write(
    folder: Path,
    members: Mapping[str, Cache],
    weights: Mapping[str, float],
    task: Task,
    meta: dict,
    words: np.ndarray | None = None,
    bounds: np.ndarray | None = None,
) -> str:
    """The mean over the caches of members, as a cache with the arrays `logits` and `spread`.

    A member that says nothing about a row (array `weight` 0) is left out there. Where none says anything, the row's
    weight is 0 in an array `weight`, which there is only then.

    Args:
        folder: empty scratch folder.
        members: caches by name, of the same features.
        weights: of each member.
        meta: further entries of meta.json.
        words: of the features that the caches are of (`words_of`).
        bounds: of rankings, where the rows of each query begin (`data.loading.groups.bounds`).

    Returns:
        The content hash of the ensemble, which the cache keeps as that of its teacher.

    Raises:
        UserError: the members are of different features.
    """
    caches = list(members.values())
    first = caches[0]
    for name, cache in members.items():
        other = next((key for key in ("data", "tokenizer") if cache.meta[key] != first.meta[key]), None)
        if other:
            raise UserError(
                f"data/members/{name}/meta.json: its predictions belong to other {IDENTITY[other]} than those of"
                f" {next(iter(members))}: run `dvc repro predict_member`"
            )
    offsets = first.offsets
    count = len(offsets) - 1
    present = np.stack([_present(cache, count) * weights[name] for name, cache in members.items()])
    silent = present.sum(0) == 0
    arrays = {"logits": first.arrays["logits"], SPREAD: Array(1, False)}
    if silent.any():
        arrays[WEIGHT] = Array(1, False)
    writer = Writer(folder, offsets, arrays)
    ranked = None
    if bounds is not None:
        stacked = np.stack([cache.column("logits") for cache in caches])
        ranked = combine_groups(stacked, np.where(silent, 1.0, present), bounds)
    for start in range(0, count, ROWS):
        rows = np.arange(start, min(start + ROWS, count))
        if ranked is not None:
            values = {"logits": ranked.logits[rows], SPREAD: ranked.spread[rows, None]}
            writer.write(rows, values | ({WEIGHT: 1.0 - silent[rows, None]} if WEIGHT in arrays else {}))
            continue
        lengths = np.diff(offsets)[rows] if task.per_token else np.ones(len(rows), np.int64)
        real = np.arange(lengths.max()) < lengths[:, None]
        read = [cache.rows("logits", rows.tolist(), int(lengths.max())) for cache in caches]
        stacked = np.stack([values[real] if task.per_token else values for values in read])
        ends = np.concatenate([[0], np.cumsum(lengths)]) if task.per_token else None
        shares = np.where(silent[rows], 1.0, present[:, rows])
        counted = None if words is None else words[offsets[rows[0]] : offsets[rows[-1] + 1]]
        combined = _combined(stacked, shares, ends, task, counted)
        logits = combined.logits
        if task.per_token:
            logits = np.zeros((*real.shape, logits.shape[-1]))
            logits[real] = combined.logits
        values = {"logits": logits, SPREAD: combined.spread[:, None]}
        if WEIGHT in arrays:
            values[WEIGHT] = 1.0 - silent[rows, None]
        writer.write(rows, values)
    identity = {key: first.meta[key] for key in ("data", "tokenizer")} | {"teacher": identity_of(members, weights)}
    writer.finish({**meta, **identity, "members": list(members)})
    return identity["teacher"]


def identity_of(members: Mapping[str, Cache], weights: Mapping[str, float]) -> str:
    """The content hash of an ensemble: of its members' and of their weights."""
    content = sorted((cache.meta["teacher"], float(weights[name])) for name, cache in members.items())
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def _present(cache: Cache, rows: int) -> np.ndarray:
    """1.0 for rows that the cache says something about, 0.0 for others: (rows,)."""
    if WEIGHT not in cache.arrays:
        return np.ones(rows)
    return (cache.column(WEIGHT)[:, 0] > 0).astype(np.float64)
