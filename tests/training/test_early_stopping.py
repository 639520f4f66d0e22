"""Trainings that end where no better selection score came for so many evaluations, also after a kill."""

import csv

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.methods.shared.adversary import Cycle
from distill.tasks.registry import load_task
from distill.training import phases
from distill.training.early_stopping import waited
from distill.training.finetuning import FineTuningObjective
from distill.training.objective import Phase
from distill.training.run import Result, TrainingRun, join, write_curves
from tests.helpers import tiny
from tests.helpers.two_processes import told
from tests.training.test_phases import InPhases, Kill

TASK = load_task("qa")
#: Six evaluations of a training of 12 updates, after the updates 2, 4, 6, …
SCORES = [10.0, 30.0, 30.0, 20.0, 40.0, 50.0]


def objective():
    return FineTuningObjective(tiny.model("bert", layers=1, seed=1, hidden_dropout_prob=0.2), TASK)


def run(module, folder, scores=SCORES, kill_at=None, on_log=None, **changes):
    settings = {"max_steps": 12, "log_every": 3, "evaluations": 6, **changes}
    number = {"now": 0}  # of the evaluations of this process

    def evaluate():
        number["now"] += 1
        if number["now"] == kill_at:
            raise Kill
        return {"f1": scores[number["now"] - 1]}

    given = (tiny.features(24), 0, TASK.labels, tiny.training(**settings), tiny.runtime(3), 1, folder, "test", "f1")
    return phases.train(TrainingRun(module, *given, evaluate, on_log))


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@given(scores=st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_waited_counts_the_evaluations_since_the_first_of_the_best(scores):
    history = [{"loss": 1.0}, *({"selection_f1": score, "selection_em": -score} for score in scores), {"loss": 2.0}]
    best, since = -1, 0
    for score in scores:
        since = 0 if score > best else since + 1
        best = max(best, score)
    assert waited(history, "f1") == since
    assert waited([{"loss": 1.0}], "f1") == 0


@pytest.mark.parametrize(("patience", "stop"), [(1, 6), (2, 8), (3, 12), (5, 12), (None, 12)])
def test_it_ends_after_so_many_evaluations_without_a_better_score(tmp_path, patience, stop):
    result = run(objective(), tmp_path, patience=patience)
    assert (result.steps, result.planned, result.updates) == (stop, 12, stop)
    assert result.stopped_early == (stop < 12)
    assert [e["selection_f1"] for e in result.history if "selection_f1" in e] == SCORES[: stop // 2]
    write_curves(result.history, tmp_path / "curves.csv")
    assert list(csv.DictReader((tmp_path / "curves.csv").open()))[-1]["step"] == str(stop)


def test_up_to_its_end_it_is_the_training_without_patience(tmp_path):
    short, long = objective(), objective()
    ended, whole = run(short, tmp_path / "a", patience=2), run(long, tmp_path / "b", keep="best")
    assert ended.history[: len(ended.history) - 1] == whole.history[: len(ended.history) - 1]
    assert ended.steps == 8 and whole.steps == 12
    best = objective()
    assert run(best, tmp_path / "c", patience=2, keep="best").scores == {"f1": 30.0}
    assert not torch.equal(weights(best), weights(short)) and not torch.equal(weights(best), weights(long))


def test_a_killed_training_ends_at_the_same_update_with_the_same_weights(tmp_path):
    whole, logged = objective(), []
    expected = run(whole, tmp_path / "whole", patience=2)
    for kill_at in (2, 3, 4):
        folder = tmp_path / str(kill_at)
        with pytest.raises(Kill):
            run(objective(), folder, kill_at=kill_at, patience=2)
        module = objective()
        # Checkpoints are written every 3 updates, evaluations are after every second one.
        done = 3 * ((2 * kill_at - 1) // 3)
        result = run(module, folder, scores=SCORES[done // 2 :], patience=2, on_log=lambda *entry: logged.append(entry))
        assert result.resumed_from == done and result.steps == expected.steps == 8 and result.stopped_early
        assert torch.equal(weights(module), weights(whole)) and result.history == expected.history
    assert {step for _, step in logged} <= {2, 3, 4, 6, 8}


def test_only_the_last_phase_ends_early(tmp_path):
    plan = (Phase("first", 0.5, {"evaluations": 3, "keep": "best"}), Phase("second", 0.5))
    module = InPhases(plan)
    scores = [3.0, 2.0, 1.0, 5.0, 4.0, 3.0, 2.0]
    result = run(module, tmp_path, scores, patience=1, max_steps=24, evaluations=4, log_every=1)
    assert [phase for phase, _ in module.seen].count(0) == 12
    assert (result.steps, result.planned, result.updates) == (12 + 6, 24, 18) and result.stopped_early


def test_results_that_are_joined_add_up_and_come_back_from_a_file(tmp_path):
    short = Result([], {}, 4, 1.0, 1.0, 0, 0.0, planned=6, updates=3)
    short.write(tmp_path / "result.json")
    assert Result.read(tmp_path / "result.json") == short and short.stopped_early
    assert not Result.nothing().stopped_early
    joined = join([short, short])
    assert (joined.steps, joined.planned, joined.updates) == (8, 12, 6)


@given(generator=st.integers(0, 5), student=st.integers(1, 7), updates=st.integers(1, 60))
def test_the_student_s_updates_of_an_interrupted_cycle_are_counted(generator, student, updates):
    cycle = Cycle(generator, student)
    steps = cycle.trainer_steps(updates)
    assert cycle.updates_in(steps) == updates
    for part in range(steps + 1):
        assert cycle.updates_in(part) == sum(not cycle.is_generators(step) for step in range(part))


IN_TWO_PROCESSES = """
from pathlib import Path
from tests.training.test_early_stopping import objective, run, weights
module = objective()
result = run(module, Path({folder!r}), patience=2)
tell([result.steps, result.planned, result.history, weights(module).tolist()])
"""


@pytest.mark.slow
def test_two_processes_end_at_the_same_update(tmp_path):
    first, second = told(IN_TWO_PROCESSES.format(folder=str(tmp_path)))
    assert first == second and first[:2] == [8, 12]
