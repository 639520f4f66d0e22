"""Stage prepare: read and check the data, carve out the selection split, tokenize. `python -m pipeline.prepare`"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.config import ensemble, model_tokenizers
from distill.config.data import BY_TEXTS, parameter
from distill.config.params import Params
from distill.config.schema import Student, Teacher
from distill.data.features import preparation
from distill.data.kinds.registry import KINDS
from distill.data.loading import ready
from distill.data.loading import tokenizer as tokenizers
from distill.data.loading.prepared import TRAINED_ON, TRANSFER
from distill.data.sources import groups, labels, overlap, query_groups, question_sets, splits, transfer
from distill.data.sources.squad_json import Row
from distill.errors import UserError
from distill.runtime.progress import bar
from pipeline.launch.run import run_stage
from pipeline.stage import paths as common
from pipeline.stage.definition import define
from pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def main() -> None:
    """Everything is loaded and checked before anything is written."""
    params = common.params()
    data = params.data
    paths = _files(params)
    names = data.splits() if data.source == "hub" else {}
    with Stage(define("prepare"), params, tracked=False) as stage:
        kind = KINDS[params.task]
        loaded, described = kind.load(params, paths, names)
        meta = {"task": params.task, **described}
        for split, rows in loaded.items():
            stage.read(paths.get(split) or data.name, f"{split}: {len(rows):,} {kind.noun}")
        train, unlabelled = loaded.pop("train", []), loaded.pop(TRANSFER, [])
        if data.max_train_context:
            train, unlabelled = (
                [row for row in rows if len(row["context"]) <= data.max_train_context] for rows in (train, unlabelled)
            )
            stage.say(
                "kept",
                f"{len(train):,} training questions on paragraphs of {data.max_train_context} characters at most",
            )
        if "selection" in loaded:
            rows, selection = train, loaded.pop("selection")
        else:
            rows, selection = _carved(stage, train, params)
            if warning := splits.uneven(len(rows), len(selection), data.selection_fraction):
                print(f"\n  WARNING: {warning}\n", flush=True)
        parts = {
            "train": _limit(rows, data.max_train_examples, data.seed),
            "selection": _limit(selection, data.max_selection_examples, data.seed),
        }
        if data.has_labels and kind.needs_each_class:
            splits.check_classes(parts["train"], meta["labels"])
        for field, own in ensemble.teachers(params).items():
            model, classes = own.teacher.model, meta["labels"]
            if not own.teacher.train:
                ready.check(model.path, model.revision, own.teacher.labels, params.task, classes, field)
        for split in loaded:
            parts[split] = _limit(loaded[split], data.max_validation_examples, data.seed)
        if data.has_transfer:
            parts[TRANSFER], meta[TRANSFER] = _transfer(stage, unlabelled, parts, params, paths)
        # All that students learn from counts as training data, and so for the vocabulary too.
        seen = [*parts["train"], *parts.get(TRANSFER, ())]
        compared = {"train": seen} | {split: rows for split, rows in parts.items() if split not in ("train", TRANSFER)}
        compared = {split: query_groups.once(rows) for split, rows in compared.items()}
        for line in _shared(compared):
            stage.say("shared", line)
        meta["overlap"] = overlap.shares(compared)
        if data.has_transfer:
            for split, found in meta["overlap"].items():
                found["left_out"] = meta[TRANSFER]["removed"].get(split, 0)
        for line in overlap.lines(meta["overlap"]):
            stage.say("overlap", line)
        for warning in overlap.warnings(meta["overlap"], _fixes(params, parts)):
            print(f"\n  WARNING: {warning}\n", flush=True)
        for split, examples in parts.items() if meta["labels"] else ():
            if split == TRANSFER or not examples:
                continue
            numbers = [kind.classes_of(row) for row in examples]
            counts = np.bincount(np.array([number for row in numbers for number in row], int))
            bare = f"; rows without any: {numbers.count([]):,}" if [] in numbers else ""
            stage.say("classes", f"{split}: {labels.describe(meta['labels'], counts.tolist())}{bare}")
        tokenizer, readers = _tokenizers(params, seen)
        for role, reader in readers.items():
            stage.say("tokens", f"{len(tokenizer):,} entries in the vocabulary, {len(reader):,} in that of {role}")
        try:
            with bar(sum(map(len, parts.values())), "tokenize", unit="example") as progress:
                folder = stage.scratch / "prepared"
                written = kind.write(
                    folder, parts, tokenizer, params, meta, lambda _, count: progress.update(count), readers
                )
        except UserError as error:  # an error of one example begins with the name of its split
            source = data.name or paths.get(str(error).split()[0], paths.get("train"))
            raise UserError(f"{source}: {error}") from error
        apart, reported = stage.fresh("reported"), [split for split in parts if split not in TRAINED_ON]
        preparation.set_apart(folder, apart, reported, ("overlap", TRANSFER))
        stage.publish(folder, common.PREPARED)
        stage.publish(apart, common.REPORTED)
        hidden = ("extra_windows", "windowed_questions", "windowed_texts", "labels", "readers", "blake2b")
        rows = dict(written["splits"])
        for split, counts in written["splits"].items():
            rows |= {f"{split}, {role}": entry for role, entry in counts.get("readers", {}).items()}
        stage.figures(
            {
                label: {name: value for name, value in counts.items() if name not in hidden}
                for label, counts in rows.items()
            }
        )


def _files(params: Params) -> dict[str, Path]:
    """The files to read, by split; none where the data comes from the hub."""
    data = params.data
    if data.source == "hub":
        return {}
    if data.source == "embedded":
        return {split: common.corpus_file(data.embedded, split) for split in ("train", "validation")}
    kind = KINDS[params.task].files
    for split, path in data.splits().items():
        if not Path(path).is_file():
            raise UserError(f"params.yaml: {parameter(split)}: {path}: no such file: name a {kind} file")
    return {split: Path(path) for split, path in data.splits().items()}


def _transfer(
    stage: Stage, rows: list[Row], parts: dict[str, list[Row]], params: Params, paths: dict[str, Path]
) -> tuple[list[Row], dict[str, Any]]:
    """The transfer set without the texts of the other splits, drawn from what is left; and the counts (`cleared`)."""
    data = params.data
    # Scored splits first: a text of theirs is counted there.
    others = {split: part for split, part in parts.items() if split != "train"} | {"train": parts["train"]}
    left, counts = transfer.cleared(
        query_groups.once(rows), {split: query_groups.once(part) for split, part in others.items()}
    )
    stage.say("transfer", transfer.line(counts, len(left)))
    transfer.check(left, parts["train"], str(paths.get(TRANSFER, data.name)), parameter(TRANSFER, data.source))
    return _limit(query_groups.kept(rows, left), data.max_transfer_examples, data.seed), counts


def _limit(rows: list[Row], most: int | None, seed: int) -> list[Row]:
    """At most so many examples, or queries with all their passages, drawn by `seed`."""
    return (query_groups if query_groups.are(rows) else question_sets).limit(rows, most, seed)


def _carved(stage: Stage, train: list[Row], params: Params) -> tuple[list[Row], list[Row]]:
    """The training rows and the selection rows that are carved out of them."""
    data = params.data
    if params.task == "qa" and splits.grouping(train) == "context":
        stage.say("split", "by contexts: the training data has fewer than two articles with a title")
    if query_groups.are(train):
        queries = query_groups.once(train)
        stage.say("split", f"by queries: {len(queries):,}")
        parts = splits.carve(queries, data.selection_fraction, data.seed)
        rows, selection = (query_groups.kept(train, part) for part in parts)
        return rows, selection
    if data.group is None:
        return splits.carve(train, data.selection_fraction, data.seed)
    grouped = groups.by_texts(train) if data.group == BY_TEXTS else groups.by_column(train)
    kind = "texts" if data.group == BY_TEXTS else f"column {data.group_column}"
    largest = max(Counter(grouped).values())
    stage.say("split", f"by {kind}: {len(set(grouped)):,} groups of rows, the largest of {largest:,}")
    return splits.carve(train, data.selection_fraction, data.seed, grouped)


def _fixes(params: Params, parts: dict[str, list[Row]]) -> dict[str, str]:
    """What to do about a split that is in the training data, by split."""
    named = [split for split in ("train", TRANSFER) if parts.get(split)]
    where = " and ".join(parameter(split) for split in named)
    fixes = {split: f"take the rows that are in both out of {where}" for split in parts}
    if params.data.group is None and "selection" not in params.data.splits() and params.task not in ("qa", "ranking"):
        fixes["selection"] = f"keep related rows on one side with data.group: {BY_TEXTS}"
    return fixes


def _shared(parts: dict[str, list[Row]]) -> list[str]:
    """Lines on the rows of other splits that are training rows too, whatever their ids."""
    lines = []
    for split in list(parts)[1:]:
        rows = f"of {len(parts[split]):,} {split}"
        if "context" not in parts[split][0]:
            if texts := overlap.shared_texts(parts["train"], parts[split]):
                lines.append(f"{texts:,} {rows} texts are training texts too")
            continue
        questions, contexts = overlap.shared_questions(parts["train"], parts[split])
        if questions:
            lines.append(f"{questions:,} {rows} questions are training questions too, on the same contexts")
        if contexts > questions:
            lines.append(f"{contexts:,} {rows} questions are on contexts of the training data")
    return lines


def _tokenizers(params: Params, rows: list[Row]) -> tuple[PreTrainedTokenizerFast, dict[str, PreTrainedTokenizerFast]]:
    """The student's tokenizer; and those of teachers that make other tokens, by reader (`Prepared.read_by`).

    Args:
        rows: training rows, on which a tokenizer is trained where the parameters name none.
    """
    tokenizer = _tokenizer(params, "student", rows)
    _check_model(params.student, "student", tokenizer)
    readers = {}
    for field, own in ensemble.teachers(params).items():
        name, _, member = field.partition(".")
        reader = model_tokenizers.reader_of(params, name) if member else "teacher"
        if reader == "student" or model_tokenizers.of(own, "teacher") == model_tokenizers.of(params, "student"):
            _check_model(own.teacher, field, tokenizer)
            continue
        if reader not in readers:
            readers[reader] = _tokenizer(own, "teacher", rows)
        _check_model(own.teacher, field, readers[reader])
    same = tokenizers.fingerprint(tokenizer)
    return tokenizer, {name: reader for name, reader in readers.items() if tokenizers.fingerprint(reader) != same}


def _tokenizer(params: Params, role: str, rows: list[Row]) -> PreTrainedTokenizerFast:
    """The tokenizer that the parameters name for a model, or one trained on the training rows."""
    settings, field = model_tokenizers.of(params, role), model_tokenizers.field(params, role)
    if settings.path:
        return tokenizers.load(settings.path, settings.revision, field)
    columns = KINDS[params.task].texts
    texts = dict.fromkeys(row[column] for row in rows for column in columns if row[column] is not None)
    return tokenizers.train(texts, settings.vocab_size, settings.lowercase, field)


def _check_model(section: Teacher | Student, field: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Each stage checks its own model again; here it costs nothing yet."""
    if section.model.path:
        tokenizers.check_same(section.model.path, section.model.revision, tokenizer, f"{field}.model.path")


if __name__ == "__main__":
    run_stage(main)
