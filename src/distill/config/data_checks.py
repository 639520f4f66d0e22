"""Which data goes with which task: impossible combinations of parameters, found before anything runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from distill.config import metric_names, ranking_checks
from distill.config.data import BY_TEXTS, COLUMN, NO_FILE, parameter

if TYPE_CHECKING:
    from distill.config.params import Params

#: The embedded corpora of each task.
EMBEDDED = {"qa": ("questions",), "classification": ("sentences", "pairs"), "regression": ("similarity",)}
EMBEDDED |= {"multi_label": ("topics",), "token_classification": ("entities",), "ranking": ("passages",)}


def check(params: Params) -> None:
    """Raise a ValueError where section `data` does not fit the task or contradicts itself."""
    data, task = params.data, params.task
    if data.source == "embedded" and data.embedded not in EMBEDDED[task]:
        fitting = next(name for name, corpora in EMBEDDED.items() if data.embedded in corpora)
        raise ValueError(
            f"data.embedded is {data.embedded!r} but task is {task!r}: set data.embedded to"
            f" {' or '.join(EMBEDDED[task])}, or task to {fitting}"
        )
    _check_further_splits(params)
    _check_transfer(params)
    _check_extra(params)
    _check_group(params)
    (_check_questions if task == "qa" else _check_texts)(params)
    if task == "token_classification":
        _check_words(params)
    if task == "ranking":
        ranking_checks.check(params)


def _check_further_splits(params: Params) -> None:
    data = params.data
    for name in ("mismatched", "selection", "transfer"):
        if data.source != "files" and (file := getattr(data, name)) != NO_FILE:
            raise ValueError(
                f"data.{name} is {file!r} but data.source is {data.source!r}, which reads no files: set it to"
                f" {NO_FILE}, or data.source to files"
            )
        if data.source != "hub" and (split := getattr(data, f"{name}_split")) is not None:
            raise ValueError(
                f"data.{name}_split is {split!r} but data.source is {data.source!r}: set it to null, or data.source to"
                " hub"
            )


def _check_transfer(params: Params) -> None:
    data = params.data
    if data.max_transfer_examples is not None and not data.has_transfer:
        raise ValueError(
            f"data.max_transfer_examples is {data.max_transfer_examples} but there is no transfer set to draw from: set"
            " it to null, or name one: data.transfer (source files), data.transfer_split (source hub)"
        )
    if data.has_labels:
        return
    for name, why in (("transfer", "there is nothing to learn from"), ("selection", "there is nothing to carve it of")):
        if getattr(data, name) == NO_FILE:
            raise ValueError(
                f"data.train is {NO_FILE} and so is data.{name}: {why}: name a file of data.{name}, or of data.train"
            )
    if data.max_train_examples is not None:
        raise ValueError(
            f"data.max_train_examples is {data.max_train_examples} but data.train is {NO_FILE}: set it to null"
        )
    if is_trained(params):
        raise ValueError(
            f"data.train is {NO_FILE}, so that no row has a label, but the teacher is trained on labels: take one that"
            " is ready (teacher.train: false, or teacher.source: predictions), or name a file of data.train"
        )


def is_trained(params: Params) -> bool:
    """Whether labels train the teacher, or a member of it."""
    is_ensemble = params.teacher.source == "ensemble"
    teachers = [params.members[name] for name in params.ensemble.members] if is_ensemble else [params.teacher]
    return any(teacher.source == "model" and teacher.train for teacher in teachers)


def _check_extra(params: Params) -> None:
    data = params.data
    if data.extra and data.source == "embedded":
        raise ValueError(
            f"data.extra is {data.extra} but data.source is 'embedded', which has no further splits: set it to {{}}, or"
            " data.source to files or hub"
        )
    metrics = {metric_names.prefix(metric.name) for metric in params.evaluate.extra}
    taken = (*metric_names.RESERVED, "train", "transfer", "validation", *sorted(metrics))
    for name, value in data.extra.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(
                f"data.extra: {name!r} is no name of a split, with which its scores begin: use small letters, digits"
                " and underscores, a letter first"
            )
        others = [*taken, *(other for other in data.extra if other != name)]
        clash = next((other for other in others if name == other or name.startswith(f"{other}_")), None)
        if clash := clash or next((metric for metric in sorted(metrics) if metric.startswith(f"{name}_")), None):
            raise ValueError(
                f"data.extra: {name!r}: scores that begin with {clash}_ are taken: give the split another name"
            )
        used = {split: other for split, other in data.splits().items() if split != name}
        if same := next((split for split, other in used.items() if other == value), None):
            raise ValueError(
                f"data.extra.{name} is {value!r}, as {parameter(same, data.source)} is: name another"
                f" {'split' if data.source == 'hub' else 'file'}"
            )


def _check_group(params: Params) -> None:
    data = params.data
    if data.group is None:
        return
    if params.task == "qa":
        raise ValueError(
            f"data.group is {data.group!r} but task is 'qa', whose selection split is made of whole articles: set it to"
            " null"
        )
    if not data.group.removeprefix(COLUMN):
        raise ValueError(f"data.group is {data.group!r}: name a column, or write {BY_TEXTS}, or null")
    if data.group_column == data.label:
        raise ValueError(
            f"data.group and data.label both name the column {data.label!r}: a selection split of whole classes says"
            " nothing: name another column"
        )
    if data.group == BY_TEXTS and "selection" in data.splits():
        raise ValueError(
            f"data.group is {BY_TEXTS!r} but {parameter('selection', data.source)} names the selection split, so that"
            " none is made of groups: set data.group to null"
        )


def _check_windows(params: Params) -> None:
    features = params.features
    if features.doc_stride >= features.max_length:
        raise ValueError(
            f"features: doc_stride {features.doc_stride} must be smaller than max_length {features.max_length}"
        )


def _check_words(params: Params) -> None:
    _check_windows(params)
    for name, unused in (("text_pair", None), ("strip_html", False)):
        if (value := getattr(params.data, name)) != unused:
            raise ValueError(
                f"data.{name} is {value!r} but task is {params.task!r}, which does not read it: set it to"
                f" {'null' if unused is None else 'false'}"
            )


def _check_questions(params: Params) -> None:
    data = params.data
    _check_windows(params)
    for name, unused in (("text_pair", None), ("labels", None), ("strip_html", False)):
        if (value := getattr(data, name)) != unused:
            raise ValueError(
                f"data.{name} is {value!r} but task is 'qa', which does not read it: set it to"
                f" {'null' if unused is None else 'false'}"
            )


def _check_texts(params: Params) -> None:
    data, task = params.data, params.task
    if data.max_train_context is not None:
        raise ValueError(
            f"data.max_train_context is {data.max_train_context} but task is {task!r}, whose texts are no contexts of"
            " questions: set it to null"
        )
    if data.source == "embedded":
        pair = data.embedded not in ("sentences", "topics", "entities")
        if pair != (data.text_pair is not None):
            fix = "name its column of second texts, sentence2" if pair else "set it to null"
            raise ValueError(f"data.text_pair is {data.text_pair!r} but data.embedded is {data.embedded!r}: {fix}")
    columns = [name for name in (data.text, data.text_pair, data.label, data.id) if name is not None]
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(
            f"data: two of text, text_pair, label and id name the column {twice[0]!r}: name each column once"
        )
    if data.labels is not None:
        if task in ("regression", "ranking"):
            raise ValueError(f"data.labels is {data.labels} but task is {task!r}, which has no classes: set it to null")
        if len(data.labels) < 2 or len(set(data.labels)) != len(data.labels):
            raise ValueError(f"data.labels is {data.labels}: give two classes or more, each once, or null")
