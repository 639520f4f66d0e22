"""Passages put in order, against transformers' own tokenizer and model in float64."""

import io
import json

import pytest

from distill.errors import UserError
from distill.inference import answer, classify, rank
from distill.inference.model import load
from tests.inference.test_classify import logits, saved

QUERY = "w1 w2 w3"
PASSAGES = ["w30 w4 w4 w8 w9 w10", "w7", "w5 w6 w5", "w7"]
LENGTH = {"max_length": 24}  # that of the reference


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return saved(tmp_path_factory.mktemp("ranker"), 1, id2label={0: "relevance"})


def expected(checkpoint, query, passages):
    scores = [logits(checkpoint, query, passage)[0] for passage in passages]
    return sorted(enumerate(scores), key=lambda item: -round(item[1], 6))


def test_passages_come_best_first_with_their_numbers_and_scores(checkpoint):
    model = load(checkpoint, False, LENGTH)
    assert model.settings.task == "ranking"
    queries = [(QUERY, PASSAGES), ("w9", PASSAGES[2:0:-1])]
    for (query, passages), found in zip(queries, rank.rank(model, queries), strict=True):
        wanted = expected(checkpoint, query, passages)
        assert [entry["index"] for entry in found] == [index for index, _ in wanted]
        assert [entry["score"] for entry in found] == pytest.approx([score for _, score in wanted], abs=1e-5)
        assert [entry["passage"] for entry in found] == [passages[index] for index, _ in wanted]


def test_lines_of_json_are_answered_or_refused_one_by_one(checkpoint, monkeypatch, capsys):
    rows = [
        {"id": 7, "query": QUERY, "passages": PASSAGES[:2]},
        {"query": QUERY, "passages": []},
        {"query": QUERY, "passages": ["w1", " "]},
        {"query": QUERY, "passage": "w1"},
        {"query": QUERY, "passages": ["w1"]},
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(json.dumps(row) + "\n" for row in rows)))
    with pytest.raises(UserError, match="3 of 5 lines have no answer, the first of them line 2: passages:"):
        rank.main(["-", "--model", checkpoint])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0]["id"] == 7 and [entry["index"] for entry in found[0]["passages"]] == [
        index for index, _ in expected(checkpoint, QUERY, PASSAGES[:2])
    ]
    errors = [line.get("error") for line in found]
    assert errors[1] == "line 2: passages: []: give a list of texts"
    assert errors[2] == "line 3: passages[1]: is empty"
    assert errors[3] == "line 4: passages: None: give a list of texts" and errors[4] is None


def test_the_command_prints_a_line_for_each_passage_or_json(checkpoint, capsys):
    wanted = expected(checkpoint, QUERY, PASSAGES[:3])
    rank.main([QUERY, *PASSAGES[:3], "--model", checkpoint])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines] == [PASSAGES[index] for index, _ in wanted]
    rank.main([QUERY, *PASSAGES[:3], "--model", checkpoint, "--json"])
    found = json.loads(capsys.readouterr().out)["passages"]
    assert [entry["index"] for entry in found] == [index for index, _ in wanted]


def test_other_models_and_other_commands_are_named(checkpoint, tmp_path):
    model, classes = load(checkpoint), load(saved(tmp_path, 3), defaults={"temperature": 1.0})
    with pytest.raises(UserError, match=r"use `python -m distill\.rank`"):
        classify.classify(model, [("w1", "w2")])
    with pytest.raises(UserError, match=r"the model is one for ranking: use `python -m distill\.rank`"):
        answer.answer(model, [("w1", "w2")])
    with pytest.raises(UserError, match=r"is one for classification, and does not rank .* distill\.classify`"):
        rank.rank(classes, [("w1", ["w2"])])
    with pytest.raises(UserError, match="query 1: passages: there are none"):
        rank.rank(model, [("w1", [])])
