"""Batches dealt to several processes: together they are the batches of one."""

import numpy as np
import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import BatchSamplerShard

from distill.data.loading import sharding
from distill.data.loading.batches import Collator, EpochSampler, Rows
from tests.helpers import tiny

LENGTHS = np.random.default_rng(0).integers(5, 30, 29)  # the last batch of 8 has 5 rows, of 7 one


def sampler(group=True, epoch=0):
    made = EpochSampler(LENGTHS, 8, group, seed=3)
    made.set_epoch(epoch)
    return made


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize(("size", "count"), [(8, 1), (8, 2), (8, 4), (9, 3), (7, 7)])
def test_the_shares_of_all_processes_are_the_batches_of_one(size, count, group):
    order = list(sampler(group))
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    dealt = [sharding.Shares(sampler(group), size, rank, count) for rank in range(count)]
    assert {len(each) for each in dealt} == {len(batches)}
    for batch, parts in zip(batches, zip(*dealt, strict=True), strict=True):
        assert sorted(row for part in parts if part.weight for row in part) == sorted(batch)
        assert all(len(part) == size // count and part.weight == 1 for part in parts) or len(batch) < size
        assert all(set(part) <= set(batch) and part for part in parts)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_mean_of_the_weighted_means_is_the_mean_of_the_batch(count):
    values = np.random.default_rng(1).normal(size=len(LENGTHS))
    order = list(sampler())
    dealt = [list(sharding.Shares(sampler(), 12, rank, count)) for rank in range(count)]
    for number, parts in enumerate(zip(*dealt, strict=True)):
        expected = values[order[12 * number : 12 * (number + 1)]].mean()
        assert np.mean([part.weight * values[list(part)].mean() for part in parts]) == pytest.approx(expected)


def test_neighbours_in_length_go_to_different_processes():
    one, other = (list(sharding.Shares(sampler(), 8, rank, 2)) for rank in (0, 1))
    for mine, theirs in list(zip(one, other, strict=True))[:-1]:
        # In a batch sorted by length, card by card: never more apart than the longest from the shortest.
        batch = sorted(LENGTHS[[*mine, *theirs]])
        assert abs(LENGTHS[list(mine)].sum() - LENGTHS[list(theirs)].sum()) <= batch[-1] - batch[0]


def test_accelerates_own_shares_are_other_batches():
    """Why the dealing is done here; when this fails, accelerate's can take its place."""
    order = list(sampler())
    batches = [order[i : i + 8] for i in range(0, len(order), 8)]
    given = torch.utils.data.BatchSampler(order, 8, drop_last=False)
    theirs = [list(BatchSamplerShard(given, 2, rank, split_batches=True)) for rank in (0, 1)]
    ours = [list(sharding.Shares(sampler(), 8, rank, 2)) for rank in (0, 1)]

    def unequal(shares):
        return sum(
            abs(LENGTHS[one].sum() - LENGTHS[other].sum()) for one, other in list(zip(*shares, strict=True))[:-1]
        )

    assert unequal(theirs) > 3 * unequal(ours)
    last = [*theirs[0][-1], *theirs[1][-1]]
    assert len(last) == 8 > len(batches[-1]) and set(last) & set(batches[0])


def test_another_epoch_has_another_order():
    each = sharding.Shares(sampler(), 8, 0, 2)
    first = [list(part) for part in each]
    each.set_epoch(1)
    assert [list(part) for part in each] != first
    assert [list(part) for part in each] == [list(part) for part in sharding.Shares(sampler(epoch=1), 8, 0, 2)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_gives_padded_batches_with_their_weight_and_can_skip(workers):
    rows = Rows(tiny.features(21), ("input_ids", "start_positions"))
    order = list(EpochSampler(rows.lengths, 8, True, 1))

    def loader():
        given = EpochSampler(rows.lengths, 8, True, 1)
        return sharding.loader(rows, given, Collator(0, ("start_positions",)), 8, 1, 2, num_workers=workers)

    batches = list(loader())
    assert [batch["index"].tolist() for batch in batches] == [order[1:8:2], order[9:16:2], order[17:21:2]]
    assert [batch["weight"].item() for batch in batches] == pytest.approx([1, 1, 2 * 2 / 5])
    assert all(batch["input_ids"].shape[1] % 8 == 0 for batch in batches)
    later = list(skip_first_batches(loader(), 1))
    assert [batch["index"].tolist() for batch in later] == [batch["index"].tolist() for batch in batches[1:]]
    assert torch.equal(later[-1]["weight"], batches[-1]["weight"])
