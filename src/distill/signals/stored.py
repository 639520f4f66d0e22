"""A teacher's outputs from files, joined with the data: what students learn from, and what is scored.

The files may come from anywhere: an annotator, an LLM behind an API, another project's model (docs/teachers.md). Rows
are found by id or by text (`signals.predictions.rows`), classes by name (`signals.predictions.classes`), answers by
their characters (`signals.predictions.answers`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.data.loading.prepared import TRANSFER, Prepared
from distill.data.sources.squad_json import show
from distill.errors import UserError
from distill.models.predict import layout
from distill.signals import spans
from distill.signals.cache import WEIGHT, Array, Writer
from distill.signals.log_probabilities import log_probabilities
from distill.signals.predictions import answers, classes, files
from distill.signals.predictions.answers import Answers
from distill.signals.predictions.rows import Row, Rows
from distill.signals.writer import identity
from distill.tasks.base import Predicted, Task

_BATCH = 1000
_FIX = "add them, or set teacher.missing to labels_only: such rows then teach by their labels alone"


@dataclass(frozen=True)
class Found:
    """The outputs of one split.

    Attributes:
        known: bool, (examples,): whether the files say anything about the example.
        outputs: float32, (examples, C): logits, 0 where nothing is known; for questions, `Answers` or None each.
    """

    known: np.ndarray
    outputs: Any


class Stored:
    """A teacher's outputs for the examples of all splits.

    Attributes:
        found: `Found` by split.
        lines: what was read, and what does not belong to the data, for the stage's report.
    """

    def __init__(self, data: Prepared, task: Task, found: dict[str, Found], lines: list[str], ids: dict[str, list]):
        self.data, self.task, self.found, self.lines = data, task, found, lines
        self._ids = ids

    @classmethod
    def read(cls, path: Path, data: Prepared, task: Task, unopened: Collection[str] = ()) -> Stored:
        """Read a file, or a folder of files, and join it with the data.

        Args:
            unopened: names of splits that `data` has not opened; what the file says of them is not read.

        Raises:
            UserError: a file cannot be read, a value is wrong, two rows are about the same example, or none is about
                any: one line with file, row, field, value and fix.
        """
        rows = Rows(data, data.meta["splits"], unopened)
        found = {split: _empty(task, size) for split, size in rows.size.items()}
        context = {split: data.examples(split)["context"] for split in rows.splits} if task.per_token else {}
        place: dict[Row, str] = {}
        forms: Counter[str] = Counter()
        strange: list[str] = []
        lost: Counter[bool] = Counter()
        for record in files.records(path):
            if rows.is_elsewhere(record):
                continue
            about = rows.of(record)
            at = f"{record.file}, {record.at}"
            if not about:
                strange.append(at)
                continue
            for row in about:
                if (earlier := place.setdefault(row, at)) != at:
                    what = f"the {row[0]} row {show(rows.ids[row[0]][row[1]])}"
                    record.fail("id", f"is about {what}, as {earlier} is", "give every row of the data one row")
            values, form = None, ""
            for split, number in about:
                if task.per_token:
                    values, form = answers.read_answers(record, context[split][number])
                    lost[values is not None] += values is None or values.lost > 0
                elif values is None:
                    values, form = (
                        classes.read_classes(record, task.classes) if task.has_classes else classes.read_score(record)
                    )
                found[split].outputs[number] = values
                found[split].known[number] = values is not None
            forms[form] += 1
        if not place:
            first = show(next(key for ids in rows.ids.values() for key in ids))
            raise UserError(
                f"{path}: {len(strange):,} rows, and none is about a row of the data, whose first id is {first}: these"
                " are the ids or texts of other data: name another file"
            )
        return cls(
            data,
            task,
            found,
            _lines(forms, strange, lost, "the splits read here" if unopened else "the data"),
            rows.ids,
        )

    @property
    def coverage(self) -> dict[str, tuple[int, int]]:
        """Examples with outputs, and all examples, by split."""
        return {split: (int(found.known.sum()), len(found.known)) for split, found in self.found.items()}

    def uncovered(self) -> dict[str, int]:
        """Examples without outputs by scored split: selection, validation and further ones; empty: it can be scored."""
        return {split: n - m for split, (m, n) in self.coverage.items() if m < n and split in self.data.scored_splits}

    def check_missing(self, missing: str, path: Path) -> None:
        """Refuse outputs that say nothing about some rows that students learn from, where they must (`refuse`).

        Args:
            missing: teacher.missing, `refuse` or `labels_only`.

        Raises:
            UserError: rows are missing, with their number and the id of one; or, in any case, all of them.
        """
        lacking = {split: np.flatnonzero(~self.found[split].known) for split in self.data.taught_splits}
        counts = {split: (len(rows), len(self.found[split].known)) for split, rows in lacking.items()}
        total, size = (sum(values) for values in zip(*counts.values(), strict=True))
        unlabelled = counts.get(TRANSFER, (0, 0))[0]
        if not total or (missing == "labels_only" and total < size and not unlabelled):
            return
        if missing == "labels_only" and total < size:
            row = show(self._ids[TRANSFER][lacking[TRANSFER][0]])
            raise UserError(
                f"{path}: says nothing about {unlabelled:,} of {counts[TRANSFER][1]:,} transfer rows, such as {row},"
                " which have no label to learn from either: add them, or take them out of data.transfer"
            )
        each = " and ".join(f"{count:,} of {of:,} {split} rows" for split, (count, of) in counts.items() if count)
        split = next(split for split, (count, _) in counts.items() if count)
        example = show(self._ids[split][lacking[split][0]])
        fix = _FIX if total < size else "name a file with outputs for the training rows"
        raise UserError(f"{path}: says nothing about {each}, such as {example}: {fix}")

    def logits(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The outputs of a split in the student's features, as a model gives them.

        Returns:
            (logits, float32, (entries, C); int64, (features + 1,): where each feature's begin; bool, (features,):
            whether anything is known about the feature's example, whose logits are 0 otherwise)
        """
        parts = [*self._batches(split)] or [(np.zeros((0, self.task.channels), np.float32), np.zeros(0, bool))]
        offsets = layout(self.data.features(split), self.task.per_token)
        return np.concatenate([part[0] for part in parts]), offsets, np.concatenate([part[1] for part in parts])

    def predicted(self, split: str) -> Predicted:
        """The outputs of a split, to be scored.

        Raises:
            ValueError: some rows have none.
        """
        logits, offsets, known = self.logits(split)
        if not known.all():
            raise ValueError(f"{split}: {int((~known).sum())} features have no outputs")
        return Predicted(self.data.examples(split), self.data.features(split), logits, offsets, self.data.meta)

    def write(self, folder: Path) -> str:
        """Fill a cache (`signals.cache`) with the outputs for the features that students learn from.

        Rows about which nothing is known have logits 0 and weight 0; the array of weights is there only where there
        are such rows. `cache.complete` makes the folder ready to be moved into place.

        Returns:
            The hash of the outputs, which the cache has as that of its teacher.
        """
        features = self.data.taught_features()
        offsets, task = layout(features, per_token=True), self.task
        everything = all(self.found[split].known.all() for split in self.data.taught_splits)
        arrays = {"logits": Array(task.channels, task.per_token)}
        arrays |= {} if everything else {WEIGHT: Array(1, False)}
        writer, start, digest = Writer(folder, offsets, arrays), 0, hashlib.blake2b(digest_size=16)
        for split in self.data.taught_splits:
            for logits, known in self._batches(split):
                rows = np.arange(start, start + len(known))
                weight = known.astype(np.float32)[:, None]
                writer.write(rows, {"logits": _padded(logits, np.diff(offsets[start : start + len(known) + 1]), task)})
                digest.update(logits.tobytes())
                if not everything:
                    writer.write(rows, {WEIGHT: weight})
                    digest.update(weight.tobytes())
                start += len(known)
        hashed = digest.hexdigest()
        meta = {"task": task.name, "precision": "fp32", **identity(self.data, None), "teacher": hashed}
        writer.finish(meta)
        return hashed

    def _batches(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Logits (entries, C) and whether they are known (features,), by at most `_BATCH` features of a split."""
        features, found = self.data.features(split), self.found[split]
        examples = features.data.column("example_index").to_numpy()
        for start in range(0, len(features), _BATCH):
            part = examples[start : start + _BATCH]
            if not self.task.per_token:
                yield found.outputs[part], found.known[part]
                continue
            columns = ("offset_start", "offset_end", "cls_index")
            windows = features.data.table.select(columns).slice(start, _BATCH).to_pylist()
            logits = [
                _window(window, found.outputs[example]) for window, example in zip(windows, part.tolist(), strict=True)
            ]
            yield np.concatenate(logits), found.known[part]


def _empty(task: Task, size: int) -> Found:
    outputs = np.full(size, None) if task.per_token else np.zeros((size, task.channels), np.float32)
    return Found(np.zeros(size, bool), outputs)


def _window(window: dict[str, Any], given: Answers | None) -> np.ndarray:
    """The logits of a window, float32 (L, 2): those of an answer that the window cuts are on its cls token."""
    offsets = np.array(window["offset_start"]), np.array(window["offset_end"])
    if given is None:
        return np.zeros((len(offsets[0]), 2), np.float32)
    inside = spans.inside_of(*offsets, given.start, given.end)
    start, end = (spans.Mass(side[inside], given.mass[inside]) for side in (given.start, given.end))
    elsewhere = given.none + given.mass[~inside].sum()
    return log_probabilities(spans.to_tokens(*offsets, window["cls_index"], start, end, elsewhere))


def _padded(logits: np.ndarray, lengths: np.ndarray, task: Task) -> np.ndarray:
    """Logits (entries, C) as a batch: (rows, L, C), zeros behind each row's end, or as they are."""
    if not task.per_token:
        return logits
    batch = np.zeros((len(lengths), int(lengths.max()), logits.shape[1]), np.float32)
    batch[np.arange(batch.shape[1]) < lengths[:, None]] = logits
    return batch


def _lines(forms: Counter[str], strange: list[str], lost: Counter[bool], where: str) -> list[str]:
    lines = [f"{count:,} rows with {form}" for form, count in forms.items()]
    if strange:
        lines.append(f"{len(strange):,} rows are about no row of {where} and are left out, such as {strange[0]}")
    if lost[False]:
        lines.append(f"{lost[False]:,} questions have no answer that occurs in their context: they count as missing")
    if lost[True]:
        lines.append(f"{lost[True]:,} questions have answers that do not occur in their context: the others count")
    return lines
