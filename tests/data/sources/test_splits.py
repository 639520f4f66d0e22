"""The selection split: by article, deterministic, never empty, never without an answerable question."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.sources.question_sets import limit
from distill.data.sources.splits import carve, check_classes, grouping, uneven
from distill.errors import UserError


def rows_of(sizes: dict[str, int], unanswerable: tuple[str, ...] = ()) -> list[dict]:
    rows = []
    for title, size in sizes.items():
        for i in range(size):
            texts = [] if title in unanswerable else ["x"]
            answers = {"text": texts, "answer_start": [0] * len(texts)}
            rows.append({"id": f"{title}/{i}", "title": title, "context": "x", "question": "?", "answers": answers})
    return rows


def ids(rows: list[dict]) -> set[str]:
    return {row["id"] for row in rows}


SIZES = {f"article {i}": 20 + 7 * i % 50 for i in range(40)}


def test_whole_articles_near_the_fraction_in_order():
    rows = rows_of(SIZES)
    train, selection = carve(rows, 0.1, seed=1)
    assert {row["title"] for row in train}.isdisjoint(row["title"] for row in selection)
    assert ids(train) | ids(selection) == ids(rows)
    assert len(train) + len(selection) == len(rows)
    assert [row for row in rows if row["id"] in ids(train)] == train
    # The smallest article has 20 questions: no choice of the rest need miss by more than half of it.
    assert abs(len(selection) - 0.1 * len(rows)) <= 10


def test_the_order_of_rows_does_not_matter_and_the_seed_does():
    rows = rows_of(SIZES)
    chosen = ids(carve(rows, 0.1, seed=1)[1])
    shuffled = random.Random(3).sample(rows, len(rows))
    assert ids(carve(shuffled, 0.1, seed=1)[1]) == chosen
    assert ids(carve(rows, 0.1, seed=1)[1]) == chosen
    assert ids(carve(rows, 0.1, seed=2)[1]) != chosen


@given(
    sizes=st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 30), min_size=2, max_size=12),
    fraction=st.floats(0.001, 0.999),
    seed=st.integers(0, 99),
)
def test_neither_part_is_ever_empty(sizes, fraction, seed):
    rows = rows_of(sizes)
    train, selection = carve(rows, fraction, seed)
    assert train and selection
    assert len(train) + len(selection) == len(rows)
    assert {row["title"] for row in train}.isdisjoint(row["title"] for row in selection)


def test_a_small_fraction_takes_the_smallest_of_large_articles():
    _, selection = carve(rows_of({"a": 50, "b": 30, "c": 40}), 0.01, seed=1)
    assert {row["title"] for row in selection} == {"b"}


def test_one_article_cannot_be_split():
    with pytest.raises(UserError, match=r"3 questions of 1 article \(only\).*two articles or more"):
        carve(rows_of({"only": 3}), 0.5, seed=1)


def untitled(titles: dict[str, int], contexts: int) -> list[dict]:
    """Questions of articles, "" for none, on as many contexts each."""
    rows = rows_of(titles)
    return [row | {"context": f"{row['title']} {i % contexts}"} for i, row in enumerate(rows)]


@pytest.mark.parametrize("titles", [{"": 40}, {"only": 40}])
def test_contexts_stay_together_where_there_are_no_articles(titles):
    rows = untitled(titles, 8)
    assert grouping(rows) == "context"
    train, selection = carve(rows, 0.25, seed=1)
    assert {row["context"] for row in train}.isdisjoint(row["context"] for row in selection)
    assert len(selection) == 10 and ids(train) | ids(selection) == ids(rows)
    assert ids(carve(rows[::-1], 0.25, seed=1)[1]) == ids(selection)


def test_articles_stay_together_beside_contexts_without_a_title():
    rows = untitled({"": 20, "a": 20}, 4)
    assert grouping(rows) == "article"
    train, selection = carve(rows, 0.5, seed=1)
    assert len({row["title"] for row in train if row["title"]} & {row["title"] for row in selection}) == 0
    assert {row["context"] for row in train}.isdisjoint(row["context"] for row in selection)


def test_what_is_kept_together_is_named():
    assert grouping(rows_of({"a": 2, "b": 1})) == "article"
    assert grouping(texts_of(3)) == grouping([]) == "text"


def test_one_context_without_a_title_cannot_be_split():
    with pytest.raises(
        UserError, match="training data: context: 3 questions on 1 context cannot be split.*two contexts"
    ):
        carve(rows_of({"": 3}), 0.5, seed=1)


@pytest.mark.parametrize("barren", ["training", "selection"])
def test_a_part_without_an_answerable_question(barren):
    rows = rows_of({"a": 10, "b": 10})
    train, selection = carve(rows, 0.5, seed=1)
    title = (train if barren == "training" else selection)[0]["title"]
    with pytest.raises(UserError, match=f"{barren} split: data.selection_fraction = 0.5.*no answerable question.*10"):
        carve(rows_of({"a": 10, "b": 10}, unanswerable=(title,)), 0.5, seed=1)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_fraction_out_of_range(fraction):
    with pytest.raises(UserError, match="data.selection_fraction"):
        carve(rows_of(SIZES), fraction, seed=1)


def test_squad_v2_dev(shared):
    from distill.data.sources.question_sets import load_squad_json

    rows = load_squad_json(shared / "data" / "squad_v2" / "dev-v2.0.json", version_2=True)
    train, selection = carve(rows, 0.2, seed=1)
    assert abs(len(selection) / len(rows) - 0.2) < 0.015  # 35 articles of 340 questions on average
    assert len({row["title"] for row in train} | {row["title"] for row in selection}) == 35


def texts_of(count: int, copies: int = 1, classes: int = 2, pair: bool = False) -> list[dict]:
    pairs = [(f"text {i}", f"pair {i % 3}" if pair else None) for i in range(count)]
    return [
        {"id": f"{i}/{k}", "text": one, "text_pair": other, "label": i % classes}
        for k in range(copies)
        for i, (one, other) in enumerate(pairs)
    ]


@pytest.mark.parametrize("pair", [False, True])
def test_equal_texts_stay_on_one_side(pair):
    rows = texts_of(200, copies=3, pair=pair)
    train, selection = carve(rows, 0.1, seed=1)
    sides = [{(row["text"], row["text_pair"]) for row in part} for part in (train, selection)]
    assert sides[0].isdisjoint(sides[1]) and ids(train) | ids(selection) == ids(rows)
    assert abs(len(selection) - 60) <= 1 and [row for row in rows if row["id"] in ids(train)] == train
    assert ids(carve(rows[::-1], 0.1, seed=1)[1]) == ids(selection) != ids(carve(rows, 0.1, seed=2)[1])


def test_the_texts_of_a_pair_count_together():
    rows = [{"id": str(i), "text": "same", "text_pair": f"{i}", "label": 0.5} for i in range(40)]
    train, selection = carve(rows, 0.25, seed=1)
    assert (len(train), len(selection)) == (30, 10)


def test_one_text_alone_cannot_be_split():
    with pytest.raises(UserError, match="training data: text: 3 examples with 1 text cannot be split"):
        carve(texts_of(1, copies=3), 0.5, seed=1)


def test_every_class_must_be_left_for_training():
    rows = texts_of(30, classes=3)
    check_classes(rows, ("a", "b", "c"))
    check_classes([], ())
    message = r'class "c": has no example among the 20 of this split.*data.max_train_examples'
    with pytest.raises(UserError, match=message):
        check_classes([row for row in rows if row["label"] != 2], ("a", "b", "c"))


def test_limit_draws_equal_texts_together_and_smaller_within_larger():
    rows = texts_of(100, copies=2)
    drawn = limit(rows, 40, seed=1)
    assert len(drawn) == 40 and len({row["text"] for row in drawn}) == 20
    assert ids(drawn) < ids(limit(rows, 80, seed=1)) and ids(drawn) != ids(limit(rows, 40, seed=2))
    assert [row for row in rows if row["id"] in ids(drawn)] == drawn


@pytest.mark.parametrize(("train", "selection", "warned"), [(146, 54, True), (190, 10, False), (181, 19, False)])
def test_a_selection_split_of_another_size_than_asked_for_is_warned_of(train, selection, warned):
    """Of 200 rows 10 were asked for."""
    message = uneven(train, selection, 0.05)
    assert bool(message) == warned
    if warned:
        assert "0.05 of 200 rows is 10, and the selection split has 54, which leaves 146 to train on" in message


def test_a_single_row_is_near_enough_to_none():
    assert uneven(9, 1, 0.01) is None and uneven(199, 4, 0.05) is not None
