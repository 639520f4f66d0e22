"""What an objective asks for where it says nothing, and how a training run is taken apart."""

import pytest
import torch

from distill.tasks.registry import load_task
from distill.training import phases
from distill.training.finetuning import FineTuningObjective
from distill.training.objective import Objective, Phase, Progress
from distill.training.run import TrainingRun
from tests.helpers import tiny


class Bare(Objective):
    """Nothing but a loss."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, **batch):
        return {"loss": self.weight.sum()}


def run_of(objective, folder, **changes):
    given = (tiny.features(8), 0, load_task("qa").labels, tiny.training(**changes), tiny.runtime(), 1, folder, "test")
    return TrainingRun(objective, *given)


def test_an_objective_that_has_a_forward_pass_alone_is_trained(tmp_path):
    bare = Bare()
    assert phases.train(run_of(bare, tmp_path, max_steps=3)).steps == 3
    assert bare.weight.item() < 1


def test_an_objective_asks_for_nothing_of_itself():
    objective = Objective()
    assert objective.phases(tiny.training()) == [Phase("", 1.0)] and objective.trainer_steps(7) == 7
    assert not any((objective.columns, objective.companions(), objective.weights(), objective.learning_rates()))
    objective.begin(0), objective.set_progress(Progress(0, 1, 0))
    assert not objective.state_dict()
    for missing in (objective.forward, lambda: objective.scored_logits({})):
        with pytest.raises(NotImplementedError):
            missing()


def test_fine_tuning_is_scored_without_dropout_and_goes_on_training():
    objective = FineTuningObjective(tiny.model("bert", hidden_dropout_prob=0.5), load_task("qa")).train()
    first, again = objective.scored_logits(tiny.batch()), objective.scored_logits(tiny.batch())
    assert torch.equal(first, again) and objective.model.training


def test_a_part_of_a_run_has_its_own_folder_and_logs_behind_those_before_it(tmp_path):
    logged = []
    run = run_of(Bare(), tmp_path)
    assert run.part(tmp_path / "1", 5).on_log is None
    live = TrainingRun(**vars(run) | {"on_log": lambda values, step: logged.append((values, step))})
    part = live.part(tmp_path / "1", 5, seed=8)
    part.on_log({"loss": 1.0}, 2), part.part(tmp_path / "2", 10).on_log({}, 1)
    assert logged == [({"loss": 1.0}, 7), ({}, 16)]
    assert (part.folder, part.seed, live.folder, live.seed) == (tmp_path / "1", 8, tmp_path, 1)
