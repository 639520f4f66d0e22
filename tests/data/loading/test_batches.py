"""Padding, and the order of rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.trainer_pt_utils import get_length_grouped_indices

from distill.data.loading.batches import Collator, EpochSampler, Padding, Rows, padding
from tests.helpers import tiny

LABELS = ("start_positions", "end_positions")


def order(lengths, batch_size=4, group=True, seed=1, epoch=0):
    sampler = EpochSampler(np.array(lengths), batch_size, group, seed)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(sampler) == len(found)
    return found


def padded_tokens(lengths, indices, batch_size):
    batches = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    return sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)


@pytest.mark.parametrize("longest", [1, 7, 8, 9, 20])
def test_padding_goes_to_the_next_multiple_of_8_and_holds_nothing(longest):
    rows = [
        {
            "index": i,
            "input_ids": list(range(5, 5 + length)),
            "token_type_ids": [1] * length,
            "start_positions": i,
            "end_positions": i + 1,
        }
        for i, length in enumerate([longest, 1, max(1, longest // 2)])
    ]
    batch = Collator(3, LABELS)(rows)
    width = (longest + 7) // 8 * 8
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "index", *LABELS}
    for i, row in enumerate(rows):
        length = len(row["input_ids"])
        assert batch["input_ids"][i].tolist() == row["input_ids"] + [3] * (width - length)
        assert batch["token_type_ids"][i].tolist() == [1] * length + [0] * (width - length)
        assert batch["attention_mask"][i].tolist() == [1] * length + [0] * (width - length)
    assert {value.dtype for value in batch.values()} == {torch.int64}
    assert batch["start_positions"].tolist() == batch["index"].tolist() == [0, 1, 2]


def test_extra_columns_have_a_number_per_token_and_minus_one_at_padding():
    rows = [{"input_ids": [5, 6, 7], "offset_start": [-1, 0, 4]}, {"input_ids": [5], "offset_start": [9]}]
    batch = Collator(0, (), ("offset_start",))(rows)
    assert batch["offset_start"].tolist() == [[-1, 0, 4] + [-1] * 5, [9] + [-1] * 7]
    assert batch["offset_start"].dtype == torch.int64
    assert "offset_start" not in Collator(0, ())(rows)


def test_labels_keep_their_type():
    rows = [{"input_ids": [5], "labels": 0.5}, {"input_ids": [5], "labels": -2.0}]
    batch = Collator(0, ("labels",))(rows)
    assert batch["labels"].dtype == torch.float32 and batch["labels"].tolist() == [0.5, -2.0]
    whole = Collator(0, ("labels",))([{"input_ids": [5], "labels": 2}])
    assert whole["labels"].dtype == torch.int64 and whole["labels"].shape == (1,)


def test_columns_that_are_not_stored_are_not_made_up():
    batch = Collator(0, LABELS)([{"input_ids": [5, 6]}])
    assert set(batch) == {"input_ids", "attention_mask"}


def test_rows_carry_their_number_and_the_columns_that_were_asked_for():
    features = tiny.features(6)
    rows = Rows(features, ("input_ids", "start_positions", "not_stored"))
    assert len(rows) == 6 and rows.lengths.tolist() == features["length"]
    assert rows[4] == {
        "index": 4,
        "input_ids": features["input_ids"][4],
        "start_positions": features["start_positions"][4],
    }
    assert [row["index"] for row in rows.__getitems__([3, 0, 3])] == [3, 0, 3]
    assert rows.__getitems__([3, 0])[0]["input_ids"] == features["input_ids"][3]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=200),
    batch_size=st.integers(1, 40),
    group=st.booleans(),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 20),
)
def test_every_row_once_in_an_order_of_seed_and_epoch_alone(lengths, batch_size, group, seed, epoch):
    found = order(lengths, batch_size, group, seed, epoch)
    assert sorted(found) == list(range(len(lengths)))
    torch.rand(3), np.random.rand(3)  # the global generators have no say, before or after
    state = torch.get_rng_state()
    assert order(lengths, batch_size, group, seed, epoch) == found
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("group", [False, True])
def test_every_epoch_and_every_seed_has_an_order_of_its_own(group):
    lengths = np.random.default_rng(0).integers(5, 100, 500).tolist()
    orders = [order(lengths, 8, group, seed, epoch) for seed in (1, 2) for epoch in (0, 1, 2)]
    assert len({tuple(found) for found in orders}) == len(orders)


def test_an_epoch_does_not_depend_on_the_epochs_before_it():
    lengths = list(range(1, 60))
    sampler = EpochSampler(np.array(lengths), 4, True, 1)
    for epoch in (0, 1, 2):
        sampler.set_epoch(epoch)
        went_through = list(sampler)
    assert went_through == order(lengths, 4, True, 1, epoch=2)


def test_grouped_batches_waste_less():
    lengths = np.random.default_rng(0).integers(10, 200, 1000).tolist()
    real, size = sum(lengths), 16
    grouped = padded_tokens(lengths, order(lengths, size, True), size)
    shuffled = padded_tokens(lengths, order(lengths, size, False), size)
    assert grouped < 1.1 * real < 1.5 * real < shuffled


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), max_size=30), batch_size=st.integers(1, 9), data=st.data())
def test_padding_is_what_the_collator_adds(lengths, batch_size, data):
    indices = data.draw(st.permutations(range(len(lengths))))
    indices = indices[: data.draw(st.integers(0, len(indices)))]
    found = padding(indices, np.array(lengths, np.int32), batch_size)
    masks = [
        Collator(0, ())([{"input_ids": [5] * lengths[i]} for i in indices[k : k + batch_size]])["attention_mask"]
        for k in range(0, len(indices), batch_size)
    ]
    assert found == (sum(int(mask.sum()) for mask in masks), sum(int((1 - mask).sum()) for mask in masks))
    assert found.share == (found.padded / sum(mask.numel() for mask in masks) if masks else 0.0)


def test_padding_of_a_batch_by_hand():
    # Batches (9, 3) and (16): 16 + 16 + 16 positions.
    assert padding([2, 0, 1], np.array([3, 16, 9]), 2) == Padding(28, 20)
    assert Padding(28, 20).share == 20 / 48


def test_the_order_is_transformers_own_but_for_whole_batches():
    """Their groups of rows, which are drawn first from the same generator."""
    lengths = np.random.default_rng(0).integers(10, 200, 1024).tolist()
    generator = torch.Generator().manual_seed(7 * 100_003 + 2)
    theirs = get_length_grouped_indices(lengths, 8, generator=generator)
    groups = {tuple(theirs[k : k + 8]) for k in range(0, 1024, 8)}
    ours = order(lengths, 8, True, seed=7, epoch=2)
    assert {tuple(ours[k : k + 8]) for k in range(0, 1024, 8)} == groups


def test_little_is_padded_at_the_lengths_of_real_questions():
    """Windows about as long as SQuAD's: a normal distribution of 40 to 384 tokens around 170."""
    lengths = np.random.default_rng(0).normal(170, 60, 20_000).clip(40, 384).astype(np.int32)
    for size in (16, 32):
        assert padding(order(lengths, size, True), lengths, size).share < 0.05
        assert padding(order(lengths, size, False), lengths, size).share > 0.3


@pytest.mark.parametrize("count", [3, 16, 1003, 1024])
def test_the_longest_row_comes_first(count):
    lengths = np.random.default_rng(0).integers(10, 200, count).tolist()
    for epoch in range(3):
        assert max(lengths) in [lengths[i] for i in order(lengths, 16, True, epoch=epoch)[:16]]


def test_batches_are_not_in_order_of_length():
    lengths = np.random.default_rng(0).integers(10, 200, 1024).tolist()
    found = order(lengths, 16, True)
    longest = [max(lengths[i] for i in found[k : k + 16]) for k in range(0, 1024, 16)]
    falls = sum(a >= b for a, b in zip(longest, longest[1:], strict=False))
    assert 20 < falls < 44
