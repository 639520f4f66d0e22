"""Trainings on labelled and unlabelled rows: which rows an update sees, phases of labels alone, kills."""

import numpy as np
import pytest
import torch

from distill.data.loading.mixing import Mix, MixedSampler
from distill.models.forward import forward_pass
from distill.tasks.registry import load_task
from distill.training import phases
from distill.training.objective import Objective, Phase
from distill.training.run import TrainingRun
from tests.helpers import tiny

TASK = load_task("qa")
LABELLED, ROWS = 14, 40
MIX = Mix(LABELLED, 0.5)
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}


class Kill(Exception):
    """Stands for a kill of the process."""


WHOLE = (Phase("", 1.0),)


class Mixed(Objective):
    """Small logits everywhere, and the labels where there are any; in a second phase these alone."""

    def __init__(self, plan=WHOLE, die=None):
        super().__init__()
        self.model = tiny.model("bert", layers=1, seed=1, **DROPOUT)
        self.plan, self.phase, self.die, self.seen = list(plan), 0, die, []

    def phases(self, training):
        return self.plan

    def begin(self, phase):
        self.phase = phase

    def set_progress(self, progress):
        if (self.phase, progress.step) == self.die:
            raise Kill

    def forward(self, **batch):
        self.seen.append((self.phase, batch["index"].tolist()))
        logits = forward_pass(self.model, TASK, batch).logits
        task, small = TASK.loss(logits, batch), logits.square().mean()
        return {"loss": task + (0 if self.phase else 0.01 * small), "task": task, "small": small}


def features():
    """The rows after the labelled ones have no labels."""
    rows = tiny.features(ROWS)
    for column in TASK.labels:
        values = np.where(np.arange(ROWS) < LABELLED, rows[column], -100)
        rows = rows.remove_columns(column).add_column(column, values)
    return rows


def run(module, folder, mix=MIX, **changes):
    settings = tiny.training(**{"max_steps": 12, "batch_size": 4, "group_by_length": True, "log_every": 1, **changes})
    given = (features(), 0, TASK.labels, settings, tiny.runtime(2), 1, folder, "test")
    return phases.train(TrainingRun(module, *given, mix=mix))


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("changes", [{}, {"batch_size": 8, "gradient_accumulation": 2}, {"batch_size": 5}])
@pytest.mark.parametrize("epochs", [1, 2.5])
def test_updates_are_those_of_the_labelled_rows_alone(tmp_path, changes, epochs):
    settings = {"max_steps": None, "epochs": epochs, **changes}
    module = Mixed()
    result = run(module, tmp_path / "mixed", **settings)
    assert result.steps == phases.updates(tiny.training(**{"batch_size": 4, **settings}), LABELLED)
    size, parts = changes.get("batch_size", 4), changes.get("gradient_accumulation", 1)
    order, expected = MixedSampler(np.asarray(features()["length"]), size, True, 1, MIX, parts), []
    for epoch in range(3):
        order.set_epoch(epoch)
        expected += list(order)
    seen = [row for _, rows in module.seen for row in rows]
    assert seen == expected[: len(seen)] and len(seen) == result.steps * size
    assert sum(row >= LABELLED for row in seen) == result.steps * round(size / 2)


def test_without_labelled_rows_an_epoch_is_one_of_unlabelled_rows(tmp_path):
    module = Mixed()
    result = run(module, tmp_path, Mix(0, 0.5), max_steps=None)
    assert result.steps == ROWS / 4
    assert sorted(row for _, rows in module.seen for row in rows) == list(range(ROWS))


PLAN = (Phase("both", 0.6), Phase("labels", 0.4, labels_alone=True))


def test_a_phase_that_learns_from_labels_alone_sees_labelled_rows_only(tmp_path):
    module = Mixed(PLAN)
    result = run(module, tmp_path / "mixed", max_steps=10)
    seen = [[row for number, rows in module.seen if number == phase for row in rows] for phase in (0, 1)]
    assert result.steps == 10 and sum(row >= LABELLED for row in seen[0]) == len(seen[0]) / 2 == 12
    assert max(seen[1]) < LABELLED and sorted(seen[1][:LABELLED]) == list(range(LABELLED))


@pytest.mark.parametrize(
    ("plan", "die"),
    [(WHOLE, (0, 1)), (WHOLE, (0, 7)), (PLAN, (0, 5)), (PLAN, (1, 0)), (PLAN, (1, 3))],
)
def test_a_killed_training_goes_on_with_the_same_rows(tmp_path, plan, die):
    """Epochs are 4 updates; passes over the unlabelled rows, 13."""
    whole = Mixed(plan)
    expected = run(whole, tmp_path / "whole")
    with pytest.raises(Kill):
        run(Mixed(plan, die), tmp_path / "killed")
    again = Mixed(plan)
    result = run(again, tmp_path / "killed")
    assert again.seen == whole.seen[-len(again.seen) :] and len(again.seen) < len(whole.seen) or die == (0, 1)
    assert torch.equal(weights(again), weights(whole)) and result.history == expected.history


def test_the_labelled_rows_alone_are_a_training_without_a_mix(tmp_path):
    settings = tiny.training(max_steps=4, batch_size=4, group_by_length=True)
    given = (0, TASK.labels, settings, tiny.runtime(2), 1, tmp_path, "test")
    mixed = TrainingRun(Mixed(), features(), *given, mix=MIX)
    alone = mixed.with_labels_alone()
    assert alone.mix is None and alone.with_labels_alone() is alone
    assert alone.features["input_ids"] == features()["input_ids"][:LABELLED]
    assert mixed.epoch_rows == alone.epoch_rows == LABELLED
