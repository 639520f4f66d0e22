"""Rows of two splits that are the same but for their ids."""

import pytest

from distill.data.sources.overlap import shared_questions, shared_texts


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
