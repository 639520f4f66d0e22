"""Trainings of several phases: how updates are divided, what passes from one to the next, and kills anywhere."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distill.errors import UserError
from distill.models.forward import forward_pass
from distill.tasks.registry import load_task
from distill.training import phases, trainer
from distill.training.objective import Objective, Phase, Progress
from distill.training.phases import divide
from distill.training.run import TrainingRun
from tests.helpers import tiny

TASK = load_task("qa")
FIRST = {"evaluations": 3, "keep": "best"}
PLAN = (Phase("first", 0.6, FIRST), Phase("second", 0.4))


class Kill(Exception):
    """Stands for a kill of the process."""


class InPhases(Objective):
    """A small model with dropout: pulls its logits to 0 in the first phase, learns the labels in the second."""

    def __init__(self, plan=PLAN, die=None):
        super().__init__()
        self.model = tiny.model("bert", layers=1, seed=1, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
        self.plan, self.phase, self.seen, self.die = list(plan), None, [], die

    def phases(self, training):
        return self.plan

    def begin(self, phase):
        self.phase = phase

    def set_progress(self, progress):
        if (self.phase, progress.step) == self.die:
            raise Kill
        self.seen.append((self.phase, progress))

    def forward(self, **batch):
        logits = forward_pass(self.model, TASK, batch).logits
        if self.phase == 0:
            small = logits.square().mean()
            return {"loss": small, "small": small}
        loss = TASK.loss(logits, batch)
        return {"loss": loss, "task": loss}


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def score(module):
    """A function of the weights, as a real score is; the middle evaluation of the first phase is the best."""
    return lambda: {"f1": float(torch.frac(1000 * weights(module).double().sum()).abs())}


def run(module, folder, on_log=None, evaluate=score, **changes):
    settings = {"max_steps": 15, "log_every": 1, "batch_size": 4, "warmup": 0.25, **changes}
    given = (tiny.features(24), 0, TASK.labels, tiny.training(**settings), tiny.runtime(2), 1, folder, "test", "f1")
    return phases.train(TrainingRun(module, *given, evaluate(module), on_log))


@given(total=st.integers(1, 500), weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_every_phase_gets_its_share_and_at_least_one_update(total, weights):
    plan = [Phase("", weight / sum(weights)) for weight in weights]
    if total < len(plan):
        with pytest.raises(UserError, match=f"{total} updates cannot be divided into {len(plan)} phases"):
            divide(total, plan)
        return
    counts = divide(total, plan)
    assert sum(counts) == total and min(counts) >= 1
    if all(phase.share * total >= 2 for phase in plan):
        assert all(abs(count - phase.share * total) <= 1 for count, phase in zip(counts, plan, strict=True))


def test_twenty_epochs_are_fourteen_and_six():
    assert divide(20 * 113, [Phase("a", 0.7), Phase("b", 1 - 0.7)]) == [14 * 113, 6 * 113]


class Count(Objective):
    """One weight, no cost."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, **batch):
        return {"loss": self.weight.sum()}


@pytest.mark.parametrize("changes", [{}, {"batch_size": 8, "gradient_accumulation": 4}, {"batch_size": 5}])
@pytest.mark.parametrize(("rows", "epochs"), [(24, 1), (23, 3), (10, 0.5), (3, 2.5)])
def test_updates_are_counted_as_the_trainer_counts_them(tmp_path, changes, rows, epochs):
    settings = tiny.training(max_steps=None, epochs=epochs, **changes)
    given = (tiny.features(rows), 0, TASK.labels, settings, tiny.runtime(100), 1, tmp_path, "test")
    result = trainer.train(TrainingRun(Count(), *given))
    assert phases.updates(settings, rows) == result.steps
    assert phases.updates(tiny.training(max_steps=7), rows) == 7


def test_one_phase_is_the_trainer_itself(tmp_path):
    alone, phased = InPhases(), InPhases([Phase("", 1.0)])
    alone.phase = phased.phase = 1
    given = (tiny.features(24), 0, TASK.labels, tiny.training(max_steps=15, log_every=1, warmup=0.25), tiny.runtime(2))
    expected = trainer.train(TrainingRun(alone, *given, 1, tmp_path / "alone", "test", "f1", score(alone)))
    result = run(phased, tmp_path / "phased")
    assert torch.equal(weights(alone), weights(phased)) and result.history == expected.history


def test_the_second_phase_starts_from_the_first_ones_best_with_a_fresh_optimiser(tmp_path):
    """The same training by hand: two calls of the trainer, the best weights of the first handed to the second."""
    by_hand = InPhases()
    by_hand.begin(0)
    shared = {"batch_size": 4, "log_every": 1, "warmup": 0.25}
    given = (tiny.features(24), 0, TASK.labels)
    settings = tiny.training(max_steps=9, **shared, **FIRST)
    first = trainer.train(
        TrainingRun(by_hand, *given, settings, tiny.runtime(2), 1, tmp_path / "one", "test", "f1", score(by_hand))
    )
    scores = [entry["selection_f1"] for entry in first.history if "selection_f1" in entry]
    assert len(scores) == 3 and scores[-1] < max(scores), "the last weights must not be the best"
    best = weights(by_hand)
    by_hand.begin(1)
    settings = tiny.training(max_steps=6, **shared)
    rest = (*given, settings, tiny.runtime(2), 1 + 7919, tmp_path / "two", "test")
    second = trainer.train(TrainingRun(by_hand, *rest))

    module, started = InPhases(), []
    module.set_progress = lambda progress: (started.append(weights(module)), InPhases.set_progress(module, progress))
    result = run(module, tmp_path / "phased")
    assert torch.equal(started[9], best)
    assert torch.equal(weights(module), weights(by_hand)) and not torch.equal(weights(module), best)
    assert result.steps == 15
    assert result.history == [*first.history, *(entry | {"step": entry["step"] + 9} for entry in second.history)]


def test_each_phase_counts_for_itself_and_is_logged_after_the_one_before(tmp_path):
    module, logged = InPhases(), []
    result = run(module, tmp_path, on_log=lambda values, step: logged.append((step, set(values))))
    assert module.seen == [(0, Progress(i, 9, i // 6)) for i in range(9)] + [(1, Progress(i, 6, 0)) for i in range(6)]
    losses = [entry for entry in result.history if "loss" in entry]
    assert [entry["step"] for entry in losses] == list(range(1, 16))
    assert ["small" in entry for entry in losses] == [True] * 9 + [False] * 6
    assert ["task" in entry for entry in losses] == [False] * 9 + [True] * 6
    assert [step for step, names in logged if "loss" in names] == list(range(1, 16))
    assert [step for step, names in logged if "selection_f1" in names] == [3, 6, 9]
    rates = [entry["learning_rate"] for entry in losses]
    assert rates[0] == rates[9] == 0 and rates[8] < max(rates), "the schedule begins anew, warm-up included"


def test_scores_and_what_is_kept_are_those_of_the_last_phase(tmp_path):
    module = InPhases()
    result = run(module, tmp_path, evaluations=1)
    assert result.scores == score(module)()
    assert run(InPhases(), tmp_path / "none").scores == {}


POINTS = ["in 1", "before the first checkpoint of 1", "unsealed", "sealed", "in 2 at once", "in 2"]
DEATHS = {"in 1": (0, 7), "before the first checkpoint of 1": (0, 1), "in 2 at once": (1, 0), "in 2": (1, 5)}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """By precision: the trained module and its result."""
    modules = {precision: InPhases() for precision in ("fp32", "bf16")}
    folder = tmp_path_factory.mktemp("whole")
    return {name: (module, run(module, folder / name, precision=name)) for name, module in modules.items()}


@pytest.mark.parametrize(("point", "precision"), [*((point, "fp32") for point in POINTS), ("in 2", "bf16")])
def test_killed_in_or_between_phases_a_training_gives_the_same_bytes(
    tmp_path, monkeypatch, uninterrupted, point, precision
):
    whole, expected = uninterrupted[precision]

    with monkeypatch.context() as patch:
        if point == "unsealed":  # the first phase is over, its weights are being written
            patch.setattr(phases, "publish", dying_at("done", 1, phases.publish))
        if point == "sealed":  # its checkpoints are being removed
            patch.setattr(phases.shutil, "rmtree", dying_at("checkpoints", 0, phases.shutil.rmtree))
        with pytest.raises(Kill):
            run(InPhases(die=DEATHS.get(point)), tmp_path / "killed", precision=precision)
    again = InPhases()
    torch.manual_seed(99)
    result = run(again, tmp_path / "killed", precision=precision)
    assert torch.equal(weights(again), weights(whole))
    assert result.history == expected.history and (result.steps, result.scores) == (expected.steps, expected.scores)
    went_on_from = {"in 1": 6, "before the first checkpoint of 1": 0, "unsealed": 8, "sealed": 9, "in 2 at once": 9}
    assert result.resumed_from == went_on_from.get(point, 13)
    assert expected.resumed_from == 0
    assert not any(phase == 0 for phase, _ in again.seen) or not point.startswith(("sealed", "in 2"))


def dying_at(name, position, function):
    """The function; it raises where the path at that position has this name."""

    def dying(*arguments, **named):
        if str(arguments[position]).endswith(f"/{name}"):
            raise Kill
        return function(*arguments, **named)

    return dying


def test_weights_of_a_phase_that_were_damaged_are_made_again(tmp_path):
    whole = InPhases()
    run(whole, tmp_path / "whole")
    with pytest.raises(Kill):
        run(InPhases(die=(1, 3)), tmp_path / "killed")
    file = tmp_path / "killed/phase-1/done/weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    again = InPhases()
    run(again, tmp_path / "killed")
    assert torch.equal(weights(again), weights(whole))


def test_steps_for_something_else_come_on_top_of_the_students_updates(tmp_path):
    """Two of the trainer's steps for every update in the first phase, one in the second."""
    module = InPhases()
    module.trainer_steps = lambda updates: 2 * updates if module.phase == 0 else updates
    result = run(module, tmp_path)
    assert result.steps == 2 * 9 + 6
    assert {(phase, progress.steps) for phase, progress in module.seen} == {(0, 18), (1, 6)}
    single = InPhases([Phase("", 1.0)])
    single.trainer_steps = lambda updates: 3 * updates
    assert run(single, tmp_path / "single").steps == 45


def test_a_phase_may_change_settings_that_exist(tmp_path):
    changed = InPhases([Phase("first", 0.6), Phase("second", 0.4, {"learning_rate": 5e-2, "warmup": 0.0})])
    result = run(changed, tmp_path)
    rates = [entry["learning_rate"] for entry in result.history if "loss" in entry]
    assert max(rates[:9]) == pytest.approx(1e-2) and rates[9] == pytest.approx(5e-2)
    with pytest.raises(ValidationError, match="learning_rat"):
        run(InPhases([Phase("first", 0.5), Phase("second", 0.5, {"learning_rat": 1})]), tmp_path / "other")
