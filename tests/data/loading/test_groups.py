"""Batches of whole groups: whatever draws, sorts, mixes or deals out, no group is cut."""

import datasets
import numpy as np
import pytest
import torch

from distill.data.loading.batches import Collator, EpochSampler
from distill.data.loading.groups import GroupedRows, bounds
from distill.data.loading.mixing import Mix, sampler
from distill.data.loading.sharding import Shares
from distill.models.forward import forward_pass
from distill.tasks.registry import load_task
from distill.training import phases
from distill.training.objective import Objective
from distill.training.run import TrainingRun
from tests.helpers import rankings, text, tiny

SIZES = [3, 1, 4, 2, 5, 2, 3, 4, 2, 2, 3, 1, 4]
COLUMNS = ("input_ids", "token_type_ids", "labels", "group", "passage")
TASK = load_task("ranking")


@pytest.fixture(scope="module")
def features():
    return rankings.features(rankings.rows(SIZES))


def test_groups_are_told_apart_within_and_between_splits(features):
    assert bounds(features).tolist() == rankings.bounds(SIZES).tolist()
    one = rankings.features(rankings.rows([3]))  # its only group has number 0, as the first one of the next split
    both = datasets.concatenate_datasets([one, rankings.features(rankings.rows([2, 2], "t"))])
    assert both["group"] == [0, 0, 0, 0, 0, 1, 1] and bounds(both).tolist() == [0, 3, 5, 7]
    assert bounds(one.select(range(0))).tolist() == [0]
    rows = GroupedRows(both, COLUMNS)
    assert [row["group"] for row in rows.__getitems__([1, 0, 2])] == [1, 1, 0, 0, 0, 2, 2]


def test_the_passages_tokens_are_marked_and_the_query_is_not(features):
    tokenizer = tiny.tokenizer()
    for row, example in zip(features, rankings.rows(SIZES), strict=True):
        ids = [token for token, inside in zip(row["input_ids"], row["passage"], strict=True) if inside]
        assert tokenizer.decode(ids) == example["text_pair"]


@pytest.mark.parametrize("by_length", [True, False])
def test_every_batch_holds_whole_groups_and_every_group_once(features, by_length):
    rows, collate = GroupedRows(features, COLUMNS), Collator(0, ("labels", "group"), ("passage",))
    order = list(EpochSampler(rows.lengths, 3, by_length, seed=1))
    assert sorted(order) == list(range(len(SIZES))) and len(rows) == len(SIZES)
    padded = tokens = 0
    for start in range(0, len(order), 3):
        batch = collate(rows.__getitems__(order[start : start + 3]))
        for group in batch["group"].unique().tolist():
            first, end = bounds(features)[group : group + 2]
            assert batch["index"][batch["group"] == group].tolist() == list(range(first, end))
        padded += int((batch["attention_mask"] == 0).sum())
        tokens += int(batch["attention_mask"].sum())
    assert rows.padding(order, 3) == (tokens, padded)
    if by_length:  # the longest first, so that a lack of memory shows at once
        assert max(features["length"]) in rows.tokens[bounds(features)[order[0]] : bounds(features)[order[0] + 1]]


def test_processes_and_transfer_sets_get_whole_groups(features):
    rows = GroupedRows(features, COLUMNS)
    order = EpochSampler(rows.lengths, 4, True, seed=1)
    parts = [list(Shares(order, 4, rank, 2)) for rank in range(2)]
    for both in zip(*parts, strict=True):
        assert sum(share.weight for share in both) == pytest.approx(2)
    assert sorted({group for part in parts for share in part for group in share}) == list(range(len(SIZES)))
    mixed = list(sampler(rows.lengths, 4, True, 1, Mix(9, 0.5)))
    assert all(sum(group >= 9 for group in mixed[i : i + 4]) == 2 for i in range(0, len(mixed), 4))


class Kill(Exception):
    """Stands for a kill of the process."""


class Ranker(Objective):
    """The task loss of a model with dropout, and what it sees."""

    def __init__(self, die=None):
        super().__init__()
        self.model = text.model("bert", 1, channels=1, hidden_dropout_prob=0.2)
        self.die, self.seen = die, []

    def set_progress(self, progress):
        if progress.step == self.die:
            raise Kill

    def forward(self, **batch):
        self.seen.append((batch["group"].tolist(), batch["index"].tolist()))
        loss = TASK.loss(forward_pass(self.model, TASK, batch).logits, batch)
        return {"loss": loss, "task": loss}


def run(module, folder, features, mix=None, **changes):
    settings = tiny.training(**{"max_steps": None, "batch_size": 4, "group_by_length": True, "log_every": 1} | changes)
    given = (features, 0, TASK.labels, settings, tiny.runtime(2), 1, folder, "test")
    return phases.train(TrainingRun(module, *given, mix=mix))


def test_a_killed_training_goes_on_with_the_same_groups_and_ends_with_the_same_bytes(features, tmp_path):
    whole = Ranker()
    expected = run(whole, tmp_path / "whole", features, epochs=2)
    assert expected.steps == 8  # 13 groups, four a batch
    with pytest.raises(Kill):
        run(Ranker(die=5), tmp_path / "killed", features, epochs=2)
    again = Ranker()
    result = run(again, tmp_path / "killed", features, epochs=2)
    assert again.seen == whole.seen[-len(again.seen) :] and len(again.seen) < len(whole.seen)
    assert result.history == expected.history
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_updates_are_counted_in_groups_and_labels_alone_leave_out_the_transfer_set(tmp_path):
    labelled, more = rankings.rows([3, 2, 4, 2]), rankings.rows([2, 3, 2], "t", labelled=False)
    both = datasets.concatenate_datasets([rankings.features(labelled), rankings.features(more)])
    module, mix = Ranker(), Mix(4, 0.5)
    assert run(module, tmp_path, both, mix, gradient_accumulation=2).steps == 1
    assert [len(set(groups)) for groups, _ in module.seen] == [2, 2]
    assert all(min(groups) < 4 <= max(groups) for groups, _ in module.seen)
    given = (0, TASK.labels, tiny.training(), tiny.runtime(2), 1, tmp_path, "test")
    alone = TrainingRun(module, both, *given, mix=mix).with_labels_alone()
    assert len(alone.features) == len(labelled) and alone.epoch_rows == 4
    assert np.isfinite(alone.features["labels"]).all()
