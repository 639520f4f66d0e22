"""The report's changed texts: what methods learn from beside the training texts, and what the models say of both."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distill.report.formatting import number
from distill.report.results import Results

#: Pairs of each method on the page; data/samples has more.
SHOWN = 5
#: Source → what a method's texts are called, and one of them.
SOURCES = {
    "generator": ("changed by its generator", "changed"),
    "neighbours": ("neighbours", "neighbour"),
    "copies": ("augmented copies", "copy"),
}
# A neighbour is another text: it has no words that stand for others.
_WORD_BY_WORD = ("generator", "copies")

#: A text in pieces, each with whether the other text has others in its place.
Pieces = list[tuple[str, bool]]


@dataclass(frozen=True)
class Pair:
    """An original and what became of it.

    Attributes:
        texts: (name, original, changed) of each part; changed is None for one that stays.
        gold: the label of the original, for people.
        figures: (model, value) for people, such as ("teacher", "positive 0.98 → 0.41").
    """

    texts: list[tuple[str, Pieces, Pieces | None]]
    gold: str
    figures: list[tuple[str, str]]


@dataclass(frozen=True)
class Group:
    """A method's pairs of one source.

    Attributes:
        word: what a text is called that stands beside its original.
        total: number of the sample's entries in which the text differs.
    """

    method: str
    title: str
    word: str
    pairs: list[Pair]
    total: int


def groups(results: Results) -> list[Group]:
    """For each method and source the first changed text of up to `SHOWN` rows, spread over the sample."""
    found = []
    for method, sample in results.samples.items():
        for source in dict.fromkeys(entry["source"] for entry in sample):
            entries = [entry for entry in sample if entry["source"] == source and _differs(entry)]
            if entries:
                count = min(SHOWN, len(entries))
                places = [round(i * (len(entries) - 1) / max(count - 1, 1)) for i in range(count)]
                pairs = [_pair(entries[place]) for place in places]
                found.append(Group(method, *SOURCES[source], pairs, len(entries)))
    return found


def _differs(entry: Mapping[str, Any]) -> bool:
    return bool(entry["changed"]) and entry["changed"][0]["text"] != entry["original"]["text"]


def _pair(entry: Mapping[str, Any]) -> Pair:
    original, changed = entry["original"], entry["changed"][0]
    texts: list[tuple[str, Pieces, Pieces | None]] = []
    for name, old in original["text"].items():
        new = changed["text"].get(name, "")
        if old == new:
            texts.append((name, [(old, False)], None))
        elif entry["source"] in _WORD_BY_WORD:
            texts.append((name, *compared(old, new)))
        else:
            texts.append((name, [(old, False)], [(new, False)]))
    gold, labels = entry["gold"], "question" not in original["text"]
    figures = [
        (model, _figures(original.get(model), changed.get(model), gold, labels)) for model in ("teacher", "student")
    ]
    return Pair(texts, _read(gold, labels), [(model, text) for model, text in figures if text])


def _read(gold: str | float | list[str] | None, labels: bool) -> str:
    """The gold class, number, answers or, of a text that may have several, labels."""
    if gold is None:
        return "no label"
    if isinstance(gold, list):
        return " | ".join(gold) or ("none" if labels else "no answer")
    return gold if isinstance(gold, str) else number(gold)


def _figures(before: Mapping[str, float] | None, after: Mapping[str, float] | None, gold: Any, labels: bool) -> str:
    """The gold class, or all that both have, before and after; empty where there is none.

    Of several labels the gold ones, and those that are likelier than not before or after.
    """
    names = [name for name in before or {} if name in (after or {}) and (name == gold or not isinstance(gold, str))]
    if labels and isinstance(gold, list):
        names = [name for name in names if name in gold or max(before[name], after[name]) > 0.5]
    return "; ".join(f"{name} {number(before[name])} → {number(after[name])}" for name in names)


def compared(old: str, new: str) -> tuple[Pieces, Pieces]:
    """Both texts in pieces of words, those that differ marked."""
    sides = old.split(), new.split()
    pieces: tuple[Pieces, Pieces] = [], []
    for kind, *ends in difflib.SequenceMatcher(None, *sides, autojunk=False).get_opcodes():
        for words, found, (low, high) in zip(sides, pieces, (ends[:2], ends[2:]), strict=True):
            if low < high:
                found.append((" ".join(words[low:high]), kind != "equal"))
    return pieces
