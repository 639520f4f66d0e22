"""Ask a model a question about a text: `python -m distill.answer "question" "context" [--model data/export/ted/1]`.

Contexts of any length, by overlapping windows; the same windows and the same search as the stage evaluate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from distill.data.features import question_features
from distill.errors import UserError
from distill.inference import cli
from distill.inference.model import Model, load
from distill.tasks import spans as answers

# For checkpoints, which do not say how they are asked: what transformers' own examples for SQuAD take.
_USUAL = {"max_length": 384, "doc_stride": 128, "n_best": 20, "max_answer_length": 30}
_USUAL |= {"threshold": 0.0, "pairs": True, "temperature": 1.0}


@dataclass(frozen=True)
class Candidate:
    """A place in the context: characters from `start` to before `end`; confidence 0–1."""

    text: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class Answer:
    """What a model says to a question.

    Attributes:
        text: of the answer, "" where the context has none.
        start, end: its characters in the context, None where there is none.
        confidence: 0–1, that this is the answer: softmax over the scores of the candidates and of "no answer", each
            divided by the model's temperature.
        null_odds: score of "no answer" minus that of the best candidate; above the threshold there is no answer.
        candidates: the best places, best first, whatever the threshold says.
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
        UserError: a question or context is empty, a question too long, or the model is none for questions.
    """
    settings = model.settings
    if settings.task != "qa":
        raise UserError(f"the model is one for {settings.task}: use `python -m distill.classify`")
    for number, (question, context) in enumerate(questions, start=1):
        if not question.strip() or not context.strip():
            raise UserError(f"question {number}: {'context' if question.strip() else 'question'}: is empty")
    none = {"text": [], "answer_start": []}
    rows = [{"id": str(i + 1), "question": q, "context": c, "answers": none} for i, (q, c) in enumerate(questions)]
    table = pa.Table.from_batches(
        list(question_features.encode(rows, model.tokenizer, settings.max_length, settings.doc_stride))
    )
    logits, offsets = model.logits(table)
    windows, contexts = answers.Windows.from_table(table), [context for _, context in questions]
    found = answers.search(windows, contexts, logits, offsets, settings.n_best, settings.max_answer_length)
    scores = answers.candidate_scores(found, settings.threshold is not None)
    scores[~np.isfinite(scores).any(1)] = 0  # nothing that could be answered: softmax would give NaN
    shares = softmax(scores / settings.temperature, axis=1)
    rows = zip(found.nbest, found.null_odds.tolist(), shares.tolist(), strict=True)
    return [_answer(spans, odds, share, settings.threshold) for spans, odds, share in rows]


def _answer(spans: list[answers.Span], odds: float, shares: list[float], threshold: float | None) -> Answer:
    """One answer; `shares` begin with that of "no answer" where there is a threshold."""
    none = [0.0]  # SQuAD v1.1: every question has an answer, so none found is none believed
    if threshold is not None:
        none, shares = shares[:1], shares[1:]
    candidates = [Candidate(s.text, s.start, s.end, share) for s, share in zip(spans, shares, strict=False)]
    if not spans or (threshold is not None and odds > threshold):
        return Answer("", None, None, none[0], odds, candidates)
    best = candidates[0]
    return Answer(best.text, best.start, best.end, best.confidence, odds, candidates)


def _described(found: Answer, shown: int) -> dict[str, Any]:
    """As JSON, with as many candidates as are asked for."""
    described = asdict(found)
    return described | {"candidates": described["candidates"][:shown]}


def _lines(found: Answer, shown: int) -> list[str]:
    """As text for people."""
    place = f", characters {found.start}–{found.end} of the context" if found.text else ""
    lines = [found.text or "(the context has no answer)", f"confidence {found.confidence:.2f}{place}"]
    if shown > 1:
        lines += [
            f"{rank}. {one.text}  (confidence {one.confidence:.2f}, characters {one.start}–{one.end})"
            for rank, one in enumerate(found.candidates[:shown], start=1)
        ]
    return lines


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = cli.parser("distill.answer", "Answer a question from a text.")
    parser.add_argument("question", help='or - to read lines of JSON from stdin: {"question": …, "context": …}')
    parser.add_argument("context", nargs="?")
    parser.add_argument("--n-best", type=int, default=1, metavar="N", help="show that many candidates (default: 1)")
    parser.add_argument("--threshold", type=float, metavar="T", help="on the null odds, in place of the model's own")
    parser.add_argument("--always", action="store_true", help="never say that there is no answer")
    options = parser.parse_args(words)
    if (options.question == "-") == (options.context is not None):
        parser.error("give a question and its context, or - alone")
    if options.n_best < 1:
        parser.error("--n-best: give 1 or more")
    model = load(cli.model_path(options.model), options.int8, _given(options), _USUAL)
    if options.question == "-":

        def ask(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            found = answer(model, [(row["question"], row["context"]) for row in rows])
            return [_described(one, options.n_best) for one in found]

        cli.stream(cli.json_lines(sys.stdin, ("question", "context"), ("id",)), ask)
        return
    (found,) = answer(model, [(options.question, options.context)])
    if options.json:
        print(json.dumps(_described(found, options.n_best), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_lines(found, options.n_best)))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    if options.always:
        return {"threshold": None}
    return {} if options.threshold is None else {"threshold": options.threshold}
