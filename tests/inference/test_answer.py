"""Answers to single questions: the best span by a search written out, in contexts of one window and of several."""

import io
import json
import math

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from distill.errors import UserError
from distill.inference import answer
from distill.inference.model import Model, load
from tests.helpers import tiny

SETTINGS = {"max_length": 32, "doc_stride": 6, "n_best": 64, "max_answer_length": 5}
SHORT = ("w3 w4?", "w1 w2 w3, w4 w5 w6 w7.")
LONG = ("w3 w4?", " ".join(f"w{(7 * i) % 35}" for i in range(70)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """A question-answering checkpoint as transformers saves one."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny.model("bert", layers=1).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


def loaded(checkpoint: str, **given) -> Model:
    return load(checkpoint, False, SETTINGS | given, answer._DEFAULTS)


def searched(checkpoint: str, question: str, context: str) -> tuple[dict[tuple[int, int], float], float]:
    """All spans' scores by their characters, and the null score: every pair of tokens in every window, in float64."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForQuestionAnswering.from_pretrained(checkpoint).double().eval()
    encoded = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=SETTINGS["max_length"],
        stride=SETTINGS["doc_stride"],
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    spans, null = {}, math.inf
    for window in encoded.encodings:
        row = {"input_ids": window.ids, "token_type_ids": window.type_ids, "attention_mask": window.attention_mask}
        with torch.no_grad():
            found = model(**{name: torch.tensor([values]) for name, values in row.items()})
        start, end = found.start_logits[0].tolist(), found.end_logits[0].tolist()
        null = min(null, start[0] + end[0])
        inside = [i for i, part in enumerate(window.sequence_ids) if part == 1]
        for first in inside:
            for last in inside:
                if first <= last < first + SETTINGS["max_answer_length"]:
                    place = (window.offsets[first][0], window.offsets[last][1])
                    spans[place] = max(spans.get(place, -math.inf), start[first] + end[last])
    return spans, null


@pytest.mark.parametrize("question", [SHORT, LONG], ids=["one window", "several windows"])
def test_the_answer_is_the_best_span_of_all_windows(checkpoint, question):
    spans, null = searched(checkpoint, *question)
    (found,) = answer.answer(loaded(checkpoint, threshold=None), [question])
    ranked = sorted(spans, key=lambda place: -spans[place])
    assert (found.start, found.end) == ranked[0] and found.text == question[1][slice(*ranked[0])]
    assert found.null_odds == pytest.approx(null - spans[ranked[0]], abs=1e-5)
    assert [(one.start, one.end) for one in found.candidates[:5]] == ranked[:5]


@pytest.mark.parametrize("question", [SHORT, LONG], ids=["one window", "several windows"])
@pytest.mark.parametrize("threshold", [None, -100.0, 100.0])
def test_confidence_is_a_share_among_the_candidates_and_no_answer(checkpoint, question, threshold):
    spans, null = searched(checkpoint, *question)
    best = sorted(spans.values(), reverse=True)[: SETTINGS["n_best"]]
    (found,) = answer.answer(loaded(checkpoint, threshold=threshold, temperature=1.7), [question])
    odds = [math.exp(score / 1.7) for score in best]
    none = 0.0 if threshold is None else math.exp(null / 1.7)
    shown = none if threshold == -100.0 else odds[0]
    assert found.confidence == pytest.approx(shown / (sum(odds) + none), abs=1e-5)
    assert (found.text == "") == (threshold == -100.0) == (found.start is None)


def test_the_threshold_is_on_the_null_odds_and_equal_keeps_the_answer(checkpoint):
    (first,) = answer.answer(loaded(checkpoint), [SHORT])
    for threshold, answered in ((first.null_odds, True), (first.null_odds - 1e-3, False)):
        (found,) = answer.answer(loaded(checkpoint, threshold=threshold), [SHORT])
        assert bool(found.text) == answered


def test_many_questions_at_once_are_answered_as_one_by_one(checkpoint):
    model, questions = loaded(checkpoint), [LONG, SHORT, ("w9 w8?", "w9"), LONG, ("w1?", LONG[1][:60])] * 5
    together = answer.answer(model, questions)
    alone = [answer.answer(model, [question])[0] for question in questions[:5]] * 5
    assert [one.text for one in together] == [one.text for one in alone]
    assert [one.confidence for one in together] == pytest.approx([one.confidence for one in alone], abs=1e-5)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (("", "w1"), "question 1: question: is empty"),
        (("w1", " "), "question 1: context: is empty"),
        ((" ".join(["w1"] * 40), "w1 w2"), "leave room for 0 of the context"),
    ],
)
def test_what_cannot_be_answered_is_refused(checkpoint, question, message):
    with pytest.raises(UserError, match=message):
        answer.answer(loaded(checkpoint), [question])


def test_a_context_without_a_token_has_no_answer(checkpoint):
    (found,) = answer.answer(loaded(checkpoint, threshold=None), [("w1", "\u200b")])
    assert (found.text, found.start, found.candidates) == ("", None, [])


def test_the_command_prints_text_and_json(checkpoint, capsys):
    words = [*SHORT, "--model", checkpoint, "--always"]
    (found,) = answer.answer(load(checkpoint, False, {"threshold": None}, answer._DEFAULTS), [SHORT])
    answer.main(words)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == found.text and f"characters {found.start}–{found.end}" in shown[1]
    answer.main([*words, "--json", "--n-best", "3"])
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == found.text == SHORT[1][told["start"] : told["end"]]
    assert [one["text"] for one in told["candidates"]] == [one.text for one in found.candidates[:3]]
    answer.main([*SHORT, "--model", checkpoint, "--threshold", "-1000"])
    assert capsys.readouterr().out.startswith("(the context has no answer)")


def test_the_command_reads_lines_of_json(checkpoint, capsys, monkeypatch):
    rows = [{"id": f"q{i}", "question": SHORT[0], "context": " ".join(LONG[1].split()[i : i + 9])} for i in range(70)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(json.dumps, rows)) + "\n\n"))
    answer.main(["-", "--model", checkpoint, "--always"])
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["id"] for one in told] == [row["id"] for row in rows]
    assert all(row["context"][one["start"] : one["end"]] == one["text"] for row, one in zip(rows, told, strict=True))


@pytest.mark.parametrize("words", [["w1"], ["-", "w1"], ["w1", "w2", "--n-best", "0"]])
def test_words_that_make_no_command_end_with_the_usage(words, capsys):
    with pytest.raises(SystemExit):
        answer.main(words)
    assert "usage:" in capsys.readouterr().err
