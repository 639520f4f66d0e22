"""Words with tags as windows of tokens: every word stands in exactly one window, at its first token."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.features import word_features
from distill.data.loading import tokenizer as tokenizers
from distill.data.sources import pre_tokens, tagged_texts
from distill.errors import UserError
from distill.tasks import entities
from tests.data.features.test_question_features import byte_level

__all__ = ["byte_level"]  # a fixture
TEXT = "Greta Olsen was born in Upper Thornwick, where the river Arle bends; nobody knows who planted the gardens."


@pytest.fixture(scope="module")
def tokenizer():
    """Some words are several tokens."""
    return tokenizers.train([TEXT, "the town of Oakford"], 70, lowercase=True)


def row(text: str, tags=None, number: int = 0) -> dict:
    starts, ends = zip(*pre_tokens.words(text), strict=True)
    tags = None if tags is None else [tags[i % len(tags)] for i in range(len(starts))]
    return {"id": str(number), "text": text, "text_pair": None, "starts": starts, "ends": ends, "tags": tags}


def table(rows, tokenizer, length, stride):
    encoded = list(word_features.encode(rows, tokenizer, length, stride))
    return pa.Table.from_batches([batch for batch, _ in encoded]), [counts for _, counts in encoded]


def test_a_word_has_its_tag_at_its_first_token_and_no_other(tokenizer):
    features, (counts,) = table([row("the gardens, nobody", [0, 2, 0, 1])], tokenizer, 64, 8)
    (feature,) = features.to_pylist()
    tokens = tokenizer.convert_ids_to_tokens(feature["input_ids"])
    assert tokens == ["[CLS]", *tokenizer.tokenize("the gardens, nobody"), "[SEP]"] and len(tokens) > 7
    first = [i for i, token in enumerate(tokens) if not token.startswith(("##", "["))]
    assert [i for i, label in enumerate(feature["labels"]) if label >= 0] == first
    assert [feature["labels"][i] for i in first] == [0, 2, 0, 1]
    assert [feature["words"][i] for i in first] == [0, 1, 2, 3]
    inside = np.array(feature["entity"])
    assert inside[first[1] : first[2]].all() and inside[first[3] : -1].all(), "all tokens of a word of an entity"
    assert inside.sum() == first[2] - first[1] + len(tokens) - 1 - first[3]
    assert (counts.windowed, counts.silent) == (0, 0)


@settings(max_examples=40, deadline=None)
@given(length=st.integers(8, 40), data=st.data())
def test_each_word_counts_in_one_window_where_its_context_is_largest(tokenizer, length, data):
    stride = data.draw(st.integers(0, length - 3))
    rows = [row(TEXT, [0, 1, 2]), row("the town", [1], 1), row(f"{TEXT} {TEXT}", None, 2)]
    features, _ = table(rows, tokenizer, length, stride)
    found = {0: [], 1: [], 2: []}
    context: dict[tuple[int, int], list[int]] = {}
    whole = {r["id"]: table([r], tokenizer, 2000, 0)[0].to_pylist()[0]["input_ids"][1:-1] for r in rows}
    step = length - 2 - stride
    number: dict[int, int] = {}
    for feature in features.to_pylist():
        text = feature["example_index"]
        low = number.get(text, 0) * step
        number[text] = number.get(text, 0) + 1
        inner = feature["input_ids"][1:-1]
        assert inner == whole[str(text)][low : low + len(inner)] and feature["length"] <= length
        for place, word in enumerate(feature["words"]):
            if word >= 0:
                found[text].append(word)
                context[text, low + place - 1] = [min(place - 1, len(inner) - place)]
    assert all(found[i] == list(range(len(rows[i]["starts"]))) for i in found), "once each, in order"
    for (text, token), (mine,) in context.items():
        total, lows = len(whole[str(text)]), range(0, number[text] * step, step)
        spans = [(low, min(low + length - 2, total)) for low in lows]
        assert mine == max(min(token - low, high - 1 - token) for low, high in spans if low <= token < high)


def test_tags_come_back_from_windows(tokenizer):
    """The last step of scoring undoes the windows."""
    rows = [row(f"{TEXT} {TEXT}", [0, 1, 2, 2, 0]), row("the town", [1, 0], 1)]
    features, (counts,) = table(rows, tokenizer, 16, 5)
    labels = np.concatenate([np.array(item) for item in features.column("labels").to_pylist()])
    assert counts.windowed == 1 and features.num_rows > 4
    sizes = [len(item["starts"]) for item in rows]
    assert entities.of_words(features, labels, sizes, -5) == [item["tags"] for item in rows]


def test_words_that_nobody_has_tagged_are_told_from_other_tokens(tokenizer):
    (feature,) = table([row("the gardens")], tokenizer, 64, 8)[0].to_pylist()
    assert set(feature["labels"]) == {-100, -1} and feature["labels"].count(-1) == 2 and not any(feature["entity"])


def test_a_word_without_a_token_is_counted_and_has_no_tag(tokenizer):
    item = row("the town") | {"text": "the \u200b town", "starts": [0, 4, 6], "ends": [3, 5, 10], "tags": [0, 1, 0]}
    features, (counts,) = table([item], tokenizer, 64, 8)
    assert counts.silent == 1
    values = np.concatenate([np.array(part) for part in features.column("labels").to_pylist()])
    assert entities.of_words(features, values, [3], 7) == [[0, 7, 0]]


def test_windows_that_share_too_much_are_refused(tokenizer):
    with pytest.raises(UserError, match='text "0": .*features.max_length = 12 .*features.doc_stride = 10'):
        table([row(TEXT)], tokenizer, 12, 10)
    with pytest.raises(UserError, match="features.max_length = 3"):
        table([row(TEXT)], tokenizer, 3, 0)


def test_a_space_in_front_of_a_word_is_no_part_of_it(byte_level):
    """Byte-level tokens hold the space before them, and a character of several bytes is several tokens."""
    text = "the thé the: he"
    (feature,) = table([row(text, [0, 1, 2, 0, 1])], byte_level, 64, 8)[0].to_pylist()
    tokens = byte_level.convert_ids_to_tokens(feature["input_ids"])
    assert tokens == ["<s>", "Ġthe", "Ġt", "h", "Ã", "©", "Ġthe", ":", "Ġ", "he", "</s>"]
    assert feature["words"] == [-1, 0, 1, -1, -1, -1, 2, 3, -1, 4, -1], (
        "a token that is the space alone stands for none"
    )
    assert feature["entity"] == [False, False, True, True, True, True, True, False, False, True, False]


def library(words: list[str], tokenizer) -> tuple[list[int], list[int]]:
    """Ids, and the first token of each word, as transformers' examples of token classification have them."""
    encoded = tokenizer(words, is_split_into_words=True)
    places = encoded.word_ids()
    first = [i for i, word in enumerate(places) if word is not None and places[i - 1] != word]
    return encoded["input_ids"], first


def check_against_library(rows: list[dict], tokenizer) -> None:
    for item, feature in zip(rows, table(rows, tokenizer, 512, 0)[0].to_pylist(), strict=True):
        words = [item["text"][a:b] for a, b in zip(item["starts"], item["ends"], strict=True)]
        mine = [i for i, word in enumerate(feature["words"]) if word >= 0]
        assert (feature["input_ids"], mine) == library(words, tokenizer)


def test_tokens_and_first_tokens_are_those_of_transformers(tokenizer):
    spaced = [row(" ".join(TEXT[a:b] for a, b in pre_tokens.words(TEXT))), row("the town of Oakford")]
    check_against_library(spaced, tokenizer)


def test_tokens_and_first_tokens_of_real_data_are_those_of_transformers(shared):
    path = shared / "data/wnut17/dev.conll"
    if not path.is_file():
        pytest.skip("needs ../shared/data/wnut17, which is not here")
    read = tagged_texts.load_files({"train": path}, tagged_texts.Columns("tokens", "tags", None, None), None)
    assert read.scheme == "IOB2" and len(read.rows["train"]) == 1009
    check_against_library(read.rows["train"][:200], tokenizers.load(str(shared / "models/minilm-l6-h384")))
