"""Sources of questions: the embedded corpus, the user's SQuAD files, or the Hugging Face hub.

All give the same rows (`distill.data.sources.squad_json`), checked before anything is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.data import parameter
from distill.data.sources import hub
from distill.data.sources.squad_json import (
    Row,
    check_answers,
    check_ids,
    fail,
    finish,
    finish_unanswered,
    get,
    load_squad_json,
    show,
    text,
    title_of,
)

if TYPE_CHECKING:
    import datasets

__all__ = ["limit", "load", "load_hub", "load_squad_json"]

_COLUMNS = ("id", "context", "question", "answers")
# The split without labels.
TRANSFER = "transfer"


def load(
    source: str,
    paths: Mapping[str, Path],
    name: str | None,
    subset: str | None,
    revision: str | None,
    splits: Mapping[str, str],
    version_2: bool,
) -> dict[str, list[Row]]:
    """Reads the training and validation questions, and those of a split "transfer", whose `answers` are None.

    Args:
        source: "embedded" or "files" (both read `paths`), or "hub".
        paths: SQuAD JSON by split, "train", "validation" and any others; unused by "hub".
        name: hub id or local dataset folder; used by "hub" only, as are `subset`, `revision` and `splits`.
        subset: the dataset's configuration, or None.
        revision: commit, tag or branch to pin, or None.
        splits: name of each split on the hub, by its name here.
        version_2: False drops questions without an answer.

    Returns:
        Rows by split, in the order of `paths` or `splits`.

    Raises:
        UserError: anything wrong with a split, also an id used in two splits.
    """
    if source in ("embedded", "files"):
        for key, path in paths.items():
            if not path.name:
                fail("params.yaml", parameter(key), f"is empty while data.source is {source}", "name a SQuAD JSON file")
        labels = {split: str(path) for split, path in paths.items()}
        rows = {split: load_squad_json(path, version_2, split != TRANSFER) for split, path in labels.items()}
    elif source == "hub":
        if not name:
            fail("params.yaml", "data.name", "is empty while data.source is hub", "name a dataset: rajpurkar/squad_v2")
        labels = {split: hub.place(name, revision, hub_split) for split, hub_split in splits.items()}
        with hub.opened(name, subset, revision) as split_of:
            rows = {
                split: _hub_rows(split_of(hub_split), labels[split], version_2, split != TRANSFER)
                for split, hub_split in splits.items()
            }
    else:
        fail("params.yaml", "data.source", f"is {show(source)}", "choose embedded, files or hub")
    # The split in the label tells two splits of the same file apart.
    # A transfer set may be of the same file as another split: see `distill.data.sources.transfer`.
    check_ids({f"{labels[split]} ({split})": rows[split] for split in rows if split != TRANSFER})
    return rows


def load_hub(name: str, subset: str | None, revision: str | None, split: str, version_2: bool) -> list[Row]:
    """Reads one split of a dataset in the Hugging Face SQuAD schema.

    Args:
        name: hub id ("rajpurkar/squad_v2") or a local dataset folder.
        subset: the dataset's configuration, or None.
        revision: commit, tag or branch, or None.
        split: name of the split in the dataset, e.g. "train".
        version_2: False drops questions without an answer.

    Returns:
        Rows in the dataset's order; equal contexts share one string. Questions whose `answers` are null are left out,
        and counted aloud.

    Raises:
        UserError: the dataset cannot be loaded, lacks a column, or holds a bad value.
    """
    with hub.opened(name, subset, revision) as split_of:
        return _hub_rows(split_of(split), hub.place(name, revision, split), version_2)


def _hub_rows(dataset: datasets.Dataset, label: str, version_2: bool, answered: bool = True) -> list[Row]:
    """The rows of a split, which messages name `label`; with no answers where they are not `answered`."""
    needed = _COLUMNS if answered else _COLUMNS[:-1]
    missing = [column for column in needed if column not in dataset.column_names]
    if missing:
        fail(label, "columns", f"{missing[0]!r} is missing from {dataset.column_names}", "name a SQuAD dataset")
    contexts: dict[str, str] = {}
    columns = [*needed, *(["title"] if "title" in dataset.column_names else [])]
    without = {} if answered else {"answers": None}
    items = enumerate(dataset.select_columns(columns))
    rows = [_hub_row(item | without, contexts, label, f"row {i}") for i, item in items]
    return finish(rows, label, version_2) if answered else finish_unanswered(rows, label)


def limit(rows: list[Row], max_examples: int | None, seed: int) -> list[Row]:
    """Draws at most `max_examples` examples, questions by whole paragraphs, from anywhere in the data.

    Paragraphs (texts) are taken in the order of a seeded hash of their text, so that the draw does not depend on the
    order of the file and a smaller draw lies within a larger one. Only the last paragraph may be cut.

    Args:
        rows: questions in the Hugging Face SQuAD schema, or texts (`distill.data.sources.text_sets`).
        max_examples: largest number to keep; None keeps all.
        seed: another seed draws other paragraphs.

    Returns:
        The examples drawn, in their old order.
    """
    if max_examples is None or max_examples >= len(rows):
        return rows
    groups: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        key = (row["title"], row["context"]) if "context" in row else (row["text"], row["text_pair"] or "")
        groups.setdefault(key, []).append(i)
    drawn: list[int] = []
    for key in sorted(groups, key=lambda key: draw_order(seed, *key)):
        drawn.extend(groups[key])
        if len(drawn) >= max_examples:
            break
    return [rows[i] for i in sorted(drawn[:max_examples])]


def draw_order(seed: int, *texts: str) -> str:
    """A key whose order is random but the same on every machine: sha256 of the seed and the texts, in hex."""
    return hashlib.sha256("\0".join((str(seed), *texts)).encode()).hexdigest()


def _hub_row(item: dict[str, Any], contexts: dict[str, str], file: str, at: str) -> Row:
    question_id = text(item, "id", file, at)
    at = f"{at} (question {show(question_id)})"
    row = {"title": title_of(item, file, at)} | {key: text(item, key, file, at) for key in ("context", "question")}
    row["context"] = contexts.setdefault(row["context"], row["context"])
    if item["answers"] is None:
        return {"id": question_id, **row, "answers": None}
    answers = get(item, "answers", dict, file, at)
    texts = get(answers, "text", list, file, f"{at}.answers")
    starts = get(answers, "answer_start", list, file, f"{at}.answers")
    if len(texts) != len(starts):
        fail(file, f"{at}.answers", f"{len(texts)} texts but {len(starts)} offsets", "give each answer one offset")
    for i, (answer, start) in enumerate(zip(texts, starts, strict=True)):
        get({"text": answer}, "text", str, file, f"{at}.answers[{i}]")
        get({"answer_start": start}, "answer_start", int, file, f"{at}.answers[{i}]")
    check_answers(row["context"], texts, starts, file, at)
    return {"id": question_id, **row, "answers": {"text": list(texts), "answer_start": list(starts)}}
