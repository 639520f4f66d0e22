"""Snapshots of a training: when they are taken, what they hold, and what a kill does to them."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from distill.errors import UserError
from distill.tasks.registry import load_task
from distill.training import snapshots, trainer
from distill.training.finetuning import FineTuningObjective
from distill.training.run import TrainingRun
from tests.helpers import tiny

TASK = load_task("qa")


def objective():
    return FineTuningObjective(tiny.model("bert", layers=1, seed=1), TASK)


def run(module, folder, stop_before=None, **changes):
    """Train for 8 steps with 3 snapshots; returns the weights before each step."""
    seen = []

    def look(module, inputs):
        if stop_before is not None and len(seen) == stop_before:
            raise KeyboardInterrupt
        seen.append({name: value.clone() for name, value in module.state_dict().items()})

    hook = module.register_forward_pre_hook(look)
    settings, runtime = tiny.training(max_steps=8, log_every=1), tiny.runtime(2)
    given = TrainingRun(module, tiny.features(24), 0, TASK.labels, settings, runtime, 1, folder, "test", snapshots=3)
    try:
        trainer.train(replace(given, **changes))
    finally:
        hook.remove()
    return seen


def content(folder):
    return [snapshots.file(folder, number).read_bytes() for number in (1, 2, 3)]


def test_they_are_spread_evenly_and_the_end_is_none_of_them():
    assert snapshots.steps(3, 8) == {2: 1, 4: 2, 6: 3}
    assert snapshots.steps(3, 4) == {1: 1, 2: 2, 3: 3} and snapshots.steps(2, 10) == {3: 1, 6: 2}
    assert snapshots.steps(0, 0) == {}
    for total in range(4, 60):
        assert sorted(snapshots.steps(3, total).values()) == [1, 2, 3] and total not in snapshots.steps(3, total)
    with pytest.raises(UserError, match="teacher.snapshots: 3, but the training has 3 updates"):
        snapshots.steps(3, 3)


def test_they_hold_the_weights_after_their_step_and_change_nothing_else(tmp_path):
    plain, kept = objective(), objective()
    run(plain, tmp_path / "plain", snapshots=0)
    seen = run(kept, tmp_path / "kept")
    for number, step in ((1, 2), (2, 4), (3, 6)):
        found = load_file(snapshots.file(tmp_path / "kept", number))
        assert found.keys() == seen[step].keys()
        assert all(torch.equal(found[name], value) for name, value in seen[step].items())
    assert not (tmp_path / "plain" / "snapshots").exists()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), kept.parameters(), strict=True))


def test_a_killed_run_leaves_the_same_snapshots_and_a_lost_one_is_taken_again(tmp_path, capsys):
    run(objective(), tmp_path / "whole")
    for lost in (False, True):
        folder = tmp_path / f"killed-{lost}"
        with pytest.raises(KeyboardInterrupt):
            run(objective(), folder, stop_before=5)  # after the second one
        if lost:
            shutil.rmtree(folder / "snapshots/1")
        seen = run(objective(), folder)
        assert len(seen) == (8 if lost else 4)
        assert ("a snapshot cannot be used" in capsys.readouterr().out) is lost
        assert content(folder) == content(tmp_path / "whole")
