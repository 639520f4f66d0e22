"""Entities of a text: `python -m distill.tag "text" [--model data/export/kd/1]`.

The text is split into words as in training data with character spans (`data.sources.pre_tokens`), long ones are read in
overlapping windows, and the tags of the words are read in strict mode (`tasks.entities`), by which models are scored;
of a checkpoint, which does not say in which scheme its tags are, in default mode.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from scipy.special import softmax

from distill.data.features import word_features
from distill.data.sources import pre_tokens, tag_schemes
from distill.errors import UserError
from distill.inference import cli, lines
from distill.inference.files import command as files
from distill.inference.model import Model, load
from distill.inference.verb import Field, Verb

# Settings for checkpoints, which hold none.
_DEFAULTS = {"temperature": 1.0, "doc_stride": 128}


def tag(model: Model, texts: Sequence[str]) -> list[dict[str, Any]]:
    """A model's entities in texts.

    Returns:
        for each text `{"entities": [{"start", "end", "label", "text", "confidence"}]}`, characters from the first to
        before the last, in order. The confidence, 0–1, is the least of its words' probabilities of their tags: softmax
        of the logits divided by the model's temperature.

    Raises:
        UserError: a text is empty or no Unicode, the model gives no tags, or it is broken: a logit is not finite.
    """
    from distill.tasks import entities  # needs seqeval, which no other command does

    settings = model.settings
    if settings.task != "token_classification":
        command = "answer" if settings.task == "qa" else "classify"
        raise UserError(f"the model is one for {settings.task}: use `python -m distill.{command}`")
    names = settings.labels
    if strange := [name for name in names if not tag_schemes.is_tag(name)]:
        raise UserError(f"the model's class {strange[0]!r} is no tag: its classes must be O, and tags such as B-PER")
    rows = []
    for number, text in enumerate(texts, start=1):
        if problem := lines.text_problem(text):
            raise UserError(f"text {number}: {problem}")
        starts, ends = zip(*pre_tokens.words(text), strict=True)
        rows.append({"id": str(number), "text": text, "starts": starts, "ends": ends, "tags": None})
    outside = names.index("O")
    encoded = word_features.encode(rows, model.tokenizer, settings.max_length, settings.doc_stride, outside)
    table = pa.Table.from_batches([batch for batch, _ in encoded])
    logits, _ = model.logits(table)
    if not np.isfinite(logits).all():
        raise UserError("logits: not finite: the model is broken: train it again with a lower learning rate")
    shares = softmax(logits.astype(np.float64) / settings.temperature, axis=1)
    sizes = [len(row["starts"]) for row in rows]
    tags = entities.of_words(table, logits.argmax(1), sizes, outside)
    sure = entities.of_words(table, shares.max(1), sizes, 1.0)
    found = entities.find([[names[number] for number in of_text] for of_text in tags], settings.scheme)
    return [
        {"entities": [_described(row, entity, values) for entity in of_text]}
        for row, of_text, values in zip(rows, found, sure, strict=True)
    ]


def _described(row: dict[str, Any], entity: Any, sure: Sequence[float]) -> dict[str, Any]:
    start, end = row["starts"][entity.start], row["ends"][entity.end - 1]
    confidence = round(float(min(sure[entity.start : entity.end])), 6)
    return {"start": start, "end": end, "label": entity.kind, "text": row["text"][start:end], "confidence": confidence}


def _lines(result: dict[str, Any]) -> list[str]:
    """A result as text for people."""
    pattern = "{label}  {text}  ({confidence:.2f}, characters {start}–{end})"
    found = [pattern.format(**entity) for entity in result["entities"]]
    return found or ["(no entity)"]


class Entity(BaseModel):
    """An entity: characters from `start` to before `end`."""

    start: int
    end: int
    label: str
    text: str
    confidence: float


class Result(BaseModel):
    """The entities of a text, in order."""

    entities: list[Entity]


VERB = Verb(
    name="tag",
    summary="Find the entities of a text.",
    tasks=("token_classification",),
    fields={"text": Field("the text")},
    result=Result,
    ask=lambda model, rows: tag(model, [row["text"] for row in rows]),
    defaults=_DEFAULTS,
    columns=lambda settings: {"entities": pa.string()},
    cells=lambda result: {"entities": json.dumps(result["entities"], ensure_ascii=False)},
)


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = cli.parser("distill.tag", VERB.summary)
    parser.add_argument("text", nargs="?", help='or - to read lines of JSON from stdin: {"text": …}')
    files.add_options(parser)
    options = parser.parse_args(words)
    from_file = files.wanted(parser, options, options.text)
    path = cli.model_path(options.model)
    model = load(path, options.int8, defaults=_DEFAULTS, runtime=options.runtime)
    if from_file:
        files.run(VERB, model, path, options, {})
        return
    if options.text == "-":
        lines.answer(sys.stdin, ("text",), (), lambda rows: tag(model, [row["text"] for row in rows]))
        return
    (result,) = tag(model, [options.text])
    print(json.dumps(result, ensure_ascii=False, indent=2) if options.json else "\n".join(_lines(result)))
