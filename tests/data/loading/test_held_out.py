"""Held-out rows: which, in which order."""

import torch

from distill.data.loading.held_out import HeldOut
from tests.helpers import text


def held_out(seed=3, share=0.2):
    return HeldOut(text.features(count=24), ("labels",), 0, share, seed)


def test_the_rows_are_a_share_that_the_seed_alone_decides():
    rows = held_out().rows
    assert len(rows) == len(set(rows.tolist())) == 5 and rows.tolist() == sorted(rows.tolist())
    assert torch.equal(rows, held_out().rows) and not torch.equal(rows, held_out(seed=4).rows)
    assert (len(held_out(share=0.001).rows), len(held_out(share=0.999).rows)) == (1, 23)


def test_batches_go_over_all_rows_pass_after_pass_and_any_of_them_can_be_had():
    held = held_out()
    drawn = [held.batch(number, 2)["index"].tolist() for number in range(5)]
    seen = [row for batch in drawn for row in batch]
    assert sorted(seen[:5]) == sorted(seen[5:]) == held.rows.tolist() and seen[:5] != seen[5:]
    assert held_out().batch(3, 2)["index"].tolist() == drawn[3]  # what a resumed run asks for first
    assert sorted(held.batch(7, 9)["index"].tolist()) == held.rows.tolist()


def test_a_batch_has_the_labels_of_its_rows():
    features, batch = text.features(count=24), held_out().batch(1, 3)
    assert batch["labels"].tolist() == [features[row]["labels"] for row in batch["index"].tolist()]
    first = features[batch["index"][0].item()]["input_ids"]
    assert batch["input_ids"][0, : len(first)].tolist() == first
