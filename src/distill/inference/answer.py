"""Ask a model a question about a text: `python -m distill.answer "question" "context" [--model data/export/ted/1]`.

Contexts of any length, by overlapping windows; the same windows and the same search as the stage evaluate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from scipy.special import softmax

from distill.data.features import question_features
from distill.errors import UserError
from distill.inference import cli, lines
from distill.inference.files import command as files
from distill.inference.model import Model, Settings, load
from distill.inference.verb import Field, Verb
from distill.tasks import spans as answers

# Settings for checkpoints, which hold none: those of transformers' own examples for SQuAD.
_DEFAULTS = {"max_length": 384, "doc_stride": 128, "n_best": 20, "max_answer_length": 30}
_DEFAULTS |= {"threshold": 0.0, "pairs": True, "temperature": 1.0}


@dataclass(frozen=True)
class Candidate:
    """A place in the context: characters from `start` to before `end`; confidence 0–1."""

    text: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class Answer:
    """A model's answer to a question.

    Attributes:
        text: text of the answer, "" where the context has none.
        start, end: characters in the context, from `start` to before `end`; None where it has no answer.
        confidence: confidence (0–1) that this is the answer: softmax over the scores of the candidates and of "no
            answer", each divided by the model's temperature.
        null_odds: score of "no answer" minus that of the best candidate; above the threshold there is no answer.
        candidates: the best places, best first, also where the threshold says that there is no answer.
    """

    text: str
    start: int | None
    end: int | None
    confidence: float
    null_odds: float
    candidates: list[Candidate]


def answer(model: Model, questions: Sequence[tuple[str, str]]) -> list[Answer]:
    """Answers to (question, context) pairs.

    Raises:
        UserError: a question or context is empty or no Unicode, a question too long, or the model answers no
            questions.
    """
    settings = model.settings
    if settings.task != "qa":
        command = {"token_classification": "tag", "ranking": "rank"}.get(settings.task, "classify")
        raise UserError(f"the model is one for {settings.task}: use `python -m distill.{command}`")
    for number, (question, context) in enumerate(questions, start=1):
        for name, text in (("question", question), ("context", context)):
            if problem := lines.text_problem(text):
                raise UserError(f"question {number}: {name}: {problem}")
    no_gold = {"text": [], "answer_start": []}
    rows = [{"id": str(i + 1), "question": q, "context": c, "answers": no_gold} for i, (q, c) in enumerate(questions)]
    table = pa.Table.from_batches(
        list(question_features.encode(rows, model.tokenizer, settings.max_length, settings.doc_stride))
    )
    logits, offsets = model.logits(table)
    windows, contexts = answers.Windows.from_table(table), [context for _, context in questions]
    best = answers.search(windows, contexts, logits, offsets, settings.n_best, settings.max_answer_length)
    scores = answers.candidate_scores(best, settings.threshold is not None)
    scores[~np.isfinite(scores).any(1)] = 0  # no candidate at all: softmax would give NaN
    shares = softmax(scores / settings.temperature, axis=1)
    rows = zip(best.nbest, best.null_odds.tolist(), shares.tolist(), strict=True)
    return [_answer(spans, odds, share, settings.threshold) for spans, odds, share in rows]


def _answer(spans: list[answers.Span], odds: float, shares: list[float], threshold: float | None) -> Answer:
    """One answer; `shares` begin with that of "no answer" where there is a threshold."""
    no_answer = 0.0  # SQuAD v1.1: every question has an answer, so an empty one has no confidence
    if threshold is not None:
        no_answer, *shares = shares
    candidates = [Candidate(s.text, s.start, s.end, share) for s, share in zip(spans, shares, strict=False)]
    if not spans or (threshold is not None and odds > threshold):
        return Answer("", None, None, no_answer, odds, candidates)
    best = candidates[0]
    return Answer(best.text, best.start, best.end, best.confidence, odds, candidates)


def _described(result: Answer, shown: int) -> dict[str, Any]:
    """An answer as JSON values, with `shown` candidates at most."""
    described = asdict(result)
    return described | {"candidates": described["candidates"][:shown]}


def _lines(result: Answer, shown: int) -> list[str]:
    """An answer as text for people, with `shown` candidates at most."""
    place = f", characters {result.start}–{result.end} of the context" if result.text else ""
    shown_lines = [result.text or "(the context has no answer)", f"confidence {result.confidence:.2f}{place}"]
    if shown > 1:
        shown_lines += [
            f"{rank}. {span.text}  (confidence {span.confidence:.2f}, characters {span.start}–{span.end})"
            for rank, span in enumerate(result.candidates[:shown], start=1)
        ]
    return shown_lines


class Result(BaseModel):
    """An answer: its text, its place in the context, and the candidates. See `Answer`."""

    text: str
    start: int | None
    end: int | None
    confidence: float
    null_odds: float
    candidates: list[Candidate]


def _ask(model: Model, rows: lines.Rows, shown: int = 1) -> lines.Rows:
    results = answer(model, [(row["question"], row["context"]) for row in rows])
    return [_described(result, shown) for result in results]


def _columns(settings: Settings) -> dict[str, pa.DataType]:
    return {
        "answer": pa.string(),
        "start": pa.int64(),
        "end": pa.int64(),
        "confidence": pa.float64(),
        "null_odds": pa.float64(),
    }


VERB = Verb(
    name="answer",
    summary="Answer a question from a text.",
    tasks=("qa",),
    fields={"question": Field("the question"), "context": Field("the text that may hold the answer")},
    result=Result,
    ask=_ask,
    defaults=_DEFAULTS,
    columns=_columns,
    cells=lambda result: result | {"answer": result["text"]},
)


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = cli.parser("distill.answer", VERB.summary)
    stdin = 'or - to read lines of JSON from stdin: {"question": …, "context": …}'
    parser.add_argument("question", nargs="?", help=stdin)
    parser.add_argument("context", nargs="?")
    parser.add_argument("--n-best", type=int, default=1, metavar="N", help="show that many candidates (default: 1)")
    parser.add_argument("--threshold", type=float, metavar="T", help="on the null odds, in place of the model's own")
    parser.add_argument("--always", action="store_true", help="never say that there is no answer")
    files.add_options(parser)
    options = parser.parse_args(words)
    from_file = files.wanted(parser, options, options.question)
    if not from_file and (options.question == "-") == (options.context is not None):
        parser.error("give a question and its context, or - alone")
    if options.n_best < 1:
        parser.error("--n-best: give 1 or more")
    path, overrides = cli.model_path(options.model), _overrides(options)
    model = load(path, options.int8, overrides, _DEFAULTS, options.runtime)
    ask = partial(_ask, shown=options.n_best)
    if from_file:
        files.run(replace(VERB, ask=ask), model, path, options, overrides)
        return
    if options.question == "-":
        lines.answer(sys.stdin, ("question", "context"), (), partial(ask, model))
        return
    (result,) = answer(model, [(options.question, options.context)])
    if options.json:
        print(json.dumps(_described(result, options.n_best), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_lines(result, options.n_best)))


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    if options.always:
        return {"threshold": None}
    return {} if options.threshold is None else {"threshold": options.threshold}
