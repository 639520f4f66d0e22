"""Groups of rows that stay on one side of the selection split."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distill.data.sources.containment import words
from distill.data.sources.groups import by_column, by_texts
from distill.data.sources.splits import carve
from distill.errors import UserError


def single(*texts):
    return [{"id": str(i), "text": text, "text_pair": None, "label": 0} for i, text in enumerate(texts)]


def pair(*texts):
    return [{"id": str(i), "text": one, "text_pair": two, "label": 0} for i, (one, two) in enumerate(texts)]


def parts(groups) -> set[frozenset[int]]:
    """Which rows stand together."""
    return {frozenset(i for i, other in enumerate(groups) if other == group) for group in groups}


def related(one: str, two: str) -> bool:
    """The rule, on two texts: equal or part of it, word by word, and three words or more."""
    small, large = sorted((words(one), words(two)), key=len)
    return len(small) >= 3 and any(large[k : k + len(small)] == small for k in range(len(large) - len(small) + 1))


def naive(rows) -> set[frozenset[int]]:
    """Every two rows compared, groups joined until nothing changes."""
    texts = [[text for text in (row["text"], row["text_pair"]) if text is not None] for row in rows]
    groups = [{i} for i in range(len(rows))]
    for i, mine in enumerate(texts):
        for j, others in enumerate(texts):
            equal = [words(text) or text for text in mine] == [words(text) or text for text in others]
            if equal or any(related(one, two) for one in mine for two in others):
                joined = groups[i] | groups[j]
                for k in joined:
                    groups[k] = joined
    return {frozenset(group) for group in groups}


TEXT = st.lists(st.sampled_from(["a", "b", "C.", "!"]), min_size=1, max_size=6).map(" ".join)


@given(texts=st.lists(TEXT, max_size=12))
def test_groups_of_texts_are_those_of_comparing_every_two(texts):
    rows = single(*texts)
    assert parts(by_texts(rows)) == naive(rows)


@given(texts=st.lists(st.tuples(TEXT, TEXT), max_size=9))
@example(texts=[("a a", "!"), ("a a !", "!")])  # a text without a word beside one with words
def test_groups_of_pairs_are_those_of_comparing_every_two(texts):
    rows = pair(*texts)
    assert parts(by_texts(rows)) == naive(rows)


def test_phrases_stay_with_their_sentence_and_words_in_everything_do_not_join():
    rows = single("A great, great film.", "great great film", "film", "The film", "What a film", "see what a film is!")
    assert parts(by_texts(rows)) == {frozenset({0, 1}), frozenset({2}), frozenset({3}), frozenset({4, 5})}


def test_a_shared_text_of_pairs_joins_unless_it_is_short():
    rows = pair(("Who was it?", "Yes."), ("Where?", "Yes."), ("who was it", "Nobody knows that."), ("x", "Where?"))
    assert parts(by_texts(rows)) == {frozenset({0, 2}), frozenset({1}), frozenset({3})}


@given(st.permutations(range(8)), st.integers(0, 5))
def test_the_split_hangs_on_no_order_of_the_rows(order, seed):
    texts = ["one two three", "zero one two three", "a", "b", "c d e", "c d e f", "g h i j k", "h i j"]
    rows = single(*texts)
    shuffled = [rows[i] for i in order]
    chosen = [{row["text"] for row in carve(listed, 0.3, seed, by_texts(listed))[1]} for listed in (rows, shuffled)]
    assert chosen[0] == chosen[1]


def test_a_column_keeps_its_rows_together():
    rows = [row | {"group": f"author {i % 10}"} for i, row in enumerate(single(*map(str, range(100))))]
    train, selection = carve(rows, 0.2, 1, by_column(rows))
    assert len(selection) == 20
    assert {row["group"] for row in train}.isdisjoint(row["group"] for row in selection)
    shuffled = random.Random(0).sample(rows, len(rows))
    assert sorted(row["id"] for row in carve(shuffled, 0.2, 1, by_column(shuffled))[1]) == sorted(
        row["id"] for row in selection
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_group_larger_than_the_selection_stays_in_train_where_others_suffice(seed):
    names = ["giant"] * 15 + [f"small {i}" for i in range(85)]
    rows = [{"text": str(i), "text_pair": None, "label": 0, "group": name} for i, name in enumerate(names)]
    train, selection = carve(rows, 0.1, seed, by_column(rows))
    assert len(selection) == 10 and sum(row["group"] == "giant" for row in train) == 15


@pytest.mark.parametrize(
    ("sizes", "fraction", "parts"),
    [
        ({"a": 100}, 0.1, ("1 groups of 100 rows, the largest of 100", "has 0")),
        ({"a": 90, "b": 10}, 0.02, ("2 groups of 100 rows, the largest of 90", "nearest to 2 rows", "has 10")),
        ({"a": 99, "b": 1}, 0.1, ("nearest to 10 rows", "has 1")),
    ],
)
def test_groups_too_coarse_for_the_fraction_are_refused(sizes, fraction, parts):
    rows = [{"text": f"{g} {i}", "text_pair": None, "label": 0, "group": g} for g, n in sizes.items() for i in range(n)]
    with pytest.raises(UserError) as caught:
        carve(rows, fraction, 1, by_column(rows))
    message = str(caught.value)
    assert message.startswith("training data: data.group: makes ") and "\n" not in message
    assert all(part in message for part in (*parts, "data.selection_fraction", "set data.group to null"))
