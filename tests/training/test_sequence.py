"""Sequences of trainings: what passes from link to link, what a kill costs, and how results are put together."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from distill.models import loading
from distill.models.forward import forward_pass
from distill.tasks.registry import load_task
from distill.training import phases, sequence
from distill.training.objective import Objective
from distill.training.run import Result, TrainingRun, join
from tests.helpers import tiny
from tests.helpers.two_processes import told

TASK = load_task("qa")
COUNT = 3


class Kill(Exception):
    """Stands for a kill of the process."""


class Pupil(Objective):
    """A small model with dropout that learns the logits of another."""

    def __init__(self, model, teacher, die_at=None):
        super().__init__()
        self.model, self._teacher, self.die_at = model, [teacher.eval()], die_at

    def set_progress(self, progress):
        if progress.step == self.die_at:
            raise Kill

    def forward(self, **batch):
        with torch.no_grad():
            wanted = forward_pass(self._teacher[0], TASK, batch).logits
        loss = (forward_pass(self.model, TASK, batch).logits - wanted).square().mean()
        return {"loss": loss, "mse": loss}


class Family:
    """Trains a sequence in a folder, and notes what it was asked for.

    Args:
        die: (link, step) of a kill; None: there is none.
    """

    def __init__(self, folder, start, die=None):
        self.folder, self.start, self.die = folder, start, die
        self.begun, self.trained, self.logged = [], [], []

    def begin(self, number, before):
        self.begun.append((number, before))
        model = tiny.model("bert", layers=1, seed=number, hidden_dropout_prob=0.2)
        die_at = self.die[1] if self.die and self.die[0] == number else None
        objective = Pupil(model, loading.from_pretrained(str(before), TASK), die_at)
        settings = tiny.training(max_steps=2 + 2 * number, log_every=1)
        given = (tiny.features(24), 0, TASK.labels, settings, tiny.runtime(2), number, self.folder, f"link {number}")
        return model, TrainingRun(objective, *given, on_log=lambda values, step: self.logged.append((step, values)))

    def train(self):
        return sequence.train(
            COUNT, self.start, self.folder, tiny.tokenizer(), self.begin, lambda link: self.trained.append(link)
        )


def weights(link):
    return (link.model / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "model"
    loading.save(tiny.model("bert", layers=1, seed=9), tiny.tokenizer(), folder)
    return folder


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    family = Family(tmp_path_factory.mktemp("whole"), start)
    return family, family.train()


def test_every_link_learns_from_the_one_before_it(whole, start, tmp_path):
    family, links = whole
    assert family.begun == [(1, start), (2, links[0].model), (3, links[1].model)]
    assert family.trained == links and [link.number for link in links] == [1, 2, 3]
    by_hand, before = Family(tmp_path, start), start
    for link in links:
        model, run = by_hand.begin(link.number, before)
        result = phases.train(run.part(tmp_path / str(link.number), 0))
        saved, before = load_file(link.model / "model.safetensors"), link.model
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in saved.items())
        assert (result.history, result.steps) == (link.result.history, link.result.steps)


def test_a_link_is_a_plain_checkpoint_and_its_training_checkpoints_are_gone(whole):
    family, links = whole
    for link in links:
        loading.from_pretrained(str(link.model), TASK)
        assert link.model == family.folder / f"link-{link.number}/done/model"
        assert not {"complete.json", "result.json"} & {path.name for path in link.model.iterdir()}
        assert [path.name for path in link.model.parent.parent.iterdir()] == ["done"]


def test_live_curves_count_on_from_link_to_link(whole):
    assert [step for step, values in whole[0].logged if "loss" in values] == list(range(1, 4 + 6 + 8 + 1))


@pytest.mark.parametrize(("die", "resumed_from"), [((1, 3), 2), ((2, 0), 0), ((2, 5), 4), ((3, 1), 0), ((3, 7), 6)])
def test_a_killed_sequence_goes_on_in_its_link_and_gives_the_same_bytes(whole, start, tmp_path, die, resumed_from):
    with pytest.raises(Kill):
        Family(tmp_path, start, die).train()
    again = Family(tmp_path, start)
    torch.manual_seed(99)
    links = again.train()
    assert [weights(link) for link in links] == [weights(link) for link in whole[1]]
    assert [link.result.history for link in links] == [link.result.history for link in whole[1]]
    assert [number for number, _ in again.begun] == list(range(die[0], COUNT + 1))
    assert again.trained == links, "links that were trained before are reported too"
    assert links[die[0] - 1].result.resumed_from == resumed_from


@pytest.mark.parametrize("moment", ["seal", "publish", "rmtree"])
def test_a_kill_while_a_link_is_handed_over_changes_nothing(whole, start, tmp_path, monkeypatch, moment):
    owner, path = {
        "seal": (sequence.checkpoints, "link-2/done.draft"),
        "publish": (sequence, "link-2/done.draft"),
        "rmtree": (sequence.shutil, "link-2/checkpoints"),
    }[moment]
    original = getattr(owner, moment)

    def dying(folder, *arguments, **named):
        if str(folder).endswith(path):
            raise Kill
        return original(folder, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, moment, dying)
        with pytest.raises(Kill):
            Family(tmp_path, start).train()
    links = Family(tmp_path, start).train()
    assert [weights(link) for link in links] == [weights(link) for link in whole[1]]
    assert not (tmp_path / "link-2/checkpoints").exists()


def test_a_damaged_link_is_trained_again(whole, start, tmp_path):
    links = Family(tmp_path, start).train()
    file = links[1].model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    again = Family(tmp_path, start)
    assert [weights(link) for link in again.train()] == [weights(link) for link in whole[1]]
    assert [number for number, _ in again.begun] == [2]


IN_TWO_PROCESSES = """
from pathlib import Path
from tests.training.test_sequence import Family, Kill
def train(folder, die=None):
    family = Family(Path({folder!r}) / folder, Path({start!r}), die)
    try:
        links = family.train()
    except Kill:
        return None
    told = [[link.model.relative_to(family.folder).as_posix(), link.result.history] for link in links]
    return [[number for number, _ in family.begun], told, [step for step, _ in family.logged]]
tell([train("whole"), train("killed", (2, 5)), train("killed")])
"""


@pytest.mark.slow
def test_two_processes_agree_on_every_link_also_after_a_kill(start, tmp_path):
    first, second = told(IN_TWO_PROCESSES.format(folder=str(tmp_path), start=str(start)))
    for (begun, links, _), killed, (begun_again, links_again, _) in (first, second):
        assert killed is None and links_again == links
        assert (begun, begun_again) == ([1, 2, 3], [2, 3])
    assert first[0][1] == second[0][1] and len(first[0][1]) == COUNT
    assert first[0][2] and not second[0][2], "the first process alone logs"
    for name, _ in first[0][1]:
        model = "model.safetensors"
        assert (tmp_path / "whole" / name / model).read_bytes() == (tmp_path / "killed" / name / model).read_bytes()


def result(steps, seconds, speed, resumed_from=0, **scores):
    history = [{"step": step, "loss": 1.0 / step} for step in range(1, steps + 1)]
    return Result(history, scores, steps, seconds, speed, resumed_from, 0.1 * steps)


def test_joined_results_count_steps_on_and_name_the_training_of_every_entry():
    joined = join([result(2, 1.0, 10.0, f1=5.0), result(3, 3.0, 30.0, 1, f1=4.0)], "link")
    assert [(entry["step"], entry["link"]) for entry in joined.history] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]
    assert joined.history[2]["loss"] == 1.0 and list(joined.history[0]) == ["step", "loss", "link"]
    assert (joined.steps, joined.seconds, joined.examples_per_second) == (5, 4.0, 25.0)
    assert (joined.scores, joined.resumed_from, joined.padding) == ({"f1": 4.0}, 3, 0.2)
    scored = join(
        [replace(result(2, 1.0, 10.0), scoring_seconds=0.5), replace(result(3, 3.0, 1.0), scoring_seconds=1.0)]
    )
    assert scored.scoring_seconds == 1.5


def test_joined_results_without_a_column_and_of_nothing():
    assert all(set(entry) == {"step", "loss"} for entry in join([result(2, 1.0, 1.0)] * 2).history)
    assert join([]) == Result.nothing()


def test_a_result_comes_back_from_a_file(tmp_path):
    result(2, 1.5, 3.0, f1=1.0).write(tmp_path / "result.json")
    assert Result.read(tmp_path / "result.json") == result(2, 1.5, 3.0, f1=1.0)
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 2
