"""Loading, and one test for every way in which the data can be wrong."""

import copy
import json
import re
from pathlib import Path

import pytest

from distill.data.sources import question_sets
from distill.errors import UserError
from tests.helpers.squad import CONTEXT, check_line, document, hub_row, question, refused, save


def test_rows_have_the_hugging_face_schema_in_the_files_order(tmp_path):
    impossible = question("b", None, is_impossible=True)
    path = save(tmp_path, document(question("a", is_impossible=False), impossible))
    rows = question_sets.load_squad_json(path, version_2=True)
    assert rows == [
        {
            "id": "a",
            "title": "Zürich",
            "context": CONTEXT,
            "question": "What is a?",
            "answers": {"text": ["Limmat"], "answer_start": [19]},
        },
        {
            "id": "b",
            "title": "Zürich",
            "context": CONTEXT,
            "question": "What is b?",
            "answers": {"text": [], "answer_start": []},
        },
    ]
    assert rows[0]["context"] is rows[1]["context"]


def test_version_1_drops_questions_without_an_answer(tmp_path):
    path = save(tmp_path, document(question("a"), question("b", None, is_impossible=True), question("c", None)))
    assert [row["id"] for row in question_sets.load_squad_json(path, version_2=False)] == ["a"]
    assert [row["id"] for row in question_sets.load_squad_json(path, version_2=True)] == ["a", "b", "c"]


def test_version_1_files_without_is_impossible_are_read(tmp_path):
    path = save(tmp_path, document(question("a"), question("b", "Lake Zürich", 49)))
    for version_2 in (False, True):
        assert len(question_sets.load_squad_json(path, version_2)) == 2


def test_impossible_question_may_leave_answers_out(tmp_path):
    bare = {"id": "b", "question": "Why?", "is_impossible": True, "plausible_answers": []}
    rows = question_sets.load_squad_json(save(tmp_path, document(question("a"), bare)), version_2=True)
    assert rows[1]["answers"] == {"text": [], "answer_start": []}


def test_offsets_count_code_points_and_all_answers_are_kept(tmp_path):
    context = "𝔘 and ß: naïve 東京 café"
    item = {
        "id": "a",
        "question": "?",
        "answers": [{"text": t, "answer_start": context.index(t)} for t in ("東京", "ß")],
    }
    rows = question_sets.load_squad_json(save(tmp_path, document(item, context=context)), version_2=True)
    assert rows[0]["answers"] == {"text": ["東京", "ß"], "answer_start": [15, 6]}


def test_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "bom.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(document(question("a"))).encode())
    assert len(question_sets.load_squad_json(path, version_2=True)) == 1


def test_missing_file(tmp_path):
    refused(str(tmp_path / "none.json"), "does not exist", "data.train")
    refused(str(tmp_path), "is a folder")


@pytest.mark.parametrize(
    ("content", "place"),
    [("", "line 1, column 1"), ('{"data": [\n  {"title": }]}', "line 2, column 13"), ("{}\n{}", "line 2, column 1")],
)
def test_malformed_json(tmp_path, content, place):
    refused(save(tmp_path, content), place, "malformed JSON")


def test_json_cut_off_half_way(tmp_path):
    whole = json.dumps(document(question("a"), question("b")), indent=1)
    refused(save(tmp_path, whole[: len(whole) // 2]), "line ", "malformed JSON")


def test_file_that_is_not_utf_8(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes(json.dumps(document(question("a")), ensure_ascii=False).encode("latin-1"))
    refused(str(path), "is not UTF-8", "save the file as UTF-8")


@pytest.mark.parametrize(
    "content", [[], [question("a")], "text", {"rows": []}, {"data": {"a": 1}}, {"data": [3]}, None]
)
def test_json_that_is_not_squad(tmp_path, content):
    content = json.dumps(content)
    refused(save(tmp_path, content))


@pytest.mark.parametrize(
    ("owner", "key", "place"),
    [
        ("article", "paragraphs", 'data[0] (article "Zürich"): '),
        ("paragraph", "context", 'data[0].paragraphs[0] (article "Zürich"): '),
        ("paragraph", "qas", 'data[0].paragraphs[0] (article "Zürich"): '),
        ("item", "id", "data[0].paragraphs[0].qas[1]: "),
        ("item", "question", 'data[0].paragraphs[0].qas[1] (question "b"): '),
        ("item", "answers", 'data[0].paragraphs[0].qas[1] (question "b"): '),
        ("answer", "text", 'qas[1] (question "b").answers[0]: '),
        ("answer", "answer_start", 'qas[1] (question "b").answers[0]: '),
    ],
)
def test_missing_key(tmp_path, owner, key, place):
    content = copy.deepcopy(document(question("a"), question("b")))
    article = content["data"][0]
    paragraph = article["paragraphs"][0]
    item = paragraph["qas"][1]
    owners = {"article": article, "paragraph": paragraph, "item": item, "answer": item["answers"][0]}
    del owners[owner][key]
    refused(save(tmp_path, content), f'{place}key "{key}" is missing')


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"id": 7}, ("qas[1].id", "is 7", "it must be a string")),
        ({"question": ["?"]}, ('question "b"', ".question", 'is ["?"]')),
        ({"answers": {"text": [], "answer_start": []}}, (".answers", "it must be a list")),
        ({"answers": [{"text": 5, "answer_start": 0}]}, ("answers[0].text", "is 5")),
        ({"answers": [{"text": "Limmat", "answer_start": "19"}]}, ("answer_start", 'is "19"', "whole number")),
        ({"answers": [{"text": "Limmat", "answer_start": True}]}, ("answer_start", "is true", "whole number")),
        ({"is_impossible": "no"}, ("is_impossible", 'is "no"', "true or false")),
    ],
)
def test_value_of_the_wrong_type(tmp_path, change, parts):
    refused(save(tmp_path, document(question("a"), question("b") | change)), *parts)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[" * 100_000, "file: brackets are nested too deep"),
        ('{"data": ' + '[{"paragraphs": ' * 3_000, "file: brackets are nested too deep"),
        ('{"data": ' + "1" * 5_000 + "}", "file: has a number of more than 4,300 digits"),
        ('{"data": [], "data": []}', 'file: key "data" stands twice in one object'),
        ('{"data": ' + "1" * 4_000 + "}", "top level.data: is 1111"),
    ],
)
def test_json_that_python_cannot_read(tmp_path, content, problem):
    refused(save(tmp_path, content), f"train.json: {problem}")


def test_a_value_at_the_edge_of_what_python_nests_is_shown_or_refused(tmp_path):
    for depth in range(900, 1000, 7):
        content = '{"data": [{"title": "a", "paragraphs": ' + '{"a": ' * depth + "1" + "}" * depth + "}]}"
        refused(save(tmp_path, content), "train.json: ")


@pytest.mark.parametrize("title", [None, "", " "])
def test_articles_may_have_no_title(tmp_path, title):
    bare = document(question("a"))
    del bare["data"][0]["title"]
    blank = document(question("b"), title=title)
    rows = question_sets.load_squad_json(save(tmp_path, {"data": bare["data"] + blank["data"]}), version_2=True)
    assert [(row["id"], row["title"]) for row in rows] == [("a", ""), ("b", "")]
    refused(save(tmp_path, document(question("a"), title=7)), "data[0].title: is 7", "it must be a string")
    del bare["data"][0]["paragraphs"][0]["context"]
    refused(save(tmp_path, bare), 'data[0].paragraphs[0]: key "context" is missing')


def test_an_id_used_twice_is_named_with_its_context_where_there_is_no_title(tmp_path):
    content = document(question("a"), question("a"), title="")
    refused(save(tmp_path, content), 'id = "a" (context "Zürich lies', "already used")


def test_questions_that_nobody_has_answered_are_left_out_and_counted(tmp_path, capsys):
    unanswered = question("b") | {"answers": None}
    impossible = question("c") | {"answers": None, "is_impossible": True}
    path = save(tmp_path, document(question("a"), unanswered, impossible))
    rows = question_sets.load_squad_json(path, version_2=True)
    assert [(row["id"], row["answers"]["text"]) for row in rows] == [("a", ["Limmat"]), ("c", [])]
    assert f"dropped 1 questions whose answers are null: {path}" in capsys.readouterr().out
    refused(save(tmp_path, document(unanswered)), "1 of 1 questions have null for their answers")


def test_answer_elsewhere_says_where(tmp_path):
    path = save(tmp_path, document(question("a"), question("b", "Limmat", 30)))
    # "Limmat" stands at 19 and at 31; the nearer one is meant.
    refused(path, 'question "b"', "answer_start = 30", 'holds " Limma"', 'not "Limmat"', "set answer_start to 31")


def test_answer_nowhere(tmp_path):
    refused(save(tmp_path, document(question("a", "Rhine", 19))), 'holds "Limma", not "Rhine"', "does not occur")


@pytest.mark.parametrize("start", [-7, 1000])
def test_offset_outside_the_context(tmp_path, start):
    path = save(tmp_path, document(question("a", "Limmat", start)))
    refused(path, f"answer_start = {start}", f"holds nothing of a context of {len(CONTEXT)} characters")


def test_a_wrong_second_answer_is_found(tmp_path):
    item = question("a")
    item["answers"].append({"text": "limmat", "answer_start": 19})
    refused(save(tmp_path, document(item)), "answers[1].answer_start = 19", 'holds "Limmat"')


def test_spaces_in_a_wrong_answer_are_shown_as_they_are(tmp_path):
    refused(save(tmp_path, document(question("a", "the  Limmat\n", 15))), r'not "the  Limmat\n"')


def test_blank_answer(tmp_path):
    refused(save(tmp_path, document(question("a"), question("b", "", 0))), 'question "b"', "answers[0].text", "blank")
    refused(save(tmp_path, document(question("a"), question("b", " ", 6))), 'question "b"', "answers[0].text", "blank")


def test_impossible_question_with_an_answer(tmp_path):
    refused(save(tmp_path, document(question("a", is_impossible=True))), "is_impossible", "beside 1 answers")


@pytest.mark.parametrize("context", ["", " \n"])
def test_empty_context(tmp_path, context):
    refused(save(tmp_path, document(question("a", None), context=context)), "context", 'article "Zürich"', "blank")


def test_empty_question(tmp_path):
    refused(save(tmp_path, document(question("a") | {"question": " "})), 'question "a"', ".question", "blank")


def test_half_a_surrogate_pair(tmp_path):
    path = save(tmp_path, document(question("a") | {"question": "Why \ud800?"}))
    refused(path, 'question "a"', ".question", "character 4")


def test_duplicate_id_in_a_file(tmp_path):
    content = document(question("a"))
    content["data"] += document(question("a") | {"question": "Other?"}, title="Bern")["data"]
    refused(save(tmp_path, content), 'id = "a"', 'article "Bern"', '"What is a?"', 'article "Zürich"')


def test_no_answerable_question(tmp_path):
    path = save(tmp_path, document(question("a", None), question("b", None, is_impossible=True)))
    refused(path, "none of the 2 questions has an answer")
    refused(path, "none of the 2 questions has an answer", version_2=False)
    refused(save(tmp_path, {"data": []}), "none of the 0 questions has an answer")


NAMES = {"train": "train", "validation": "validation"}


def load_files(train: str, validation: str, source: str = "files", **more: str) -> dict:
    paths = {split: Path(path) for split, path in {"train": train, "validation": validation, **more}.items()}
    return question_sets.load(source, paths, None, None, None, NAMES, version_2=True)


@pytest.mark.parametrize("source", ["files", "embedded"])
def test_load_reads_both_files(tmp_path, source):
    train = save(tmp_path, document(question("a")))
    validation = save(tmp_path, document(question("b")), "validation.json")
    rows = load_files(train, validation, source)
    assert {split: [row["id"] for row in part] for split, part in rows.items()} == {"train": ["a"], "validation": ["b"]}


def test_duplicate_id_across_files(tmp_path):
    train = save(tmp_path, document(question("a"), question("b")))
    validation = save(tmp_path, document(question("c"), question("b")), "validation.json")
    with pytest.raises(UserError) as caught:
        load_files(train, validation)
    check_line(str(caught.value), f"{validation} (validation)", 'id = "b"', f"already used in {train} (train)")


def test_the_same_file_twice(tmp_path):
    train = save(tmp_path, document(question("a")))
    with pytest.raises(UserError, match="already used"):
        load_files(train, train)


def test_a_third_file_is_read_and_checked_against_the_others(tmp_path):
    paths = [save(tmp_path, document(question(name)), f"{name}.json") for name in "abc"]
    rows = load_files(*paths[:2], mismatched=paths[2])
    assert {split: part[0]["id"] for split, part in rows.items()} == {
        "train": "a",
        "validation": "b",
        "mismatched": "c",
    }
    with pytest.raises(UserError, match="already used"):
        load_files(*paths[:2], mismatched=paths[1])


def test_load_refuses_missing_settings():
    for source, paths, field in (
        ("files", {"train": Path("")}, "data.train"),
        ("hub", {}, "data.name"),
        ("web", {}, "data.source"),
    ):
        with pytest.raises(UserError, match=re.escape(field)):
            question_sets.load(source, paths, None, None, None, NAMES, version_2=True)


def many(articles: int, paragraphs: int, questions: int) -> list[dict]:
    return [
        hub_row(f"{a}-{p}-{q}", title=f"article {a}", context=f"{CONTEXT} {a} {p}")
        for a in range(articles)
        for p in range(paragraphs)
        for q in range(questions)
    ]


def test_limit_draws_whole_paragraphs_of_many_articles_in_order():
    rows = many(20, 10, 5)
    drawn = question_sets.limit(rows, 203, seed=1)
    assert len(drawn) == 203
    places = [rows.index(row) for row in drawn]
    assert places == sorted(places)
    per_paragraph: dict[str, int] = {}
    for row in drawn:
        per_paragraph[row["context"]] = per_paragraph.get(row["context"], 0) + 1
    assert sorted(per_paragraph.values()) == [3] + [5] * 40
    assert len({row["title"] for row in drawn}) >= 15


def test_limit_is_deterministic_nested_and_follows_the_seed():
    rows = many(20, 10, 5)
    ids = [row["id"] for row in question_sets.limit(rows, 200, seed=1)]
    assert ids == [row["id"] for row in question_sets.limit(rows, 200, seed=1)]
    assert set(ids) == {row["id"] for row in question_sets.limit(rows[500:] + rows[:500], 200, seed=1)}
    assert set(ids) < {row["id"] for row in question_sets.limit(rows, 300, seed=1)}
    assert set(ids) != {row["id"] for row in question_sets.limit(rows, 200, seed=2)}


@pytest.mark.parametrize("most", [None, 1000, 2000])
def test_limit_keeps_all_when_there_are_no_more(most):
    rows = many(20, 10, 5)
    assert question_sets.limit(rows, most, seed=1) == rows


def test_squad_v2_dev_as_published(shared):
    path = shared / "data" / "squad_v2" / "dev-v2.0.json"
    rows = question_sets.load_squad_json(path, version_2=True)
    assert len(rows) == 11873
    assert sum(not row["answers"]["text"] for row in rows) == 5945
    assert len(question_sets.load_squad_json(path, version_2=False)) == 5928
