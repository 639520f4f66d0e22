"""The outputs of a teacher with a tokenizer of its own, moved to the student's features.

Of a text, both have one row of features, so that its logits and first-token states stay as they are.

Of a text whose words have tags, both have windows of the same words: the teacher's logits of a word go to the token
that stands for it in the student's windows. Of a word that is no token of the teacher's, they are all 0.

Of a question, both have windows over the context, which begin and end elsewhere. A student's window is taught by one of
the teacher's: the one that shares most characters of the context with it, of several the one that reaches farthest
beyond it on its shorter side, then the earlier. The teacher's probabilities of starts and ends go to the student's
tokens by `signals.spans.to_tokens`: those of a token to the student's token that holds its first (start) or last (end)
character. Where no token of the student holds it (a space, a control character that its tokenizer drops), a start goes
to the next token and an end to the one before, at the edges of the context to the nearest. What falls outside of the
student's window goes to the cls token, as the label of an answer outside does, and is counted. So do the probabilities
of the teacher's own cls token, its other special tokens and the question. Tokens that nothing goes to, such as those
that the teacher's window does not reach, get the floor of `signals.log_probabilities`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.models.predict import layout
from distill.signals.cache import Array, Cache, Writer
from distill.signals.log_probabilities import log_probabilities
from distill.signals.spans import Mass, to_tokens
from distill.tasks.base import Predicted, label_column

# Windows whose offsets are in memory at once.
_CHUNK = 1024


@dataclass
class Moved:
    """What became of the teacher's probabilities, added up over the student's windows.

    Attributes:
        windows: number of the student's windows.
        outside: mass of starts and ends whose character the student's window does not have, float64 (2,); the cls
            token has it.
        characters: characters of the student's windows.
        unreached: those of them that the teacher's window does not reach.
    """

    windows: int = 0
    outside: np.ndarray = field(default_factory=lambda: np.zeros(2))
    characters: int = 0
    unreached: int = 0

    def describe(self) -> str:
        """One line for the stage's report."""
        start, end = 100 * self.outside / max(self.windows, 1)
        unreached = 100 * self.unreached / max(self.characters, 1)
        return (
            f"the teacher's answers to {self.windows:,} windows of the student: {start:.2f}% of the mass of starts and"
            f" {end:.2f}% of that of ends lie outside and count as no answer; {unreached:.2f}% of the text is beyond"
            " the teacher's window"
        )


@dataclass
class MovedWords:
    """How many words were taught, and how many of them the teacher has no token for: its logits for them are all 0."""

    words: int = 0
    silent: int = 0

    def describe(self) -> str:
        """One line for the stage's report."""
        return (
            f"the teacher's tags to {self.words:,} words of the student's windows; it says nothing of {self.silent:,}"
        )


@dataclass(frozen=True)
class Window:
    """A window over a question's context.

    Attributes:
        starts, ends: int64, (tokens,): the characters that each token covers, from the first to before the last; −1 for
            tokens that are not of the context.
        cls: place of the cls token.
    """

    starts: np.ndarray
    ends: np.ndarray
    cls: int

    @cached_property
    def context(self) -> slice:
        """The places of the context's tokens, which stand together."""
        places = np.flatnonzero(self.starts >= 0)
        return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)

    @cached_property
    def characters(self) -> tuple[int, int]:
        """The characters that it spans, from the first to before the last; none: 0, 0."""
        starts, ends = self.starts[self.context], self.ends[self.context]
        return (int(starts[0]), int(ends[-1])) if len(starts) else (0, 0)


def write_windows(folder: Path, teacher: Path, data: Prepared, own: Prepared, meta: Mapping[str, object]) -> Moved:
    """Fill a cache with a teacher's logits, moved to the student's windows, in constant memory.

    Args:
        folder: scratch folder of the cache; `cache.complete` makes it ready to be moved into place.
        teacher: folder of a complete cache of the logits over the teacher's own windows.
        data: prepared data, in the student's tokens.
        own: the same in the teacher's (`Prepared.read_by`).
        meta: what the cache belongs to (`writer.identity`), and more.
    """
    cache, moved = Cache.open(teacher, {}), Moved()

    def logits(row: int) -> np.ndarray:
        return cache.rows("logits", [row], int(cache.offsets[row + 1] - cache.offsets[row]))[0]

    writer = Writer(folder, layout(data.taught_features(), per_token=True), {"logits": Array(2, True)})
    ours = theirs = 0
    for split in data.taught_splits:
        teachers, students = own.features(split), data.features(split)
        for values in _windows(teachers, students, lambda row, begin=theirs: logits(begin + row), moved):
            writer.write(np.array([ours]), {"logits": values[None]})
            ours += 1
        theirs += len(teachers)
    writer.finish(meta)
    return moved


def write_words(folder: Path, teacher: Path, data: Prepared, own: Prepared, meta: Mapping[str, object]) -> MovedWords:
    """Fill a cache with a teacher's logits of words, moved to the tokens that stand for them in the student's windows.

    Args: as for `write_windows`.
    """
    cache, moved = Cache.open(teacher, {}), MovedWords()
    channels = cache.arrays["logits"].width
    offsets = layout(data.taught_features(), per_token=True)
    writer = Writer(folder, offsets, {"logits": Array(channels, True)})
    ours = theirs = 0
    for split in data.taught_splits:
        teachers, students = own.features(split), data.features(split)
        rows = range(theirs, theirs + len(teachers))
        given = [cache.rows("logits", [row], int(cache.offsets[row + 1] - cache.offsets[row]))[0] for row in rows]
        logits = np.concatenate(given) if given else np.zeros((0, channels), np.float32)
        values = _words(teachers, students, logits, data.examples(split), moved)
        for row, start, stop in zip(range(ours, ours + len(students)), *_bounds(students), strict=True):
            writer.write(np.array([row]), {"logits": values[None, start:stop]})
        ours, theirs = ours + len(students), theirs + len(teachers)
    writer.finish(meta)
    return moved


def _bounds(features: Any) -> tuple[np.ndarray, np.ndarray]:
    offsets = layout(features, per_token=True)
    return offsets[:-1], offsets[1:]


def _words(teacher: Any, student: Any, logits: np.ndarray, examples: Any, moved: MovedWords) -> np.ndarray:
    """The logits on all tokens of the student's features, float32 (tokens, C); 0 at those that stand for no word.

    Args:
        teacher, student: features of a split. logits: (tokens of the teacher, C).
    """
    sizes = [len(starts) for starts in examples.data.column("starts").to_pylist()]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    place = {}
    for name, features in (("teacher", teacher), ("student", student)):
        table = features.data.table
        index = np.repeat(table.column("example_index").to_numpy(), table.column("length").to_numpy())
        words = label_column(features, "words")
        place[name] = np.where(words >= 0, starts[index] + words, -1)
    of_word = np.full(starts[-1], -1)
    said = np.flatnonzero(place["teacher"] >= 0)
    of_word[place["teacher"][said]] = said
    values = np.zeros((len(place["student"]), logits.shape[1]), np.float32)
    counted = place["student"] >= 0
    source = of_word[place["student"][counted]]
    values[np.flatnonzero(counted)[source >= 0]] = logits[source[source >= 0]]
    moved.words += len(source)
    moved.silent += int((source < 0).sum())
    return values


def predicted(own: Predicted, data: Prepared, split: str) -> Predicted:
    """A teacher's logits over its own features of a split, moved to the student's features.

    Args:
        own: logits over `data.read_by(…).features(split)`.
        data: prepared data, in the student's tokens.
        split: the split's name.
    """
    features = data.features(split)
    if has_words(features):
        values = _words(own.features, features, own.logits, own.examples, MovedWords())
        return Predicted(own.examples, features, values, layout(features, True), data.meta)
    if not has_windows(features):
        check_rows(own.features, features)
        return Predicted(own.examples, features, own.logits, own.offsets, data.meta)
    values = _windows(own.features, features, lambda row: own.logits[own.offsets[row] : own.offsets[row + 1]], Moved())
    return Predicted(own.examples, features, np.concatenate(list(values)), layout(features, True), data.meta)


def has_windows(features: Any) -> bool:
    """Whether features are windows over contexts, and not whole texts."""
    return "offset_start" in features.column_names


def has_words(features: Any) -> bool:
    """Whether features are windows whose tokens stand for words that have tags."""
    return "words" in features.column_names


def check_rows(teacher: Any, student: Any) -> None:
    """Raise a UserError where features of texts are not of the same texts in the same order."""
    theirs, ours = (features.data.column("example_index").to_numpy() for features in (teacher, student))
    if not np.array_equal(theirs, ours):
        raise UserError("data/prepared: teacher and student have features of other texts: run `dvc repro prepare`")


def questions(features: Any) -> Iterator[list[Window]]:
    """The windows of each question, in order, in constant memory.

    Args:
        features: features of a split; the windows of a question are neighbours.
    """
    table = features.data.table
    example = table.column("example_index").to_numpy()
    bounds = np.append(np.flatnonzero(np.diff(example, prepend=-1)), len(example))
    first = 0
    while first < len(bounds) - 1:
        last = max(int(np.searchsorted(bounds, bounds[first] + _CHUNK, side="right")) - 1, first + 1)
        rows = table.slice(bounds[first], bounds[last] - bounds[first])
        lengths, cls = (rows.column(name).to_numpy() for name in ("length", "cls_index"))
        starts, ends = (
            rows.column(name).combine_chunks().flatten().to_numpy().astype(np.int64)
            for name in ("offset_start", "offset_end")
        )
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        parts = [slice(*pair) for pair in zip(offsets[:-1], offsets[1:], strict=True)]
        windows = [Window(starts[part], ends[part], int(place)) for part, place in zip(parts, cls, strict=True)]
        for begin, end in zip(bounds[first:last], bounds[first + 1 : last + 1], strict=True):
            yield windows[begin - bounds[first] : end - bounds[first]]
        first = last


def _windows(teacher: Any, student: Any, logits: Callable[[int], np.ndarray], moved: Moved) -> Iterator[np.ndarray]:
    """The logits of every window of the student, in order: float32 (tokens, 2).

    Args:
        teacher, student: features of a split.
        logits: function from the number of a teacher's window to its logits, (tokens, 2).
    """
    row = 0
    for theirs, ours in zip(questions(teacher), questions(student), strict=True):
        probabilities = [softmax(logits(row + number)) for number in range(len(theirs))]
        row += len(theirs)
        span = ours[0].characters[0], ours[-1].characters[1]
        for window in ours:
            yield log_probabilities(move(theirs, probabilities, window, span, moved))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the tokens of a window, float64 (tokens, 2), of logits of the same shape."""
    scaled = np.exp(logits.astype(np.float64) - logits.max(axis=0))
    return scaled / scaled.sum(axis=0)


def move(
    teacher: list[Window], probabilities: list[np.ndarray], student: Window, span: tuple[int, int], moved: Moved
) -> np.ndarray:
    """A teacher's probabilities on the tokens of a student's window: float64 (tokens, 2), each side adds up to 1.

    Args:
        teacher: the teacher's windows of the question.
        probabilities: of each of them, float64 (tokens, 2).
        student: the student's window.
        span: the characters that all windows of the student span together, from the first to before the last.
        moved: counts that grow.
    """
    number, shared = serving(teacher, student)
    source, given = teacher[number], probabilities[number]
    inside = given[source.context]
    first, behind = source.starts[source.context], source.ends[source.context]
    # At the edges of the context the student's nearest token is the only one.
    start = Mass(np.clip(first, span[0], max(span[1] - 1, span[0])), inside[:, 0])
    end = Mass(np.clip(behind, min(span[0] + 1, span[1]), span[1]), inside[:, 1])
    mass = to_tokens(student.starts, student.ends, student.cls, start, end)
    moved.windows += 1
    moved.outside += mass[student.cls]
    begin, stop = student.characters
    moved.characters += stop - begin
    moved.unreached += stop - begin - shared
    mass[student.cls] += given[source.starts < 0].sum(axis=0)
    return mass


def serving(teacher: list[Window], student: Window) -> tuple[int, int]:
    """Which of the teacher's windows teaches a window of the student: its number, and how many characters both have."""
    begin, end = student.characters
    starts, ends = np.array([window.characters for window in teacher]).T
    shared = np.maximum(np.minimum(ends, end) - np.maximum(starts, begin), 0)
    beyond = np.minimum(begin - starts, ends - end)
    number = int(np.lexsort((-beyond, -shared))[0])
    return number, int(shared[number])
