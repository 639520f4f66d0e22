"""Batches of labelled and unlabelled rows: their numbers, their order over epochs, their padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.loading.batches import EpochSampler, padding
from distill.data.loading.mixing import Mix, MixedSampler, sampler
from distill.data.loading.sharding import Shares

LENGTHS = np.random.default_rng(5).integers(4, 60, 3000)


def batches(labelled, unlabelled, size, share, epochs=(0,), group=True, seed=1, parts=1):
    """The rows of the updates of these epochs: int, (updates, size)."""
    order = MixedSampler(LENGTHS[: labelled + unlabelled], size, group, seed, Mix(labelled, share), parts)
    rows = []
    for epoch in epochs:
        order.set_epoch(epoch)
        rows += list(order)
        assert len(order) * (1 + list(epochs).index(epoch)) == len(rows)
    return np.array(rows).reshape(-1, size)


CASES = {
    "labelled": st.integers(0, 60),
    "unlabelled": st.integers(1, 90),
    "each": st.integers(1, 4),
    "parts": st.integers(1, 3),
    "share": st.floats(0, 1),
    "group": st.booleans(),
    "seed": st.integers(0, 9),
}


@given(**CASES)
def test_every_update_has_its_numbers_and_every_row_its_turn(labelled, unlabelled, each, parts, share, group, seed):
    size = each * parts
    taken = round(share * size) if labelled else size
    rows = batches(labelled, unlabelled, size, share, range(4), group, seed, parts)
    assert len(rows) == 4 * -(-(labelled or unlabelled) // size)
    assert ((rows >= labelled).sum(1) == taken).all()
    counts = np.zeros(labelled + unlabelled, int)
    for batch in rows:
        np.add.at(counts, batch, 1)
        for stream in (counts[:labelled], counts[labelled:]):
            # None is seen twice more than another: a pass is complete before the next one goes on.
            assert not len(stream) or stream.max() - stream.min() <= 1
    for stream, number in ((counts[:labelled], size - taken), (counts[labelled:], taken)):
        assert stream.sum() == len(rows) * number
        assert not len(stream) or stream.max() - stream.min() <= 1


@given(**CASES)
def test_forward_passes_share_the_labelled_rows_and_have_them_in_front(
    labelled, unlabelled, each, parts, share, group, seed
):
    rows = batches(labelled, unlabelled, each * parts, share, (1,), group, seed, parts)
    known = (rows < labelled).reshape(-1, parts, each)
    numbers = known.sum(2)
    assert (numbers.max(1) - numbers.min(1) <= 1).all()
    assert (np.sort(~known, 2) == ~known).all()
    whole = batches(labelled, unlabelled, each * parts, share, (1,), group, seed)
    assert (np.sort(rows, 1) == np.sort(whole, 1)).all()


@pytest.mark.parametrize("group", [True, False])
def test_epochs_depend_on_seed_and_number_alone(group):
    """A killed training begins in the epoch in which it ended."""
    whole = batches(70, 300, 8, 0.5, range(6), group)
    again = batches(70, 300, 8, 0.5, (4, 5), group)
    assert (whole[4 * 9 :] == again).all()
    assert (whole[:9] != batches(70, 300, 8, 0.5, (0,), group, seed=2)).any()
    assert (whole[:9] != whole[9:18]).any()


def test_rows_of_a_batch_are_about_equally_long_and_the_longest_come_first():
    for labelled in (300, 1000):
        lengths = LENGTHS[: labelled + 1500]
        shares = {}
        for group in (True, False):
            order = batches(labelled, 1500, 16, 0.5, range(3), group).ravel()
            shares[group] = padding(order, lengths, 16).share
        assert shares[True] < 0.25 < shares[False]
    first = batches(300, 1500, 16, 0.5)[0]
    assert lengths[first[:8]].max() == lengths[:300].max()
    first_unlabelled = first[first >= 300]
    assert lengths[first_unlabelled].max() == lengths[300:1800].max()


def test_batches_of_different_lengths_come_in_no_order():
    rows = batches(1000, 1500, 16, 0.5, range(2))
    longest = LENGTHS[rows].max(1)[1:]
    falls = (np.diff(longest) < 0).mean()
    assert 0.3 < falls < 0.7


@pytest.mark.parametrize("count", [2, 4])
def test_processes_deal_the_same_rows_and_each_gets_labelled_ones(count):
    order = sampler(LENGTHS[:120], 8, True, 3, Mix(40, 0.5))
    whole = np.array(list(order)).reshape(-1, 8)
    dealt = [list(Shares(order, 8, rank, count)) for rank in range(count)]
    for update, rows in enumerate(whole):
        shares = [part[update] for part in dealt]
        assert sorted(row for share in shares for row in share) == sorted(rows)
        assert {sum(row < 40 for row in share) for share in shares} == {4 // count}
        assert {share.weight for share in shares} == {1.0}


def test_without_a_mix_the_order_is_the_plain_one():
    plain, other = EpochSampler(LENGTHS[:50], 8, True, 3), sampler(LENGTHS[:50], 8, True, 3)
    assert type(other) is EpochSampler and list(plain) == list(other)
