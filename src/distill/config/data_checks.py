"""Which data goes with which task: impossible combinations of parameters, found before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill.config.params import Params

#: data.mismatched where there is no second validation file: DVC needs a file that exists.
NO_FILE = "data/none"
#: The embedded corpora of each task.
EMBEDDED = {"qa": ("questions",), "classification": ("sentences", "pairs"), "regression": ("similarity",)}


def check(params: Params) -> None:
    """Raise a ValueError where section `data` does not fit the task or contradicts itself."""
    data, task = params.data, params.task
    if data.source == "embedded" and data.embedded not in EMBEDDED[task]:
        fitting = next(name for name, corpora in EMBEDDED.items() if data.embedded in corpora)
        raise ValueError(
            f"data.embedded is {data.embedded!r} but task is {task!r}: set data.embedded to"
            f" {' or '.join(EMBEDDED[task])}, or task to {fitting}"
        )
    _check_second_validation(params)
    (_check_questions if task == "qa" else _check_texts)(params)


def _check_second_validation(params: Params) -> None:
    data = params.data
    if data.source != "files" and data.mismatched != NO_FILE:
        raise ValueError(
            f"data.mismatched is {data.mismatched!r} but data.source is {data.source!r}, which reads no files: set it"
            f" to {NO_FILE}, or data.source to files"
        )
    if data.source != "hub" and data.mismatched_split is not None:
        raise ValueError(
            f"data.mismatched_split is {data.mismatched_split!r} but data.source is {data.source!r}: set it to null,"
            " or data.source to hub"
        )


def _check_questions(params: Params) -> None:
    data, features = params.data, params.features
    if features.doc_stride >= features.max_length:
        raise ValueError(
            f"features: doc_stride {features.doc_stride} must be smaller than max_length {features.max_length}"
        )
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
        pair = data.embedded != "sentences"
        if pair != (data.text_pair is not None):
            fix = "name its column of second texts, sentence2" if pair else "set it to null"
            raise ValueError(f"data.text_pair is {data.text_pair!r} but data.embedded is {data.embedded!r}: {fix}")
    columns = [name for name in (data.text, data.text_pair, data.label, data.id) if name is not None]
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(
            f"data: two of text, text_pair, label and id name the column {twice[0]!r}: name each column once"
        )
    if data.labels is not None:
        if task == "regression":
            raise ValueError(
                f"data.labels is {data.labels} but task is 'regression', which has no classes: set it to null"
            )
        if len(data.labels) < 2 or len(set(data.labels)) != len(data.labels):
            raise ValueError(f"data.labels is {data.labels}: give two classes or more, each once, or null")
