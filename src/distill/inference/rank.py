"""Put passages in order: `python -m distill.rank "query" "passage" "passage" … [--model data/export/kd/1]`.

Scores are comparable among the passages of one query, and with nothing else.
"""

from __future__ import annotations

import json
import reprlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from distill.data.features import text_features
from distill.errors import UserError
from distill.inference import cli, lines
from distill.inference.model import Model, load
from distill.inference.verb import Field, Verb

# A checkpoint with one output: whether it was trained to rank or to give numbers cannot be seen in others' models.
_TASKS = ("ranking", "regression")
_COMMANDS = {"qa": "distill.answer", "classification": "distill.classify"}


def rank(model: Model, groups: Sequence[tuple[str, Sequence[str]]]) -> list[list[dict[str, Any]]]:
    """The passages of queries, best first.

    Args:
        groups: queries with their passages.

    Returns:
        for each query a list of `{"index": number of the passage as given, from 0, "score": number, "passage": text}`;
        of equal scores the first one given comes first

    Raises:
        UserError: a text is empty or no Unicode, a query has no passage, the model is none that ranks, or it is broken:
            a logit is not finite.
    """
    settings = model.settings
    if settings.task not in _TASKS or settings.pairs is False:
        command = _COMMANDS.get(settings.task, "distill.classify")
        raise UserError(f"the model is one for {settings.task}, and does not rank passages: use `python -m {command}`")
    for number, (query, passages) in enumerate(groups, start=1):
        if not passages:
            raise UserError(f"query {number}: passages: there are none: give one or more")
        named = {"query": query} | {f"passages[{i}]": text for i, text in enumerate(passages)}
        for name, text in named.items():
            if problem := lines.text_problem(text):
                raise UserError(f"query {number}: {name}: {problem}")
    rows = [{"text": query, "text_pair": passage, "label": 0.0} for query, passages in groups for passage in passages]
    encoded = text_features.encode(rows, model.tokenizer, settings.max_length, numeric=True)
    logits, _ = model.logits(pa.Table.from_batches([batch for batch, _ in encoded]))
    if not np.isfinite(logits).all():
        raise UserError("logits: not finite: the model is broken: train it again with a lower learning rate")
    scores, start, found = logits[:, 0].astype(np.float64), 0, []
    for _, passages in groups:
        own = scores[start : start + len(passages)]
        start += len(passages)
        order = np.argsort(-own, kind="stable").tolist()
        found.append([{"index": i, "score": round(float(own[i]), 6), "passage": passages[i]} for i in order])
    return found


class Ranked(BaseModel):
    """A passage: its number as given, from 0, its score, and its text."""

    index: int
    score: float
    passage: str


class Result(BaseModel):
    """The passages of a query, best first."""

    passages: list[Ranked]


def _ask(model: Model, rows: lines.Rows) -> lines.Rows:
    return [{"passages": ranked} for ranked in rank(model, [(row["query"], row["passages"]) for row in rows])]


VERB = Verb(
    name="rank",
    summary="Put passages in order by how relevant they are to a query.",
    tasks=("ranking",),
    fields={"query": Field("the query"), "passages": Field("its passages", list[str])},
    result=Result,
    ask=_ask,
    defaults={},
    columns=lambda settings: {"passages": pa.string()},
    cells=lambda result: {"passages": json.dumps(result["passages"], ensure_ascii=False)},
)


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = cli.parser("distill.rank", VERB.summary)
    parser.add_argument("query", help='or - to read lines of JSON from stdin: {"query": …, "passages": ["…", …]}')
    parser.add_argument("passages", nargs="*", metavar="passage")
    options = parser.parse_args(words)
    if (options.query == "-") == bool(options.passages):
        parser.error("give a query and its passages, or - alone")
    model = load(cli.model_path(options.model), options.int8, runtime=options.runtime)
    if options.query == "-":

        def ask(rows: lines.Rows) -> lines.Rows:
            return _ask(model, rows)

        lines.answer(sys.stdin, ("query",), (), ask, {"passages": _check_passages})
        return
    (result,) = rank(model, [(options.query, options.passages)])
    if options.json:
        print(json.dumps({"passages": result}, ensure_ascii=False, indent=2))
    else:
        print("\n".join(f"{entry['score']:9.4f}  {entry['passage']}" for entry in result))


def _check_passages(value: Any) -> None:
    """Raise a UserError where a line's passages are no list of texts."""
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise UserError(f"passages: {reprlib.repr(value)}: give a list of texts")
