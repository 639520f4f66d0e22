"""Which texts are part of which: exactly what comparing every two of them finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.sources import containment
from distill.data.sources.containment import Sequences, contained, words


def naive(sequences, shortest: int) -> set[tuple[int, int]]:
    """Every two sequences compared, at every place."""
    return {
        (i, j)
        for i, part in enumerate(sequences)
        for j, whole in enumerate(sequences)
        if i != j and len(part) >= shortest
        if any(whole[k : k + len(part)] == part for k in range(len(whole) - len(part) + 1))
    }


def pairs(sequences, shortest: int) -> list[tuple[int, int]]:
    return list(zip(*(numbers.tolist() for numbers in contained(sequences, shortest)), strict=True))


# Few words, so that one text is often part of another one, at several places.
SEQUENCES = st.lists(st.lists(st.integers(0, 2), max_size=9).map(tuple), max_size=30, unique=True)


@given(sequences=SEQUENCES, shortest=st.integers(1, 4))
def test_all_parts_are_found_each_once_and_in_order(sequences, shortest):
    expected = naive(sequences, shortest)
    assert pairs(sequences, shortest) == sorted(expected)


@given(sequences=SEQUENCES)
def test_the_size_of_a_piece_of_the_work_changes_nothing(sequences):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containment, "_PLACES", 3)
        assert pairs(sequences, 2) == sorted(naive(sequences, 2))


def test_many_texts_are_searched_without_comparing_every_two():
    """20,000 texts of eight words, of each its first five words too: 4·10⁸ comparisons would take minutes."""
    generator = np.random.default_rng(0)
    rows = [tuple(row) for row in generator.integers(0, 5000, (20_000, 8)).tolist()]
    parts, wholes = contained([*rows, *(row[:5] for row in rows)])
    assert parts.tolist() == list(range(20_000, 40_000)) and wholes.tolist() == list(range(20_000))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's  a GREAT film.", ["it", "s", "a", "great", "film"]),
        ("Zu\u0308rich \u2014 x_1", ["zürich", "x_1"]),
        ("Straße", ["strasse"]),
        ("... !", []),
    ],
)
def test_words_are_told_apart_by_letters_and_digits_alone(text, expected):
    assert words(text) == expected


def test_texts_of_the_same_words_have_the_same_number():
    sequences = Sequences()
    texts = ["A great film.", "a great film", "see a great film!", "great film", "...", "?", "a great, great film"]
    assert [sequences.number(text) for text in texts] == [0, 0, 1, 2, 3, 3, 4]
    parts, wholes = sequences.contained()
    assert (parts.tolist(), wholes.tolist()) == ([0], [1])  # two words are too few to be a part


def test_nothing_is_part_of_nothing():
    assert pairs([], 3) == [] and pairs([(1, 2)], 3) == [] and pairs([()], 1) == []
