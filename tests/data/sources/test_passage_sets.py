"""Queries with passages from files and the hub: what is read, and one line for what is wrong."""

import json
import math

import pytest

from distill.data.sources import passage_sets, query_groups
from distill.data.sources.text_sets import Columns
from distill.errors import UserError
from tests.helpers import rankings


def columns(**changes):
    given = {"text": "query", "text_pair": "passage", "label": "label", "id": None, "numeric": True}
    return Columns(**(given | {"strip_html": False} | changes))


def load(tmp_path, content, name="train.jsonl", split="train", **changes):
    path = tmp_path / name
    path.write_text("".join(json.dumps(item) + "\n" for item in content) if isinstance(content, list) else content)
    return passage_sets.load_files({split: path}, columns(**changes))[split]


def values(rows):
    return [(row["id"], row["query"], row["text"], row["text_pair"], row["label"]) for row in rows]


GROUP = {"query": "where?", "passages": [{"text": "here", "label": 2}, {"text": " there ", "label": 0}]}
EXPECTED = [("0/0", "0", "where?", "here", 2.0), ("0/1", "0", "where?", "there", 0.0)]


def test_groups_with_and_without_ids(tmp_path):
    named = {"id": 7, "query": "who?", "passages": [{"id": "p1", "text": "I", "label": True}]}
    rows = load(tmp_path, [GROUP, named])
    assert values(rows) == [*EXPECTED, ("7/p1", "7", "who?", "I", 1.0)]
    other = {"question": "where?", "passages": [{"passage": "here", "score": 2}, {"passage": "there", "score": 0}]}
    assert values(load(tmp_path, [other], text="question", label="score")) == EXPECTED


def test_flat_rows_of_one_query_are_a_group_wherever_they_stand(tmp_path):
    table = "query\tpassage\tlabel\nwhere?\there\t2\nwho?\tI\t1\nwhere?\tthere\t0\n"
    assert values(load(tmp_path, table, "train.tsv")) == [*EXPECTED, ("1/0", "1", "who?", "I", 1.0)]
    table = "qid,n,query,passage,label\nA,x,where?,here,2\nB,y,who?,I,1\nA,z,where?,there,0\n"
    rows = load(tmp_path, table, "train.csv", id="n", group="qid")
    assert [(row["id"], row["query"]) for row in rows] == [("x", "A"), ("z", "A"), ("y", "B")]


def test_triples_have_no_header_and_may_repeat_a_passage(tmp_path, capsys):
    lines = "where?\there\tthere\nwho?\tI\tyou\nwhere?\there\tnowhere\n"
    found = [(row["text"], row["text_pair"], row["label"]) for row in load(tmp_path, lines, "train.tsv")]
    assert found[:3] == [("where?", "here", 1.0), ("where?", "there", 0.0), ("where?", "nowhere", 0.0)]
    assert found[3:] == [("who?", "I", 1.0), ("who?", "you", 0.0)]
    assert "read as triples" in capsys.readouterr().out


def test_the_transfer_set_has_no_labels_whatever_stands_there(tmp_path):
    rows = load(tmp_path, [GROUP, {"query": "who?", "passages": [{"text": "I"}]}], split="transfer")
    assert len(rows) == 3 and all(math.isnan(row["label"]) for row in rows)


def test_queries_without_any_label_are_left_out_aloud(tmp_path, capsys):
    rows = load(tmp_path, [GROUP, {"query": "who?", "passages": [{"text": "I"}, {"text": "you", "label": None}]}])
    assert values(rows) == EXPECTED
    assert "dropped 1 queries without relevance" in capsys.readouterr().out


def test_datasets_of_the_hub_may_hold_objects_of_lists(tmp_path):
    folder = tmp_path / "msmarco"
    folder.mkdir()
    passages = {"is_selected": [0, 1], "passage_text": ["there", "here"], "url": ["a", "b"]}
    (folder / "train.jsonl").write_text(json.dumps({"query": "where?", "passages": passages}) + "\n")
    names = columns(text_pair="passage_text", label="is_selected")
    rows = passage_sets.load_hub(str(folder), None, None, {"train": "train"}, names)["train"]
    assert values(rows) == [("0/0", "0", "where?", "there", 0.0), ("0/1", "0", "where?", "here", 1.0)]


ONE = {"text": "here", "label": 1}
BAD = {
    "no passage": (
        [{"query": "a", "passages": []}],
        "line 1, passages: is empty; give the query a passage, or remove it",
    ),
    "no list": ([{"query": "a", "passages": "b"}], 'line 1, passages: is "b"; write a list of {"text": …'),
    "negative": (
        [{"query": "a", "passages": [ONE | {"label": -1}]}],
        "line 1, passages[0], label: is -1; relevance is a whole number from 0 on",
    ),
    "share": (
        [{"query": "a", "passages": [ONE | {"label": 0.5}]}],
        "line 1, passages[0], label: is 0.5; relevance is a whole",
    ),
    "word": (
        [{"query": "a", "passages": [ONE | {"label": "good"}]}],
        'line 1, passages[0], label: is "good"; relevance is a whole',
    ),
    "twice": (
        [GROUP, GROUP],
        'line 2, query: "where?" is the query of line 1 too; put all its passages into one group',
    ),
    "same id": (
        [{"id": "x", "query": query, "passages": [ONE]} for query in ("a", "b")],
        'line 2: query id "x" is used in line 1 too; give every query an id of its own',
    ),
    "equal": (
        [{"query": "a", "passages": [ONE, ONE | {"label": 3}]}],
        'line 1, passages[1], passage "here": is a passage of query "a" already, in line 1, passages[0], with another'
        " relevance; name each",
    ),
    "equal with an id": (
        [{"query": "a", "passages": [ONE | {"id": "x"}, ONE | {"id": "y"}]}],
        'line 1, passages[1], passage "here": is a passage of query "a" already, in line 1, passages[0]; name each',
    ),
    "half labelled": (
        [{"query": "a", "passages": [ONE, {"text": "b"}]}],
        'line 1, passages[1], passage "b": has no relevance, and others of the query have; give it one',
    ),
    "lists of two lengths": (
        [{"query": "a", "passages": {"text": ["b", "c"], "label": [1]}}],
        'line 1, passages: is {"text": ["b", "c"], "label": [1]}; write a list of',
    ),
    "empty": ([{"query": " ", "passages": [ONE]}], "line 1, query: is empty; write a text or remove it"),
    "no query": ([{"text": "a", "passages": [ONE]}], 'line 1: has no "query" beside its passages; write {"query"'),
    "no label": (
        [{"query": "a", "passages": [{"text": "b"}]}],
        "queries: no query has passages with relevance; add some",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_group_is_refused_in_one_line(tmp_path, name):
    content, expected = BAD[name]
    with pytest.raises(UserError) as error:
        load(tmp_path, content)
    assert str(error.value).startswith(f"{tmp_path}/train.jsonl: {expected}") and "\n" not in str(error.value)


@pytest.mark.parametrize("split", ["train", "transfer"])
def test_a_passage_that_is_repeated_counts_once_and_is_told(tmp_path, split, capsys):
    """As WikiQA has it: the same sentence of a page twice, with the same relevance."""
    group = {"query": "a", "passages": [ONE, {"text": "b", "label": 0}, ONE, ONE]}
    path = tmp_path / f"{split}.jsonl"
    path.write_text(json.dumps(group) + "\n")
    (rows,) = passage_sets.load_files({split: path}, columns()).values()
    assert [row["text_pair"] for row in rows] == [ONE["text"], "b"] and [row["id"] for row in rows] == ["0/0", "0/1"]
    assert f"dropped 2 passages that their query has already: {path}" in capsys.readouterr().out
    path = tmp_path / f"{split}.csv"
    path.write_text("query,passage,label\na,here,1\na,b,0\na,here,1\n")
    (rows,) = passage_sets.load_files({split: path}, columns()).values()
    assert [row["text_pair"] for row in rows] == ["here", "b"]
    assert f"dropped 1 passages that their query has already: {path}" in capsys.readouterr().out


FLAT = {
    "other query": ("A,where?,here,1\nA,who?,there,0\n", 'line 3, column "query": is "who?", and line 2 has "where?"'),
    "other group": ("A,where?,here,1\nB,where?,there,0\n", 'line 3, column "qid": is "B", and the same query has "A"'),
    "nan": ("A,where?,here,nan\n", 'line 2, label: is "nan"; relevance is a whole number from 0 on'),
    "equal": ("A,where?,here,1\nA,where?,here,0\n", 'line 3, passage "here": is a passage of query "where?" already'),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_bad_row_is_refused_in_one_line(tmp_path, name):
    content, expected = FLAT[name]
    with pytest.raises(UserError) as error:
        load(tmp_path, f"qid,query,passage,label\n{content}", "train.csv", group="qid")
    assert str(error.value).startswith(f"{tmp_path}/train.csv: {expected}")


def test_a_missing_column_or_value_is_named(tmp_path):
    with pytest.raises(
        UserError, match='line 2: has no column "text"; set data.text_pair to one of "query", "passage"'
    ):
        load(tmp_path, "query,passage,label\nwhere?,here,1\n", "train.csv", text_pair="text")
    with pytest.raises(UserError, match="line 2: has 2 values, not three; write query, relevant passage, irrelevant"):
        load(tmp_path, "a\tb\tc\nd\te\n", "train.tsv")


def test_a_passage_cannot_be_relevant_and_irrelevant(tmp_path):
    with pytest.raises(UserError, match='line 2, passage "there": is relevant in one place and irrelevant in another'):
        load(tmp_path, "where?\there\tthere\nwhere?\tthere\there\n", "train.tsv")


def graded(*grades):
    return [row | {"label": float(grade)} for row, grade in zip(rankings.rows([len(grades)]), grades, strict=True)]


def test_training_groups_teach_an_order_and_keep_the_best_passages():
    groups = [graded(1), graded(0, 0), graded(1, 1, 1), graded(0, 1), graded(0, 0, 3, 1, 2, 0, 0)]
    rows = [row | {"query": str(number)} for number, group in enumerate(groups) for row in group]
    left, counts = query_groups.teaching(rows, 4, seed=1)
    assert [(row["query"], row["label"]) for row in left[:2]] == [("3", 0.0), ("3", 1.0)]
    assert sorted(row["label"] for row in left[2:]) == [0.0, 1.0, 2.0, 3.0]
    numbers = [row["id"] for row in left[2:]]
    assert numbers == sorted(numbers) and counts == {"alone": 1, "equal": 2, "cut": 1, "passages": 3}
    assert query_groups.line(counts, 2, 4) == (
        "2 groups to train on; left out, as they teach no order: 1 of one passage, 2 whose passages are equally"
        " relevant; 1 cut to 4 passages (data.max_passages), which left out 3"
    )
    other = {tuple(row["id"] for row in query_groups.teaching(rows, 4, seed)[0]) for seed in range(8)}
    assert len(other) > 1  # the irrelevant one is drawn
    three, _ = query_groups.teaching(graded(1, 3, 2, 3), 2, seed=1)
    assert [row["label"] for row in three] == [1.0, 3.0]  # something must be worse than the best


def test_without_labels_groups_are_cut_alone_and_draws_take_whole_queries():
    rows = rankings.rows([1, 2, 6], labelled=False)
    left, counts = query_groups.taught(rows, 4, seed=1)
    assert [row["query"] for row in left] == ["q1"] * 2 + ["q2"] * 4
    assert counts == {"alone": 1, "equal": 0, "cut": 1, "passages": 2}
    rows = rankings.rows([2, 3, 4, 5])
    drawn = query_groups.limit(rows, 2, seed=3)
    queries = {row["query"] for row in drawn}
    assert len(queries) == 2 and drawn == [row for row in rows if row["query"] in queries]
    assert query_groups.limit(rows, 1, seed=3)[0]["query"] in queries and query_groups.limit(rows, 4, 1) is rows
    once = query_groups.once(rows)
    assert [row["query"] for row in once] == ["q0", "q1", "q2", "q3"] and once[0]["text_pair"] is None
    assert query_groups.kept(rows, once[1:2]) == rows[2:5]
