"""Features against the tokenizers' own long way round, and against the text that they point at."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BertTokenizer, PreTrainedTokenizerFast

from distill.data.features.question_features import encode, schema
from distill.data.loading.tokenizer import load, train
from distill.data.sources.question_sets import limit, load_squad_json
from distill.errors import UserError

WORDS = [
    "the",
    "river",
    "bank",
    "tower",
    "city",
    "founded",
    "painted",
    "green",
    "seven",
    "hundred",
    "mayor",
    "lake",
    "bridge",
    "stone",
]


def row(id_: str, question: str, context: str, answer: str | None = None, start: int | None = None) -> dict:
    texts = [] if answer is None else [answer]
    starts = [] if answer is None else [context.index(answer) if start is None else start]
    answers = {"text": texts, "answer_start": starts}
    return {"id": id_, "title": "t", "context": context, "question": question, "answers": answers}


def corpus(count: int) -> list[dict]:
    """Questions over contexts of 5 to 60 random words, three per context, the third unanswerable."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(count):
        words = [str(word) for word in random.choice(WORDS, size=int(random.integers(5, 60)))]
        context = " ".join(words) + "."
        for k in range(3):
            first = int(random.integers(0, len(words) - 3))
            start = len(" ".join(words[:first])) + (first > 0)
            answer = " ".join(words[first : first + 3]) if k < 2 else None
            question = " ".join(str(word) for word in random.choice(WORDS, size=4)) + "?"
            rows.append(row(f"{i}-{k}", question, context, answer, start))
    return rows


@pytest.fixture(scope="module")
def wordpiece() -> BertTokenizer:
    return train([" ".join(WORDS) + " . ? é"], 200, lowercase=True)


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    """RoBERTa's layout over bytes: no token types, two separators, a space inside most tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", *alphabet, "Ġt", "he", "Ġthe"])}
    backend = Tokenizer(models.BPE(vocab, [("Ġ", "t"), ("h", "e"), ("Ġt", "he")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )


def features_of(rows: list[dict], tokenizer, max_length: int, doc_stride: int, batch_size: int = 7) -> list[dict]:
    return pa.Table.from_batches(encode(rows, tokenizer, max_length, doc_stride, batch_size)).to_pylist()


def reference(item: dict, tokenizer, max_length: int, doc_stride: int) -> dict:
    """The library's own windows for one question."""
    return tokenizer(
        item["question"].lstrip(),
        item["context"],
        truncation="only_second",
        max_length=max_length,
        stride=doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )


def check_against_library(rows: list[dict], tokenizer, max_length: int, doc_stride: int) -> list[dict]:
    """Every id, type, offset and label equals what follows from the library's slow path. Returns the features."""
    found = features_of(rows, tokenizer, max_length, doc_stride)
    position = 0
    for index, item in enumerate(rows):
        expected = reference(item, tokenizer, max_length, doc_stride)
        for k, ids in enumerate(expected["input_ids"]):
            feature = found[position]
            position += 1
            assert feature["example_index"] == index
            assert feature["input_ids"] == ids
            assert feature["length"] == len(ids) <= max_length
            assert feature.get("token_type_ids", expected["token_type_ids"][k]) == expected["token_type_ids"][k]
            assert feature["cls_index"] == ids.index(tokenizer.cls_token_id)
            spans = []
            for (start, end), sequence in zip(expected["offset_mapping"][k], expected.sequence_ids(k), strict=True):
                if sequence == 1:
                    while start < end and item["context"][start].isspace():
                        start += 1
                spans.append((start, end) if sequence == 1 else (-1, -1))
            ours = list(zip(feature["offset_start"], feature["offset_end"], strict=True))
            assert [widthless(span) for span in ours] == [widthless(span) for span in spans]
            assert (feature["start_positions"], feature["end_positions"]) == label(item, spans, feature["cls_index"])
            marked = [mark for mark, (start, end) in zip(feature["gold"], spans, strict=True) if start < end]
            assert marked == gold(item, [span for span in spans if span[0] < span[1]])
            assert not any(mark for mark, span in zip(feature["gold"], spans, strict=True) if span == (-1, -1))
    assert position == len(found)
    return found


def widthless(span: tuple[int, int]) -> tuple[int, int] | None:
    """None for a token that is only a space: RoBERTa puts its empty span before the space, we after it."""
    return None if 0 <= span[0] == span[1] else span


def gold(item: dict, spans: list[tuple[int, int]]) -> list[bool]:
    """Which tokens hold a character of any answer, wherever the window ends."""
    answers = zip(item["answers"]["text"], item["answers"]["answer_start"], strict=True)
    wanted = {start + i for text, start in answers for i, character in enumerate(text) if not character.isspace()}
    return [bool(wanted & set(range(low, high))) for low, high in spans]


def label(item: dict, spans: list[tuple[int, int]], cls: int) -> tuple[int, int]:
    """First and last token that hold a character of the first answer, if all of it lies in the window."""
    if not item["answers"]["text"]:
        return cls, cls
    text, start = item["answers"]["text"][0], item["answers"]["answer_start"][0]
    wanted = {start + i for i, character in enumerate(text) if not character.isspace()}
    hits = [i for i, (low, high) in enumerate(spans) if wanted & set(range(low, high))]
    context = [span for span in spans if span != (-1, -1)]
    if not hits or min(wanted) < context[0][0] or max(wanted) >= context[-1][1]:
        return cls, cls
    return hits[0], hits[-1]


@pytest.mark.parametrize(("max_length", "doc_stride"), [(24, 8), (24, 0), (40, 13), (512, 128), (17, 16), (9, 2)])
def test_windows_equal_the_librarys(wordpiece, max_length, doc_stride):
    rows = corpus(12)
    if max_length - 8 <= doc_stride:  # [CLS] [SEP] [SEP] and five question tokens leave no room
        with pytest.raises(UserError):
            features_of(rows, wordpiece, max_length, doc_stride)
        return
    found = check_against_library(rows, wordpiece, max_length, doc_stride)
    assert any(feature["start_positions"] != feature["cls_index"] for feature in found)


def test_byte_level_windows_equal_the_librarys(byte_level):
    rows = [
        row("a", " the bank?", "the bank  of the river, é and 東京 the", "東京"),
        row("b", "the?", "the bank  of the river, é and 東京 the", "bank  of"),
        row("c", "the?", "\n the tower", "the tower"),
        row("d", "the?", "the the the"),
    ]
    for max_length, doc_stride in ((20, 4), (100, 10)):
        found = check_against_library(rows, byte_level, max_length, doc_stride)
        assert "token_type_ids" not in found[0]
    whole = {feature["example_index"]: feature for feature in found}
    context = rows[0]["context"]
    for index, text in ((0, "東京"), (1, "bank  of"), (2, "the tower")):
        feature = whole[index]
        first, last = feature["start_positions"], feature["end_positions"]
        assert rows[index]["context"][feature["offset_start"][first] : feature["offset_end"][last]] == text
    assert context.index("東京") == whole[0]["offset_start"][whole[0]["start_positions"]]


def test_spaces_at_the_ends_of_contexts_stay_within_them(byte_level):
    """All contexts of a batch are searched for spaces at once."""
    rows = [
        row(f"{i}", "the?", context) for i, context in enumerate((" the \n ", "the  ", "  the", " é the   ", "the"))
    ]
    for max_length, doc_stride in ((12, 1), (100, 10)):
        check_against_library(rows, byte_level, max_length, doc_stride)


def template(tokenizer: BertTokenizer, pair: str) -> PreTrainedTokenizerFast:
    """The same words in another layout."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]") if name in pair]
    backend.post_processor = processors.TemplateProcessing(single="$A", pair=pair, special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        model_input_names=["input_ids", "token_type_ids"],
    )


@pytest.mark.parametrize(
    "pair",
    [
        "$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2",
        "$A:0 [SEP]:3 [CLS]:2 [SEP]:1 $B:1",
        "[SEP]:5 [CLS]:4 $A:0 $B:1",
    ],
)
def test_other_layouts_equal_the_librarys(wordpiece, pair):
    """[CLS] at the end as XLNet has it, or in the middle, with token types of its own.

    The texts have types 0 and 1: others the library puts on a question's first window alone.
    """
    rows = [*corpus(4), row("\x07", "the?", "\x07"), *corpus(2)]
    for max_length, doc_stride in ((24, 8), (512, 128)):
        check_against_library(rows, template(wordpiece, pair), max_length, doc_stride)


def test_layouts_that_cannot_be_used_are_refused(wordpiece):
    with pytest.raises(UserError, match="features.tokenizer: adds no cls token"):
        features_of(corpus(1), template(wordpiece, "$A [SEP] $B"), 64, 8)
    with pytest.raises(UserError, match="features.tokenizer: puts the second text first"):
        features_of(corpus(1), template(wordpiece, "[CLS] $B [SEP] $A"), 64, 8)


def test_batches_are_made_one_after_the_other(wordpiece):
    """Constant memory: nothing of the second batch is looked at before it is asked for."""
    made = encode([row("a", "the?", "the bank"), None], wordpiece, 64, 8, batch_size=1)
    assert len(next(made)) == 1
    with pytest.raises(TypeError):
        next(made)


def test_windows_cover_the_whole_context_and_overlap_by_the_stride(wordpiece):
    rows = corpus(20)
    found = features_of(rows, wordpiece, 24, 8)
    for index, item in enumerate(rows):
        windows = [feature for feature in found if feature["example_index"] == index]
        spans = [
            [span for span in zip(w["offset_start"], w["offset_end"], strict=True) if span != (-1, -1)] for w in windows
        ]
        covered = {i for window in spans for low, high in window for i in range(low, high)}
        assert covered == {i for i, character in enumerate(item["context"]) if not character.isspace()}
        for before, after in zip(spans, spans[1:], strict=False):
            assert before[-8:] == after[:8]


def test_every_answer_is_found_in_some_window_and_maps_back_exactly(wordpiece):
    rows = corpus(30)
    found = features_of(rows, wordpiece, 32, 10)
    located = set()
    for feature in found:
        item = rows[feature["example_index"]]
        first, last = feature["start_positions"], feature["end_positions"]
        if not item["answers"]["text"]:
            assert first == last == feature["cls_index"]
        elif first != feature["cls_index"]:
            text = item["context"][feature["offset_start"][first] : feature["offset_end"][last]]
            assert text == item["answers"]["text"][0]
            located.add(feature["example_index"])
    assert located == {i for i, item in enumerate(rows) if item["answers"]["text"]}


def test_answer_inside_a_token_takes_the_token(wordpiece):
    item = row("a", "the?", "the bridge.", "ridge")
    feature = features_of([item], wordpiece, 64, 8)[0]
    assert wordpiece.convert_ids_to_tokens(feature["input_ids"][feature["start_positions"]]) == "bridge"
    assert feature["start_positions"] == feature["end_positions"]


def test_first_of_several_answers_is_the_label(wordpiece):
    item = row("a", "the?", "the stone bridge", "stone")
    item["answers"] = {"text": ["bridge", "stone"], "answer_start": [10, 4]}
    feature = features_of([item], wordpiece, 64, 8)[0]
    assert feature["offset_start"][feature["start_positions"]] == 10


def test_gold_tokens_are_marked_where_a_window_cuts_through_the_answer(wordpiece):
    item = row("a", "the?", "lake stone tower city painted bridge", "stone tower city")
    cut = features_of([item, row("b", "the?", item["context"])], wordpiece, 8, 1)  # three tokens of the context each
    found = [(wordpiece.convert_ids_to_tokens(f["input_ids"])[4:-1], f["gold"][4:-1]) for f in cut]
    assert found[:3] == [
        (["lake", "stone", "tower"], [False, True, True]),
        (["tower", "city", "painted"], [True, True, False]),
        (["painted", "bridge"], [False, False]),
    ]
    assert all(f["start_positions"] == f["end_positions"] == f["cls_index"] for f in cut)
    assert not any(mark for f in cut[3:] for mark in f["gold"])  # a question without an answer


def test_every_gold_answer_is_marked_and_none_of_another_question(wordpiece):
    context = "lake stone tower city painted bridge"
    item = row("a", "the?", context)
    item["answers"] = {"text": ["bridge", "stone tower", "tower"], "answer_start": [30, 5, 11]}
    rows = [row("b", "the?", context, "city"), item, row("c", "the?", context), row("d", "the?", context, "lake")]
    marked = [
        [word for word, gold in zip(wordpiece.convert_ids_to_tokens(f["input_ids"]), f["gold"], strict=True) if gold]
        for f in features_of(rows, wordpiece, 64, 8)
    ]
    assert marked == [["city"], ["stone", "tower", "bridge"], [], ["lake"]]


def test_answer_with_spaces_around_it(wordpiece):
    feature = features_of([row("a", "the?", "the stone bridge", " stone ")], wordpiece, 64, 8)[0]
    assert (feature["offset_start"][feature["start_positions"]], feature["offset_end"][feature["end_positions"]]) == (
        4,
        9,
    )


def test_answer_and_context_that_the_tokenizer_drops(wordpiece):
    # BERT's normaliser removes control characters, so no token stands for them.
    dropped = features_of([row("a", "the?", "the \x07 bridge", "\x07")], wordpiece, 64, 8)[0]
    assert dropped["start_positions"] == dropped["end_positions"] == dropped["cls_index"] and not any(dropped["gold"])
    empty = features_of([row("a", "the?", "\x07", "\x07")], wordpiece, 64, 8)[0]
    assert set(empty["offset_start"]) == {-1} and empty["start_positions"] == empty["cls_index"]
    assert empty["input_ids"] == wordpiece("the?", "\x07")["input_ids"]


def test_leading_space_of_the_question_changes_nothing(wordpiece):
    plain, spaced = (
        features_of([row("a", question, "the bank")], wordpiece, 64, 8) for question in ("the?", " \n the?")
    )
    assert plain == spaced


def test_batches_change_nothing_and_the_tokenizer_is_left_alone(wordpiece):
    rows = corpus(10)
    before = wordpiece.backend_tokenizer.to_str()
    assert features_of(rows, wordpiece, 24, 8, batch_size=1) == features_of(rows, wordpiece, 24, 8, batch_size=1000)
    assert wordpiece.backend_tokenizer.to_str() == before


def test_state_left_in_the_tokenizer_does_not_matter(wordpiece):
    rows = corpus(4)
    expected = features_of(rows, wordpiece, 24, 8)
    wordpiece("the", truncation=True, max_length=3, padding="max_length")
    assert features_of(rows, wordpiece, 24, 8) == expected


def test_columns(wordpiece, byte_level):
    assert schema(wordpiece).names == [
        "input_ids",
        "token_type_ids",
        "length",
        "example_index",
        "start_positions",
        "end_positions",
        "cls_index",
        "offset_start",
        "offset_end",
        "gold",
    ]
    assert "token_type_ids" not in schema(byte_level).names
    batch = next(encode(corpus(2), wordpiece, 64, 8))
    assert batch.schema == schema(wordpiece)
    assert batch.schema.field("input_ids").type == pa.list_(pa.int32())
    assert batch.schema.field("token_type_ids").type == pa.list_(pa.int8())
    assert batch.schema.field("gold").type == pa.list_(pa.bool_())  # a bit per token
    batch.validate(full=True)


def test_question_longer_than_the_window(wordpiece):
    rows = [row("fits", "the?", "the bank"), row("long", "bank " * 30, "the bank " * 20)]
    with pytest.raises(UserError) as caught:
        features_of(rows, wordpiece, 24, 8)
    message = str(caught.value)
    assert message.startswith('question "long": its 30 tokens leave room for 0 of the context')
    assert "features.max_length = 24" in message and "features.doc_stride = 8" in message and "raise" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(("words", "fits"), [(12, True), (13, False)])
def test_question_at_the_limit(wordpiece, words, fits):
    # 24 tokens less 3 special ones leave 21: 12 for the question and the 9 that a stride of 8 needs.
    rows = [row("edge", "bank " * words, "the bank " * 20)]
    if fits:
        check_against_library(rows, wordpiece, 24, 8)
    else:
        with pytest.raises(UserError, match='question "edge": its 13 tokens leave room for 8 '):
            features_of(rows, wordpiece, 24, 8)


def test_long_question_is_fine_where_nothing_need_be_cut(wordpiece):
    rows = [row("edge", "bank " * 17, "the bank bridge tower", "bridge")]
    found = check_against_library(rows, wordpiece, 24, 8)
    assert len(found) == 1 and found[0]["length"] == 24


def normalised(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().lower()


@pytest.mark.parametrize("name", ["minilm-l6-h384", "deberta-v3-tokenizer"])
def test_real_questions(shared, name):
    rows = load_squad_json(shared / "data" / "squad_v2" / "dev-v2.0.json", version_2=True)
    rows = limit(rows, 500, seed=1)
    tokenizer = load(str(shared / "models" / name))
    found = check_against_library(rows, tokenizer, 192, 64)
    answerable = {i for i, item in enumerate(rows) if item["answers"]["text"]}
    located, wider = set(), []
    for feature in found:
        if feature["start_positions"] == feature["cls_index"]:
            continue
        index = feature["example_index"]
        located.add(index)
        item = rows[index]
        first, last = feature["start_positions"], feature["end_positions"]
        text = item["context"][feature["offset_start"][first] : feature["offset_end"][last]]
        gold = item["answers"]["text"][0]
        assert gold in text
        if normalised(text) != normalised(gold):
            wider.append((gold, text))
    assert located == answerable
    assert len(answerable) > 200
    # Some answers end inside a token ("1970" of "1970s"): the label is the token, which is wider by a few characters.
    assert len(wider) <= 0.02 * len(answerable), wider
    assert all(len(text) - len(gold) <= 8 for gold, text in wider), wider
