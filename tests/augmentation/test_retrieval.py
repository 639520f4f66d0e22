"""Neighbours against TF-IDF by hand, candidates against the data's own features, and what may never be retrieved."""

import math
import re

import datasets
import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from distill.augmentation import retrieval
from distill.data.features.question_features import encode
from distill.data.loading.tokenizer import train
from distill.data.sources import text_sets
from distill.errors import UserError

TEXTS = [
    "the old mill stands by the river",
    "the river floods the old town",
    "a painter lived in the old mill",
    "who painted the bridge",
    "who built the bridge over the river",
    "bread and salt",
    "The old MILL  stands by the river",
    "salt mines were closed",
]


def alone(texts):
    return [(text, None) for text in texts]


def by_hand(queries, pool, count):
    """TF-IDF with smoothed document frequencies and cosine, text by text in Python; ties in the pool's order."""
    words = [re.findall(r"\w+", text.lower()) for text in pool]
    frequency = {word: sum(word in text for text in words) for text in words for word in text}

    def vector(text):
        counts = {word: text.count(word) for word in text if word in frequency}
        values = {w: n * (math.log((1 + len(pool)) / (1 + frequency[w])) + 1) for w, n in counts.items()}
        norm = math.sqrt(sum(value**2 for value in values.values())) or 1.0
        return {word: value / norm for word, value in values.items()}

    vectors, found = [vector(text) for text in words], []
    for query in queries:
        own = vector(re.findall(r"\w+", query.lower()))
        scores = [sum(own.get(word, 0) * value for word, value in other.items()) for other in vectors]
        order = sorted(range(len(pool)), key=lambda row: (-round(scores[row], 6), row))
        same = " ".join(query.lower().split())
        found.append([row for row in order if " ".join(pool[row].lower().split()) != same][:count])
    return found


def test_neighbours_are_those_of_tf_idf_and_cosine():
    pool = retrieval.unique(alone(TEXTS))
    found = retrieval.neighbours(alone(TEXTS), pool, 3)
    assert found.dtype == np.int32
    assert found.tolist() == by_hand(TEXTS, [text for text, _ in pool], 3)


def test_neighbours_of_many_random_texts_are_those_of_tf_idf_and_cosine():
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(TEXTS[0].split() + TEXTS[4].split(), random.integers(2, 6))) for _ in range(60)]
    pool = retrieval.unique(alone(texts))
    found = retrieval.neighbours(alone(texts), pool, 4)
    expected = by_hand(texts, [text for text, _ in pool], 4)
    # Scores may differ in the last digit of float32, which changes the order of equally near ones: compare scores.
    same = [len(set(own) & set(other)) for own, other in zip(found.tolist(), expected, strict=True)]
    assert np.mean([count == 4 for count in same]) > 0.9 and min(same) >= 3


def test_blocks_of_queries_change_nothing(monkeypatch):
    pool, sizes = retrieval.unique(alone(TEXTS)), []
    whole = retrieval.neighbours(alone(TEXTS), pool, 3, sizes.append)
    monkeypatch.setattr(retrieval, "_BLOCK", 2 * len(pool))
    parts = retrieval.neighbours(alone(TEXTS), pool, 3, sizes.append)
    assert np.array_equal(whole, parts)
    assert sizes == [7, 2, 2, 2, 1]  # never all queries times the pool


def test_a_text_is_not_its_own_neighbour_nor_is_its_duplicate():
    found = retrieval.neighbours(alone(TEXTS), retrieval.unique(alone(TEXTS)), 6)
    pool = [retrieval.key(text) for text in retrieval.unique(alone(TEXTS))]
    assert len(pool) == 7  # two of the texts differ in case and blanks alone
    for text, row in zip(TEXTS, found, strict=True):
        assert retrieval.key((text, None)) not in {pool[i] for i in row}
        assert len(set(row.tolist())) == 6


def test_a_text_that_shares_no_word_with_the_pool_gets_the_first_texts():
    pool = alone(TEXTS[:5])
    assert retrieval.neighbours([("xyz", None), ("?", None)], pool, 3).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert retrieval.neighbours([("painter", None), (TEXTS[0], None)], pool, 3)[0].tolist() == [2, 0, 1]
    # The text itself is none of the first others.
    assert retrieval.neighbours([("bread and salt", None)], alone(["bread and salt", "a", "b"]), 2).tolist() == [[1, 2]]


def test_a_pair_is_looked_for_as_a_whole():
    pool = [("old mill", "river"), ("old mill", "salt mines"), ("bread", "salt"), ("green", "bridge")]
    found = retrieval.neighbours([pool[1], ("Old  mill", "salt mines")], pool, 2)
    assert found.tolist() == [[0, 2], [0, 2]]
    assert retrieval.key(("a b", "c")) != retrieval.key(("a", "b c"))


@pytest.mark.parametrize(("pool", "count", "message"), [
    (TEXTS[:3], 3, r"retrieve.candidates: 3: the pool has 3 different texts.*lower it to 2 or less, or name a larger"),
    (["?", "!", "..."], 1, r"retrieve.pool: .*: the texts need words"),
])  # fmt: skip
def test_a_pool_that_cannot_do_is_refused(pool, count, message):
    with pytest.raises(UserError, match=message):
        retrieval.neighbours(alone(TEXTS), alone(pool), count)


def test_never_from_selection_or_validation():
    pool = retrieval.unique(alone(TEXTS))
    held_out = [("WHO painted the  bridge", None), ("bread and salt", None)]
    left = retrieval.without(pool, held_out)
    assert [text for text, _ in left] == [text for text in TEXTS[:6] + TEXTS[7:] if text not in (TEXTS[3], TEXTS[5])]
    found = retrieval.neighbours(alone(TEXTS), left, 4)
    taken = {retrieval.key(left[i]) for i in found.flatten()}
    assert not taken & {retrieval.key(text) for text in held_out}


def test_a_pool_from_a_file(tmp_path):
    path = tmp_path / "pool.txt"
    path.write_text("one text\n\nanother\ttext\nONE  text\n")
    assert retrieval.read_pool(path, pairs=False, strip_html=False) == [("one text", None), ("another\ttext", None)]
    path.write_text("one\ttwo\nthree\tfour five\n")
    assert retrieval.read_pool(path, pairs=True, strip_html=False) == [("one", "two"), ("three", "four five")]


@pytest.mark.parametrize("line", ["no tab", "first\t", "\tsecond"])
def test_a_line_that_is_no_pair_is_named(tmp_path, line):
    path = tmp_path / "pool.txt"
    path.write_text(f"one\ttwo\n{line}\n")
    with pytest.raises(UserError, match=r"retrieve.pool: .*pool.txt: line 2: a pair needs two texts with a tab"):
        retrieval.read_pool(path, pairs=True, strip_html=False)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    for path in (tmp_path / "missing", tmp_path / "latin", tmp_path):
        with pytest.raises(UserError, match=rf"params.yaml: retrieve.pool: {path}: .*: name a UTF-8 text file"):
            retrieval.read_pool(path, pairs=False, strip_html=False)


def test_what_is_varied_is_the_question_or_the_text():
    questions = datasets.Dataset.from_dict({"question": ["who", "what"], "context": ["a", "b"]})
    pairs = datasets.Dataset.from_dict({"text": ["a", "b"], "text_pair": ["c", "d"]})
    singles = datasets.Dataset.from_dict({"text": ["a"], "text_pair": [None]})
    assert retrieval.texts(questions) == [("who", None), ("what", None)]
    assert retrieval.texts(pairs) == [("a", "c"), ("b", "d")]
    assert retrieval.texts(singles) == [("a", None)]


def wordpiece():
    return train([*TEXTS, "? ."], 120, lowercase=True)


def byte_level():
    """RoBERTa's layout: no token types, two separators between the parts."""
    vocab = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Tokenizer(models.BPE(vocab, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )


def windows(tokenizer, questions, contexts, max_length=200, stride=6):
    """Features of unanswerable questions, and the questions' rows."""
    rows = [
        {"id": str(i), "title": "t", "context": c, "question": q, "answers": {"text": [], "answer_start": []}}
        for i, (q, c) in enumerate(zip(questions, contexts, strict=True))
    ]
    table = pa.Table.from_batches(list(encode(rows, tokenizer, max_length, stride)))
    return datasets.Dataset(table)


def swapped(tokenizer, features, pool, found, max_length=200, stride=6, batch_size=1000):
    swap = retrieval.QuestionSwap(tokenizer, max_length, stride + 1)
    batches = list(swap.candidates(features, alone(pool), np.array(found), batch_size))
    return pa.Table.from_batches(batches, retrieval.schema(tokenizer)).to_pylist()


@pytest.mark.parametrize("make", [wordpiece, byte_level])
def test_only_the_question_varies_and_the_window_is_as_the_data_would_have_it(make):
    tokenizer = make()
    questions, contexts = TEXTS[:3], [TEXTS[1], TEXTS[4], TEXTS[0]]
    pool = ["  who built it", "bread", TEXTS[3]]  # leading blanks are dropped, as in the data
    found = [[0, 1], [2, 0], [1, 2]]
    made = swapped(tokenizer, windows(tokenizer, questions, contexts), pool, found, batch_size=2)
    asked = [pool[place] for row in found for place in row]
    expected = windows(tokenizer, asked, [context for context in contexts for _ in range(2)])
    assert len(made) == len(expected) == 6
    for own, other in zip(made, expected, strict=True):
        assert own == {name: other[name] for name in own}
    assert ("token_type_ids" in made[0]) == (make is wordpiece)


@pytest.mark.parametrize("make", [wordpiece, byte_level])
def test_a_longer_question_takes_tokens_from_the_end_of_the_same_window(make):
    tokenizer = make()
    context = " ".join(TEXTS * 3)
    features = windows(tokenizer, ["who"], [context], max_length=60)
    assert len(features) > 2
    long, short = "who built the bridge over the river", "bread"
    made = swapped(tokenizer, features, [long, short], [[0, 1]], max_length=60)
    ids = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in (long, short)}
    for number, row in enumerate(features):
        own = [token for token, start in zip(row["input_ids"], row["offset_start"], strict=True) if start >= 0]
        for question, candidate in zip((long, short), made[2 * number : 2 * number + 2], strict=True):
            tokens = candidate["input_ids"]
            special = tokenizer.num_special_tokens_to_add(pair=True)
            room = 60 - special - len(ids[question])
            assert candidate["length"] == len(tokens) <= 60
            start = 1 + len(ids[question]) + special - 2
            assert tokens[1 : 1 + len(ids[question])] == ids[question]
            assert tokens[start:-1] == own[:room]  # the same window, from its own beginning
            if make is wordpiece:
                assert candidate["token_type_ids"] == [0] * start + [1] * (len(tokens) - start)


def test_a_question_that_would_leave_no_context_is_cut():
    tokenizer = wordpiece()
    features = windows(tokenizer, ["who"], [TEXTS[0]], max_length=20)
    (made,) = swapped(tokenizer, features, [" ".join(TEXTS)], [[0]], max_length=20)
    context = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    assert made["length"] == 20 and len(context) >= 7
    assert made["input_ids"][-8:-1] == context[:7]  # doc_stride + 1 tokens, as every window of the data has


def test_text_candidates_are_made_like_the_features_of_texts():
    tokenizer = wordpiece()
    pool = [(text, None) for text in TEXTS]
    made = pa.Table.from_batches(list(retrieval.text_candidates(pool, tokenizer, 8))).to_pylist()
    for (text, _), row in zip(pool, made, strict=True):
        expected = tokenizer(text, truncation=True, max_length=8)
        assert row["input_ids"] == expected["input_ids"] and row["token_type_ids"] == expected["token_type_ids"]
        assert row["length"] == len(expected["input_ids"])
    (pair,) = pa.Table.from_batches(
        list(retrieval.text_candidates([("the mill", "a river")], tokenizer, 30))
    ).to_pylist()
    assert pair["input_ids"] == tokenizer("the mill", "a river")["input_ids"]


def test_candidates_whose_words_can_be_tagged_have_a_label_at_each_word_of_their_first_window():
    tokenizer = wordpiece()
    pool = [(text, None) for text in TEXTS]
    made = pa.Table.from_batches(list(retrieval.word_candidates(pool, tokenizer, 8)))
    assert made.schema == retrieval.word_schema(tokenizer) and made.num_rows == len(pool)
    for (text, _), row in zip(pool, made.to_pylist(), strict=True):
        whole = tokenizer(text)
        assert row["input_ids"] == [*whole["input_ids"][: row["length"] - 1], tokenizer.sep_token_id]
        words = [words for words in whole.word_ids()[1 : row["length"] - 1]]
        first = [i for i, word in enumerate(words, start=1) if i == 1 or word != words[i - 2]]
        assert [i for i, label in enumerate(row["labels"]) if label == -1] == first
        assert {label for i, label in enumerate(row["labels"]) if i not in first} == {-100}


def test_never_a_reported_text_that_differs_by_its_tags_only(tmp_path):
    """Where the data's tags are taken out, the pool's are too, before it is compared with the reported texts."""
    path = tmp_path / "pool.txt"
    path.write_text("Great film.<br /><br />Loved it.\nAnother one.\n<br />\n")
    pool = retrieval.read_pool(path, pairs=False, strip_html=True)
    reported = [(text_sets.cleaned("Great film.<br /><br />Loved it.", strip_html=True), None)]
    assert retrieval.without(pool, reported) == [("Another one.", None)]
