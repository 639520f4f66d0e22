"""A study: which of several methods is best over several tasks, all tuned alike. The plan is a file, `study.yaml`.

On each task there are four runs of the pipeline, each with its own parameters:

tune
    Every trial of every arm, on the tuning seeds. Of each arm the trial with the best selection score is picked.
screen
    The picked trials on the screening seeds, and the baseline on further seeds: the comparison of all arms.
time
    The picked trials for a few updates each, on an otherwise idle machine, once with each screening seed: what an
    update costs.
confirm
    Baseline, `also` and the two best arms of the screening on fresh seeds, and the baseline for as many updates as fit
    into the time of the best one, by phase time: whether a lead was luck, or is worth its time.

Whatever is picked is picked by selection scores. The reported split is read by the analysis alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from distill.config import reading
from distill.config.explain import explain
from distill.config.schema import Count, Section, Seed
from distill.errors import UserError
from distill.experiments import presets

FILE = "study.yaml"
PHASES = TUNE, SCREEN, TIME, CONFIRM = "tune", "screen", "time", "confirm"
#: The phases in which arms are compared on the reported split.
COMPARING = SCREEN, CONFIRM
#: The value of a trial that belongs to the training, not to the method's section.
RATE = "learning_rate"
#: Arms that are confirmed beside baseline and `also`.
CONFIRMED = 2

#: Values of one trial of an arm.
Trial = dict[str, Any]


class Seeds(Section):
    """Seeds by what they are for: no seed is in two lists."""

    tuning: Annotated[list[Seed], Field(min_length=1)]
    screening: Annotated[list[Seed], Field(min_length=2)]
    further: list[Seed]
    confirmation: Annotated[list[Seed], Field(min_length=2)]

    @model_validator(mode="after")
    def _apart(self) -> Seeds:
        seeds = [*self.tuning, *self.screening, *self.further, *self.confirmation]
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise ValueError(f"seed {twice[0]} stands twice: no seed may choose and be reported on")
        return self


class StudyTask(Section):
    """A task.

    Attributes:
        presets: its parameters, each preset on top of those before it.
        replication: whether it is shown beside the mean over tasks, and not in it.
        arms: trials of arms whose own are not possible here, as label smoothing is not for numbers.
    """

    presets: Annotated[list[str], Field(min_length=1)]
    replication: bool = False
    arms: dict[str, list[Trial]] = {}


class Study(Section):
    """The plan of a study.

    Attributes:
        tasks: by name.
        baseline, also: two arms that all others, one at least, are compared with.
        margin: points below the best arm's mean that the recommended, cheapest one may lie.
        timed_updates: updates of a student in phase `time`.
        tuning_validation_examples: how many of the reported split phase `tune` scores, drawn at random; none: all.
            They decide nothing.
        arms: method → its trials, equally many for all. A trial is a learning rate and values of the method's section.
    """

    seeds: Seeds
    tasks: Annotated[dict[str, StudyTask], Field(min_length=1)]
    baseline: str
    also: str
    margin: Annotated[float, Field(ge=0)]
    timed_updates: Count
    tuning_validation_examples: Count | None = None
    arms: Annotated[dict[str, list[Trial]], Field(min_length=3)]

    @model_validator(mode="after")
    def _fair(self) -> Study:
        for field in ("baseline", "also"):
            if (name := getattr(self, field)) not in self.arms:
                raise ValueError(f"{field}: {name!r} is no arm: {', '.join(self.arms)}")
        if self.baseline == self.also:
            raise ValueError(f"also: {self.also!r} is the baseline: name another arm that all are compared with")
        _check_trials(self.arms, "arms")
        for name, task in self.tasks.items():
            if strange := [arm for arm in task.arms if arm not in self.arms]:
                raise ValueError(f"tasks.{name}.arms: {strange[0]!r} is no arm: {', '.join(self.arms)}")
            _check_trials(self.arms | task.arms, f"tasks.{name}.arms")
        return self

    def trials(self, task: str) -> dict[str, list[Trial]]:
        """Arm → its trials on a task."""
        return self.arms | self.tasks[task].arms

    @property
    def rivals(self) -> list[str]:
        """The arms besides baseline and `also`."""
        return [name for name in self.arms if name not in (self.baseline, self.also)]


def _check_trials(arms: Mapping[str, list[Trial]], where: str) -> None:
    """Raise a ValueError where the arms are not tuned alike."""
    counts = {name: len(trials) for name, trials in arms.items()}
    if len(set(counts.values())) > 1 or not min(counts.values()):
        raise ValueError(f"{where}: every arm gets equally many trials, at least one; here {counts}")
    for name, trials in arms.items():
        if any(RATE not in trial for trial in trials):
            raise ValueError(f"{where}.{name}: every trial names its {RATE}")
        if any(trial in trials[:number] for number, trial in enumerate(trials)):
            raise ValueError(f"{where}.{name}: a trial stands twice")


def read(folder: Path) -> Study:
    """The plan in a folder.

    Raises:
        UserError: there is none, or a value of it is wrong.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file: give the folder of a study")
    try:
        return Study.model_validate(reading.parse(path.read_text(encoding="utf-8"), path))
    except ValidationError as error:
        raise UserError(f"{path}: {'; '.join(explain(error, Study, ''))}") from None


def preset(study: Study, folder: Path, task: str) -> dict[str, Any]:
    """The parameters of a task, as one preset: named presets, and files of the study's folder."""
    listed = study.tasks[task].presets
    return presets.load_all([folder / name if (folder / name).is_file() else name for name in listed])


def trial_name(arm: str, number: int) -> str:
    """The variant of an arm's trial, from 1."""
    return f"{arm}-t{number}"


def tuned_name(study: Study, arm: str) -> str:
    """The arm's row after tuning: the baseline keeps its method's name."""
    return arm if arm == study.baseline else f"{arm}-tuned"


def longer_name(study: Study) -> str:
    """The baseline's row in phase confirm that takes as long as the best arm."""
    return f"{study.baseline}-longer"


def picked(study: Study, task: str, scores: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, int]:
    """The best trial of each arm, from 1; of equal ones the first.

    Args:
        scores: the summary of phase tune: row → its scores.
        metric: name of the task's main score; `selection_<metric>` decides.
    """
    picks = {}
    for arm, trials in study.trials(task).items():
        values = [scores[trial_name(arm, number)][f"selection_{metric}"] for number in range(1, len(trials) + 1)]
        picks[arm] = 1 + values.index(max(values))
    return picks


def best(study: Study, scores: Mapping[str, Mapping[str, Any]], metric: str) -> list[str]:
    """The arms that phase confirm takes besides baseline and `also`, the best on the selection split first.

    Args:
        scores: the summary of phase screen.
    """
    key = f"selection_{metric}"
    return sorted(study.rivals, key=lambda arm: -scores[tuned_name(study, arm)][key])[:CONFIRMED]


def phase_values(
    study: Study,
    task: str,
    phase: str,
    picks: Mapping[str, int] | None = None,
    confirmed: list[str] | None = None,
    updates: int | None = None,
) -> dict[str, Any]:
    """What a phase sets on top of the task's preset, in the form of a preset.

    Args:
        picks: from `picked`; all phases but tune need it.
        confirmed: from `best`; phase confirm needs it.
        updates: those of the baseline that take as long as the first of `confirmed`; phase confirm needs it.

    Raises:
        ValueError: the phase needs one of them, and it is not there.
    """
    nothing = {"confirm": {"methods": [], "seeds": []}, "controls": {"methods": []}, "export": {"methods": []}}
    arms = study.trials(task)
    if phase == TUNE:
        variants = {
            trial_name(arm, number): _variant(arm, trial)
            for arm, trials in arms.items()
            for number, trial in enumerate(trials, 1)
        }
        compare = {"baseline": study.baseline, "also": [], "baseline_seeds": []}
        values = {**nothing, "methods": list(variants), "seeds": study.seeds.tuning, "compare": compare, **variants}
        if study.tuning_validation_examples is not None:
            values["data"] = {"max_validation_examples": study.tuning_validation_examples}
        return values
    if picks is None or (phase == CONFIRM and not (confirmed and updates)):
        raise ValueError(f"phase {phase} needs picks, and phase confirm what is confirmed and for how many updates")
    chosen = {arm: arms[arm][number - 1] for arm, number in picks.items()}
    baseline = chosen[study.baseline]
    listed = [study.baseline, study.also, *(confirmed or [])] if phase == CONFIRM else list(arms)
    also = tuned_name(study, study.also)
    variants = {tuned_name(study, arm): _variant(arm, chosen[arm]) for arm in listed if arm != study.baseline}
    values = {
        **nothing,
        "methods": [tuned_name(study, arm) for arm in listed],
        "compare": {"baseline": study.baseline, "also": [also], "baseline_seeds": []},
        # The baseline's row and the longer one read its section, so its trial stands there.
        "distill": {RATE: baseline[RATE]},
        study.baseline: {name: value for name, value in baseline.items() if name != RATE},
        **variants,
    }
    if phase == SCREEN:
        values["seeds"] = study.seeds.screening
        values["compare"] = {**values["compare"], "baseline_seeds": study.seeds.further}
    elif phase == CONFIRM:
        values["seeds"] = study.seeds.confirmation
        values["methods"] += [longer_name(study)]
        values[longer_name(study)] = {"method": study.baseline, "distill": {"max_steps": updates}}
    else:
        values["seeds"] = study.seeds.screening
        # Scores on the selection split would take a quarter of so short a training. Those that a method's own section
        # asks for stay, such as annealing's in its first phase; the records tell their seconds apart.
        values["distill"] = {**values["distill"], "max_steps": study.timed_updates, "evaluations": 0}
    return values


def _variant(arm: str, trial: Trial) -> dict[str, Any]:
    own = {name: value for name, value in trial.items() if name != RATE}
    return {"method": arm, **own, "distill": {RATE: trial[RATE]}}
