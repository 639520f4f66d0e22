"""Augmented copies: what changes, into what, how often, and that nothing else does."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import PreTrainedTokenizerFast
from transformers.models.bert import BertTokenizer

from distill.augmentation.word_replacement import Augmenter, Vocabulary
from distill.errors import UserError
from tests.helpers import masked, text, tiny

# Ids: 5…29 words, 30…34 continuations, 35…39 punctuation.
WORDS = [f"w{i}" for i in range(25)]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##a", "##b", "##c", "##d", "##e", *"?!.,-"]


def tokenizer():
    assert len(TOKENS) == tiny.VOCAB
    return BertTokenizer(vocab={token: i for i, token in enumerate(TOKENS)})


def augmenter(model=None, probability=0.4, candidates=4, batch_size=7, seed=1):
    model = model or masked.generator()
    return Augmenter(model.eval(), tokenizer(), probability, candidates, batch_size, "fp32", seed)


def texts(count=12):
    """Features of a text task, [CLS] … [SEP], with continuations and punctuation in them."""
    rows = text.features(count)

    def closed(row):
        return {"input_ids": [*row["input_ids"][:-1], 3]}

    return rows.map(closed)


def questions(count=12):
    """Features of questions: [CLS] question [SEP] context [SEP]."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        question, context = (generator.integers(5, tiny.VOCAB, generator.integers(3, 9)).tolist() for _ in "ab")
        ids = [2, *question, 3, *context, 3]
        at = len(question) + 2
        offsets = [-1] * at + [4 * i for i in range(len(context))] + [-1]
        rows.append(
            {
                "input_ids": ids,
                "token_type_ids": [0] * at + [1] * (len(context) + 1),
                "length": len(ids),
                "example_index": number,
                "start_positions": at,
                "end_positions": at + 1,
                "offset_start": offsets,
                "offset_end": [start + 3 if start >= 0 else -1 for start in offsets],
            }
        )
    return datasets.Dataset.from_list(rows)


def table(features):
    return features.data.table.combine_chunks()


def single(ids):
    """Words of one token, by the names of the tokens."""
    names = [TOKENS[i] for i in ids] + ["[SEP]"]
    return [name.startswith("w") and not after.startswith("##") for name, after in zip(names, names[1:], strict=False)]


def likeliest(model, ids, types, place, count):
    """The words that the model, by itself and without padding, finds likeliest at a masked place, best first."""
    given = torch.tensor([ids])
    given[0, place] = 4
    with torch.no_grad():
        logits = model(input_ids=given, token_type_ids=torch.tensor([types])).logits[0, place]
    return sorted(range(5, 30), key=lambda word: -logits[word].item())[:count]


@pytest.mark.parametrize("make", [texts, questions])
def test_only_words_of_one_token_change_and_only_into_the_likeliest(make):
    model, features = masked.generator(), make()
    copies, replaced = augmenter(model).copies(table(features), 0, 3)
    rows, made = features.to_list(), copies.to_pylist()
    assert len(made) == 36
    changes = 0
    for number, copy in enumerate(made):
        own = rows[number // 3]
        may = single(own["input_ids"])
        for place, (before, after) in enumerate(zip(own["input_ids"], copy["input_ids"], strict=True)):
            if before == after:
                continue
            changes += 1
            assert may[place]
            if make is questions:
                assert own["offset_start"][place] == -1 and own["token_type_ids"][place] == 0
            assert after in likeliest(model, own["input_ids"], own["token_type_ids"], place, 4)
    assert changes == replaced > 20


@pytest.mark.parametrize("make", [texts, questions])
def test_labels_offsets_and_lengths_hold(make):
    features = make()
    copies, _ = augmenter(probability=1).copies(table(features), 0, 2)
    assert copies.schema == features.data.table.schema
    for name in set(copies.column_names) - {"input_ids"}:
        given = features.data.table.column(name).to_pylist()
        assert copies.column(name).to_pylist() == [value for value in given for _ in (0, 1)]


def test_of_a_question_s_window_only_the_question_varies():
    features = questions()
    copies, replaced = augmenter(probability=1).copies(table(features), 0, 1)
    assert replaced > 10
    for own, copy in zip(features.to_list(), copies.to_pylist(), strict=True):
        context = [i for i, start in enumerate(own["offset_start"]) if start >= 0]
        assert [own["input_ids"][i] for i in context] == [copy["input_ids"][i] for i in context]
        gold = slice(own["start_positions"], own["end_positions"] + 1)
        assert own["input_ids"][gold] == copy["input_ids"][gold]


def test_each_word_is_replaced_with_the_probability_and_each_candidate_is_as_likely():
    model = masked.generator()
    ids = [2, 6, 7, 8, 3]
    row = {"input_ids": ids, "token_type_ids": [0] * 5, "length": 5, "example_index": 0, "labels": 1}
    copies, _ = augmenter(model, probability=0.4).copies(table(datasets.Dataset.from_list([row])), 0, 4000)
    made = np.array(copies.column("input_ids").to_pylist())
    assert (made[:, 0] == 2).all() and (made[:, 4] == 3).all()
    for place in (1, 2, 3):
        best = likeliest(model, ids, [0] * 5, place, 4)
        for word in {*best, ids[place]}:
            share = 0.4 / 4 * (word in best) + 0.6 * (word == ids[place])
            assert (made[:, place] == word).mean() == pytest.approx(share, abs=0.03)


def test_parts_and_batches_change_nothing():
    features = table(texts(9))
    whole, count = augmenter().copies(features, 0, 3)
    parts = [augmenter(batch_size=2).copies(features.slice(first, 4), first, 3) for first in (0, 4, 8)]
    assert pa.concat_tables([part for part, _ in parts]).equals(whole)
    assert sum(replaced for _, replaced in parts) == count
    assert not augmenter().copies(features, 1, 3)[0].equals(whole)  # another row, another draw


def test_another_seed_makes_other_copies_and_the_same_seed_the_same():
    features = table(texts())
    first, _ = augmenter().copies(features, 0, 2)
    torch.manual_seed(99)
    np.random.seed(99)
    assert augmenter().copies(features, 0, 2)[0].equals(first)
    assert not augmenter(seed=2).copies(features, 0, 2)[0].equals(first)


def test_the_copies_of_a_row_differ():
    copies, _ = augmenter(probability=0.5).copies(table(texts(4)), 0, 5)
    made = [tuple(ids) for ids in copies.column("input_ids").to_pylist()]
    assert len(set(made)) > 12


def test_each_word_is_masked_alone():
    model, seen = masked.generator(), []
    forward = model.bert.forward
    model.bert.forward = lambda ids, **inputs: seen.append(ids) or forward(ids, **inputs)
    augmenter(model, probability=1).copies(table(texts(6)), 0, 2)
    assert seen and all(((ids == 4).sum(1) == 1).all() for ids in seen)


def test_a_row_without_a_word_to_replace_is_copied():
    row = {"input_ids": [2, 5, 30, 36, 3], "token_type_ids": [0] * 5, "length": 5, "example_index": 0, "labels": 1}
    copies, replaced = augmenter(probability=1).copies(table(datasets.Dataset.from_list([row])), 0, 2)
    assert copies.column("input_ids").to_pylist() == [row["input_ids"]] * 2 and replaced == 0


@pytest.mark.parametrize("kind", masked.ARCHITECTURES)
def test_any_architecture_proposes(kind):
    _, replaced = augmenter(masked.generator(kind)).copies(table(texts()), 0, 2)
    assert replaced > 10


def marked(mark):
    """A vocabulary that marks the beginning of words."""
    names = [
        "<s>",
        "<pad>",
        "</s>",
        "<mask>",
        f"{mark}dog",
        f"{mark}cat",
        "s",
        "dog",
        f"{mark}.",
        ".",
        f"{mark}7",
        mark,
    ]
    from tokenizers import Tokenizer, models

    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<pad>"))
    special = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


@pytest.mark.parametrize("mark", ["Ġ", "▁"])
def test_words_in_a_vocabulary_that_marks_beginnings(mark):
    vocabulary = Vocabulary(marked(mark))
    assert np.flatnonzero(vocabulary.word).tolist() == [4, 5, 10]
    assert np.flatnonzero(vocabulary.continues).tolist() == [6, 7]
    #              <s> dog  cat  s   dog .  7  </s>
    ids = np.array([0, 4, 5, 6, 4, 9, 10, 2])
    assert vocabulary.single(ids).tolist() == [False, True, False, False, True, False, True, False]


def test_words_in_a_wordpiece_vocabulary():
    vocabulary = Vocabulary(tokenizer())
    assert np.flatnonzero(vocabulary.word).tolist() == list(range(5, 30))
    assert np.flatnonzero(vocabulary.continues).tolist() == list(range(30, 35))
    ids = np.array([2, 5, 6, 30, 31, 36, 7, 3])
    assert vocabulary.single(ids).tolist() == [False, True, False, False, False, False, True, False]


def test_more_candidates_than_words_are_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"augment.candidates: 26, but the tokenizer has 25 words of one token: lower"):
        augmenter(candidates=26)


def test_a_tokenizer_without_a_mask_token_is_refused():
    bare = tokenizer()
    bare.mask_token = None
    with pytest.raises(UserError, match="no mask token"):
        Augmenter(masked.generator(), bare, 0.4, 4, 8, "fp32", 1)
