"""Classify a text or a pair: `python -m distill.classify "text" ["second text"] [--model data/export/kd/1]`.

A model of a regression task gives a number, one of several labels per text all labels that it says.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from scipy.special import expit, softmax

from distill.data.features import text_features
from distill.errors import UserError
from distill.inference import cli, lines
from distill.inference.files import command as files
from distill.inference.model import Model, Settings, load
from distill.inference.verb import Field, Verb
from distill.tasks import thresholds

# Settings for checkpoints, which hold none; whether they take one text or two stays unknown.
_DEFAULTS = {"temperature": 1.0}

# Classes up to which a table has a column for the probability of each.
_CLASS_COLUMNS = 50


def classify(model: Model, texts: Sequence[tuple[str, str | None]], tuned: bool = False) -> list[dict[str, Any]]:
    """A model's classes, or numbers, for texts or pairs of texts.

    Args:
        tuned: whether the class is the one that the decision tuned on the selection split says
            (`distill.tasks.decision`), not the likeliest; or the classes above thresholds that were tuned there
            (`distill.tasks.thresholds`), not above 0.5. Probabilities stay as they are.

    Returns:
        for each text `{"label": class, "confidence": 0–1, "probabilities": {class: 0–1}}`, the softmax of the logits
        divided by the model's temperature; or `{"value": number}` in regression; or, of several labels, `{"labels":
        [class, …], "probabilities": {class: 0–1}}`, whose probabilities are a sigmoid each.

    Raises:
        UserError: a text is empty or no Unicode, one text where two are needed or the reverse, the model answers
            questions or has no tuned decision, or it is broken: a logit is not finite.
    """
    settings = model.settings
    if settings.task == "qa":
        raise UserError("the model is one for questions: use `python -m distill.answer`")
    if settings.task == "token_classification":
        raise UserError("the model is one for the words of a text: use `python -m distill.tag`")
    if settings.task == "ranking":
        raise UserError("the model is one that ranks passages: use `python -m distill.rank`")
    if tuned and settings.offsets is None and settings.thresholds is None:
        raise UserError(
            "--tuned: the model has no tuned decision: name an exported folder of a classifier, or leave it"
        )
    _check(texts, settings.pairs)
    rows = [{"text": text, "text_pair": pair, "label": 0} for text, pair in texts]  # a label that nobody reads
    encoded = text_features.encode(rows, model.tokenizer, settings.max_length, numeric=settings.task == "regression")
    logits, _ = model.logits(pa.Table.from_batches([batch for batch, _ in encoded]))
    if not np.isfinite(logits).all():
        raise UserError("logits: not finite: the model is broken: train it again with a lower learning rate")
    if settings.task == "regression":
        return [{"value": value} for value in logits[:, 0].astype(np.float64).round(6).tolist()]
    if settings.task == "multi_label":
        return _label_sets(logits.astype(np.float64), model, tuned)
    said = logits.astype(np.float64) + settings.offsets if tuned else logits
    shares = softmax(logits.astype(np.float64) / settings.temperature, axis=1)
    return [
        {
            "label": settings.labels[best],
            "confidence": round(float(row[best]), 6),
            "probabilities": {name: round(float(p), 6) for name, p in zip(settings.labels, row, strict=True)},
        }
        for best, row in zip(said.argmax(1).tolist(), shares, strict=True)
    ]


def _label_sets(logits: np.ndarray, model: Model, tuned: bool) -> list[dict[str, Any]]:
    names, bounds = model.settings.labels, np.array(model.settings.thresholds) if tuned else None
    shares = expit(logits / model.settings.temperature)
    return [
        {
            "labels": [name for name, is_said in zip(names, row, strict=True) if is_said],
            "probabilities": {name: round(float(p), 6) for name, p in zip(names, probabilities, strict=True)},
        }
        for row, probabilities in zip(thresholds.decide(logits, bounds), shares, strict=True)
    ]


def _check(texts: Sequence[tuple[str, str | None]], pairs: bool | None) -> None:
    wanted = (texts[0][1] is not None) if pairs is None else pairs
    for number, (text, pair) in enumerate(texts, start=1):
        if (pair is not None) != wanted:
            needed = "pairs of texts: give a second one" if wanted else "single texts: give one"
            raise UserError(f"text {number}: the model takes {needed}")
        for value in (text, pair):
            if value is not None and (problem := lines.text_problem(value)):
                raise UserError(f"text {number}: {problem}")


def _lines(result: dict[str, Any]) -> list[str]:
    """A result as text for people: likely classes first."""
    if "value" in result:
        return [f"{result['value']:.4f}"]
    shares = sorted(result["probabilities"].items(), key=lambda item: -item[1])
    said = ", ".join(result["labels"]) or "none" if "labels" in result else result["label"]
    return [said, *(f"{share:.3f}  {name}" for name, share in shares)]


class Result(BaseModel):
    """A class, or several, with the probabilities of all; or, in regression, a number."""

    label: str | None = None
    labels: list[str] | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    value: float | None = None


def _ask(model: Model, rows: lines.Rows, tuned: bool = False) -> lines.Rows:
    return classify(model, [(row["text"], row.get("text_pair")) for row in rows], tuned)


def _columns(settings: Settings) -> dict[str, pa.DataType]:
    if settings.task == "regression":
        return {"value": pa.float64()}
    classes = {f"probability.{name}": pa.float64() for name in settings.labels}
    said = {"label": pa.string(), "confidence": pa.float64()}
    said = {"labels": pa.string()} if settings.task == "multi_label" else said
    return said | (classes if len(classes) <= _CLASS_COLUMNS else {})


def _cells(result: dict[str, Any]) -> dict[str, Any]:
    classes = {f"probability.{name}": share for name, share in result.get("probabilities", {}).items()}
    if "labels" in result:
        result = {"labels": json.dumps(result["labels"], ensure_ascii=False)}
    return result | (classes if len(classes) <= _CLASS_COLUMNS else {})


VERB = Verb(
    name="classify",
    summary="Classify a text, or a pair of texts; or give its number.",
    tasks=("classification", "multi_label", "regression"),
    fields={
        "text": Field("the text, or the first of a pair"),
        "text_pair": Field("the second text of a pair", required=False),
    },
    result=Result,
    ask=_ask,
    defaults=_DEFAULTS,
    columns=_columns,
    cells=_cells,
)


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = cli.parser("distill.classify", VERB.summary)
    parser.add_argument("text", nargs="?", help='or - to read lines of JSON from stdin: {"text": …, "text_pair": …}')
    parser.add_argument("text_pair", nargs="?")
    parser.add_argument(
        "--tuned",
        action="store_true",
        help="the class, or classes, by the decision that was tuned on the selection split",
    )
    files.add_options(parser)
    options = parser.parse_args(words)
    if options.text == "-" and options.text_pair is not None:
        parser.error("give a text or two, or - alone")
    from_file = files.wanted(parser, options, options.text)
    path = cli.model_path(options.model)
    model = load(path, options.int8, defaults=_DEFAULTS, runtime=options.runtime)
    ask = partial(_ask, tuned=options.tuned)
    if from_file:
        files.run(replace(VERB, ask=ask), model, path, options, {"tuned": options.tuned})
        return
    if options.text == "-":
        lines.answer(sys.stdin, ("text",), ("text_pair",), partial(ask, model))
        return
    (result,) = classify(model, [(options.text, options.text_pair)], options.tuned)
    print(json.dumps(result, ensure_ascii=False, indent=2) if options.json else "\n".join(_lines(result)))
