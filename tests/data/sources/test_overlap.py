"""What of a split training has seen: the same rows, and parts of its texts."""

import pytest

from distill.data.sources.overlap import lines, shared_questions, shared_texts, shares, warnings


def question(context: str, text: str, id_: str = "1") -> dict:
    return {"id": id_, "title": "", "context": context, "question": text, "answers": {"text": [], "answer_start": []}}


TRAIN = [question("The Limmat flows.", "What flows?"), question("Zürich lies there.", "Where?", "2")]


@pytest.mark.parametrize(
    ("row", "counts"),
    [
        (question("The Limmat flows.", "What flows?", "9"), (1, 1)),
        (question("The Limmat flows.", "Why?"), (0, 1)),
        (question("Zürich lies there.", "What flows?"), (0, 1)),
        (question("The Sihl flows.", "What flows?"), (0, 0)),
        (question(" the limmat\n flows.", "WHAT flows?"), (1, 1)),
        (question("Zu\u0308rich lies there.", "Where?"), (1, 1)),  # the same letter in two code points
        (question("Zürich lies\u00a0there.", "Where?\t"), (1, 1)),
    ],
)
def test_questions_and_contexts_that_stand_in_both_are_counted(row, counts):
    assert shared_questions(TRAIN, [row]) == counts
    assert shared_questions(TRAIN, [row, question("x", "y"), row]) == (2 * counts[0], 2 * counts[1])
    assert shared_questions([], [row]) == (0, 0)


@pytest.mark.parametrize(
    ("text", "pair", "count"),
    [("A  fine Town", None, 1), ("a fine town", "b", 0), ("c", "D", 1), ("d", "c", 0), ("", "a fine town", 0)],
)
def test_texts_count_together_with_their_pairs(text, pair, count):
    train = [{"text": "a fine town", "text_pair": None}, {"text": "c", "text_pair": "d"}]
    assert shared_texts(train, [{"text": text, "text_pair": pair}]) == count


def text(value: str, pair: str | None = None, **more) -> dict:
    return {"text": value, "text_pair": pair} | more


def test_parts_of_training_texts_are_told_from_texts_that_hold_one():
    train = [text("This is a fine, small town."), text("the old river"), text("good")]
    rows = [
        text("a fine small town"),  # part
        text("THE OLD RIVER!"),  # equal
        text("so it is the old river again"),  # holds one
        text("a good thing"),  # holds one that is too short
        text("good"),  # too short itself
    ]
    found = shares({"train": train, "selection": rows, "validation": [text("good")]})
    assert found["selection"] == {"compared": 4, "part": 0.5, "related": 0.75}
    assert found["validation"] == {"compared": 0, "part": None, "related": None}
    assert lines(found) == [
        "selection: of 4 rows with texts of 3 words or more, 50.0% have one that is part of a training text, 75.0% one"
        " that is or holds one",
        "validation: no text of 3 words or more",
    ]


def test_a_pair_counts_once_by_either_text_and_other_splits_do_not_count():
    train = [text("where is the town", "on the old river")]
    rows = [text("where is the town", "on the old river"), text("why is it there", "the old river"), text("a b c", "d")]
    found = shares({"train": train, "selection": [text("a b c", "x")], "validation": rows})
    assert found["validation"] == {"compared": 3, "part": 0.6667, "related": 0.6667}
    assert found["selection"] == {"compared": 1, "part": 0.0, "related": 0.0}


def test_groups_that_stand_on_both_sides_are_counted():
    train = [text("a", group="ann"), text("b", group="bob")]
    found = shares({"train": train, "validation": [text("c", group="ann"), text("d", group="eve")]})
    assert found["validation"]["groups"] == 0.5
    assert lines(found) == ["validation: no text of 3 words or more; 50.0% of the rows are of groups in train"]


def test_paragraphs_and_questions_of_train_are_counted():
    rows = [question("the limmat flows.", "What flows?"), question("The Limmat flows.", "Why?"), question("x", "y")]
    found = shares({"train": TRAIN, "selection": rows})
    assert found == {"selection": {"paragraphs": 0.5, "questions": 0.3333}}
    assert lines(found) == ["selection: 50.0% of the paragraphs are in train, 33.3% of the questions are"]


@pytest.mark.parametrize(
    ("share", "warned"),
    [
        ({"compared": 100, "part": 0.05, "related": 0.9}, None),
        (
            {"compared": 100, "part": 0.051, "related": 0.9},
            "split validation: 5.1% of its rows have a text that is part of a training text",
        ),
        ({"compared": 0, "part": None, "related": None}, None),
        (
            {"compared": 9, "part": 0.0, "related": 0.0, "groups": 0.5},
            "split validation: 50.0% of its rows are of groups that are in train",
        ),
        ({"paragraphs": 0.06, "questions": 0.0}, "split validation: 6.0% of its paragraphs are in train"),
        ({"paragraphs": 0.07, "questions": 0.06}, "split validation: 7.0% of its paragraphs are in train"),
    ],
)
def test_more_than_a_twentieth_in_train_is_warned_of(share, warned):
    found = warnings({"validation": share}, {"validation": "do this"})
    expected = [f"{warned}: its scores say less about new data; do this"] if warned else []
    assert found == expected
