"""The plan of a study: what it refuses, what its phases set, and what picks what."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from distill import parameters
from distill.config import reading
from distill.errors import UserError
from distill.experiments import presets, study

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "studies" / "which-method"
PLAN = study.read(FOLDER)


def _params(task: str, values: dict) -> parameters.Params:
    text = (ROOT / "tests" / "params.yaml").read_text(encoding="utf-8")
    text = presets.merge(text, study.preset(PLAN, FOLDER, task), task)
    return parameters.parse(reading.parse(presets.merge(text, values, "phase"), "params.yaml"), Path("params.yaml"))


@pytest.mark.parametrize("task", PLAN.tasks)
def test_every_trial_of_every_arm_is_a_run(task: str) -> None:
    found = _params(task, study.phase_values(PLAN, task, study.TUNE))
    assert len(found.methods) == sum(len(trials) for trials in PLAN.arms.values())
    resolved = found.resolved("kd-t4")
    trial = PLAN.trials(task)["kd"][3]
    assert resolved.distill.learning_rate == trial["learning_rate"]
    assert resolved.sections["kd-t4"].kl_alpha.value == trial["kl_alpha"]
    assert found.seeds == PLAN.seeds.tuning
    assert not found.compare.baseline_seeds


def test_the_tuning_may_score_few_of_the_reported_split_and_the_comparisons_score_all() -> None:
    few = PLAN.model_copy(update={"tuning_validation_examples": 7})
    assert _params("sst2", study.phase_values(few, "sst2", study.TUNE)).data.max_validation_examples == 7
    picks = dict.fromkeys(PLAN.arms, 1)
    for phase, given in ((study.SCREEN, {}), (study.CONFIRM, {"confirmed": ["ted", "mate"], "updates": 260})):
        found = _params("sst2", study.phase_values(few, "sst2", phase, picks, **given))
        assert found.data.max_validation_examples is None
    whole = PLAN.model_copy(update={"tuning_validation_examples": None})
    assert "data" not in study.phase_values(whole, "sst2", study.TUNE)


def test_the_baseline_keeps_its_name_and_gets_its_trial() -> None:
    picks = {arm: 4 if arm == "ft" else 2 for arm in PLAN.arms}
    found = _params("sst2", study.phase_values(PLAN, "sst2", study.SCREEN, picks))
    trial = PLAN.arms["ft"][3]
    assert found.methods == ["ft", *(f"{arm}-tuned" for arm in PLAN.arms if arm != "ft")]
    assert found.resolved("ft").distill.learning_rate == trial["learning_rate"]
    assert found.sections["ft"].label_smoothing == trial["label_smoothing"]
    # An arm keeps its own learning rate, where the baseline's is another one.
    assert found.resolved("kd-tuned").distill.learning_rate == PLAN.arms["kd"][1]["learning_rate"]
    assert found.seeds_of("ft") == [*PLAN.seeds.screening, *PLAN.seeds.further]


def test_the_confirmation_has_fresh_seeds_and_a_longer_baseline() -> None:
    picks = dict.fromkeys(PLAN.arms, 4)
    found = _params("squad", study.phase_values(PLAN, "squad", study.CONFIRM, picks, ["ted", "mate"], 260))
    assert found.methods == ["ft", "kd-tuned", "ted-tuned", "mate-tuned", "ft-longer"]
    plain, longer = found.resolved("ft"), found.resolved("ft-longer")
    assert longer.distill.max_steps == 260 != plain.distill.max_steps
    assert longer.distill.learning_rate == plain.distill.learning_rate == PLAN.arms["ft"][3]["learning_rate"]
    assert found.sections["ft-longer"].label_smoothing == PLAN.arms["ft"][3]["label_smoothing"]
    assert not set(found.seeds) & {*PLAN.seeds.screening, *PLAN.seeds.further, *PLAN.seeds.tuning}


def test_times_are_taken_of_few_updates() -> None:
    found = _params("stsb", study.phase_values(PLAN, "stsb", study.TIME, dict.fromkeys(PLAN.arms, 1)))
    assert {found.resolved(name).distill.max_steps for name in found.methods} == {PLAN.timed_updates}
    assert {found.resolved(name).distill.evaluations for name in found.methods} == {0}
    assert found.seeds == PLAN.seeds.screening  # a round each


def test_selection_scores_pick_and_reported_ones_do_not() -> None:
    scores = {
        study.trial_name(arm, number): {"selection_f1": number % 3, "f1": -number}
        for arm, trials in PLAN.arms.items()
        for number in range(1, len(trials) + 1)
    }
    assert set(study.picked(PLAN, "sst2", scores, "f1").values()) == {2}
    # Equal scores: the first.
    level = {name: {**row, "selection_f1": 1.0} for name, row in scores.items()}
    assert set(study.picked(PLAN, "sst2", level, "f1").values()) == {1}


def test_the_best_arms_are_confirmed_beside_baseline_and_also() -> None:
    scores = {study.tuned_name(PLAN, arm): {"selection_f1": float(n), "f1": -n} for n, arm in enumerate(PLAN.arms)}
    scores["ft"]["selection_f1"] = scores["kd-tuned"]["selection_f1"] = 100.0
    assert study.best(PLAN, scores, "f1") == list(PLAN.arms)[-1:-3:-1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda plan: plan["arms"]["kd"].pop(), "equally many trials"),
        (lambda plan: plan["arms"]["kd"][0].pop("learning_rate"), "arms.kd: every trial names its learning_rate"),
        (lambda plan: plan["arms"]["kd"].__setitem__(1, plan["arms"]["kd"][0]), "a trial stands twice"),
        (lambda plan: plan["seeds"].update(confirmation=[1, 200]), "seed 1 stands twice"),
        (lambda plan: plan.update(also="tedd"), "also: 'tedd' is no arm"),
        (lambda plan: plan.update(also="ft"), "also: 'ft' is the baseline"),
        (lambda plan: plan.update(arms={name: plan["arms"][name] for name in ("ft", "kd")}), "arms: "),
        (lambda plan: plan.update(margins=1), "margins"),
        (lambda plan: plan["tasks"]["stsb"]["arms"]["ft"].pop(), "tasks.stsb.arms: every arm gets equally many"),
    ],
)
def test_an_unfair_plan_is_refused(tmp_path: Path, change, says: str) -> None:
    plan = yaml.safe_load((FOLDER / study.FILE).read_text(encoding="utf-8"))
    change(plan)
    (tmp_path / study.FILE).write_text(yaml.safe_dump(plan), encoding="utf-8")
    with pytest.raises(UserError, match="study.yaml") as caught:
        study.read(tmp_path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
