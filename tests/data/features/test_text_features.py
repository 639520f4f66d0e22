"""Texts and pairs as tokens: as transformers makes them, cut where it cuts, stored without padding."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from distill.data.features import preparation, text_features
from distill.data.loading.batches import Collator, Rows
from distill.data.loading.prepared import Prepared
from distill.data.loading.tokenizer import train
from distill.errors import UserError
from distill.tasks.base import label_column, labelled
from tests.helpers import text

TEXTS = ["A short one.", "The markets of the town are quiet and the inns are full of noise. " * 3, "Why?", "x"]
PAIRS = [(one, other) for one in TEXTS for other in reversed(TEXTS)]


@pytest.fixture(scope="module")
def wordpiece():
    return train(TEXTS, 60, lowercase=True)


@pytest.fixture(scope="module")
def roberta():
    """Another template, and no token types."""
    words = sorted({word for item in TEXTS for word, _ in pre_tokenizers.Whitespace().pre_tokenize_str(item)})
    vocab = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *words])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def encoded(rows, tokenizer, max_length, numeric=False, batch_size=3):
    batches = list(text_features.encode(rows, tokenizer, max_length, numeric, batch_size))
    return pa.Table.from_batches([batch for batch, _ in batches]).to_pylist(), sum(cut for _, cut in batches)


@pytest.mark.parametrize("kind", ["wordpiece", "roberta"])
@pytest.mark.parametrize("texts", [TEXTS, PAIRS], ids=["single", "pair"])
@pytest.mark.parametrize("max_length", [8, 17, 256])
def test_tokens_are_those_of_transformers(kind, texts, max_length, request):
    tokenizer = request.getfixturevalue(kind)
    rows = text.rows(texts, list(range(len(texts))))
    found, cut = encoded(rows, tokenizer, max_length)
    expected_cut = 0
    for i, (item, row) in enumerate(zip(found, rows, strict=True)):
        texts_of = [row["text"]] if row["text_pair"] is None else [row["text"], row["text_pair"]]
        expected = tokenizer(*texts_of, truncation=True, max_length=max_length)
        assert item["input_ids"] == expected["input_ids"] and item.get("token_type_ids") == expected.get(
            "token_type_ids"
        )
        assert (item["length"], item["example_index"], item["labels"]) == (len(item["input_ids"]), i, i)
        expected_cut += len(tokenizer(*texts_of)["input_ids"]) > max_length
    assert cut == expected_cut and (cut > 0) == (max_length < 256)


def test_of_a_pair_the_longer_text_is_cut_first(wordpiece):
    found, cut = encoded(text.rows([("Why?", TEXTS[1])], [0]), wordpiece, 12)
    alone = wordpiece("Why?", add_special_tokens=False)["input_ids"]
    assert cut == 1 and len(found[0]["input_ids"]) == 12 and found[0]["input_ids"][1 : 1 + len(alone)] == alone


def test_column_types_and_labels(wordpiece):
    numeric, classes = text_features.schema(wordpiece, True), text_features.schema(wordpiece, False)
    assert numeric.field("labels").type == pa.float32() and classes.field("labels").type == pa.int64()
    found, _ = encoded(text.rows(TEXTS, [0.1, 2.5, -1.0, 5.0]), wordpiece, 32, numeric=True)
    assert [item["labels"] for item in found] == pytest.approx([0.1, 2.5, -1.0, 5.0])


def test_a_length_without_room_is_refused(wordpiece):
    with pytest.raises(UserError, match="features.max_length = 4: 3 special tokens.*5 or more"):
        encoded(text.rows(PAIRS, list(range(len(PAIRS)))), wordpiece, 4)


SPLITS = {
    "train": text.rows(TEXTS, [0, 1, 0, 2], "t"),
    "selection": text.rows(TEXTS[:2], [1, 1], "s"),
    "validation": text.rows(TEXTS[2:], [2, 0], "v"),
}


def write(folder, tokenizer, splits=SPLITS, numeric=False, **more):
    meta = {"task": "classification", "labels": ["a", "b", "c"]}
    return preparation.write_texts(folder, splits, tokenizer, 16, numeric, meta, **more)


def test_prepared_texts_come_back_with_counts(tmp_path, wordpiece):
    seen = []
    meta = write(tmp_path / "p", wordpiece, on_batch=lambda split, count: seen.append((split, count)))
    opened = Prepared(tmp_path / "p")
    assert opened.meta == meta and meta["labels"] == ["a", "b", "c"] and "doc_stride" not in meta
    assert seen == [("train", 4), ("selection", 2), ("validation", 2)]
    for split, rows in SPLITS.items():
        assert opened.examples(split).to_list() == rows
        assert opened.features(split).to_list() == encoded(rows, wordpiece, 16)[0]
    lengths = np.asarray(opened.features("train")["length"])
    assert opened.ragged("train").offsets.tolist() == [0, *lengths.cumsum()]
    files = {name: tmp_path / f"p/train/{name}.arrow" for name in ("examples", "features")}
    assert meta["splits"]["train"] == {
        "examples": 4,
        "features": 4,
        "truncated": 1,
        "labels": [2, 1, 1],
        "tokens_mean": round(float(lengths.mean()), 2),
        "tokens_max": 16,
        "blake2b": {
            name: hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for name, file in files.items()
        },
    }


def test_prepared_numbers_keep_every_digit_in_the_examples(tmp_path, wordpiece):
    splits = {"train": text.rows(PAIRS[:3], [0.1, 4.75, 2.0])}
    meta = write(tmp_path / "p", wordpiece, splits, numeric=True)
    assert Prepared(tmp_path / "p").examples("train").to_list() == splits["train"]
    assert meta["splits"]["train"]["labels"] == [0.1, 4.75]


def test_prepared_sets_of_labels_are_numbers_in_the_examples_and_a_column_for_each_class(tmp_path, wordpiece, roberta):
    sets = [[0, 2], [], [1], [0, 1, 2]]
    splits = {"train": text.rows(TEXTS, sets), "transfer": text.rows(TEXTS[:2], [None] * 2, "u")}
    meta = write(tmp_path / "p", wordpiece, splits, classes=3, readers={"teacher": roberta})
    opened = Prepared(tmp_path / "p")
    assert opened.examples("train").to_list() == splits["train"] and opened.examples("transfer")["label"] == [
        None,
        None,
    ]
    counts = {split: (part["labels"], part["without_class"]) for split, part in meta["splits"].items()}
    assert counts == {"train": ([2, 2, 2], 1), "transfer": ([], 0)}
    for reader in (opened, opened.read_by("teacher")):
        features = reader.taught_features()
        rows = Rows(features, ("input_ids", "labels")).__getitems__([5, 0, 1])
        labels = Collator(0, ("labels",))(rows)["labels"]
        assert (
            labels.dtype == torch.float32 and labels[1:].tolist() == [[1, 0, 1], [0, 0, 0]] and labels[0].isnan().all()
        )
        assert labelled({"labels": labels}, ("labels",)).tolist() == [False, True, True]
        values = label_column(features, "labels")
        assert values.shape == (6, 3) and [np.flatnonzero(row).tolist() for row in values[:4]] == sets


def test_writing_twice_gives_the_same_bytes(tmp_path, wordpiece):
    for name in ("one", "two"):
        write(tmp_path / name, wordpiece)
        wordpiece("a b c", truncation=True, max_length=3, padding="max_length")  # state that must not be saved
    one, two = ({f.relative_to(tmp_path / n): f.read_bytes() for f in (tmp_path / n).rglob("*") if f.is_file()}
                for n in ("one", "two"))  # fmt: skip
    assert one == two and len(one) == 1 + 6 + len(list((tmp_path / "one" / "tokenizer").iterdir()))
