"""Stage control: fine-tuning alone, for as long as a method has taken. `python -m pipeline control own ted 1`

A method that takes three times as long as fine-tuning has to beat fine-tuning of three times as many updates. Those are
counted from the records of both trainings on this machine: with time `own` from the method's training alone, with
`total` also from all that it needs before (the teacher, its predictions, filters, assistants …).
"""

from __future__ import annotations

from distill.analysis.training_cost import Record, own_seconds, updates_in
from distill.config.comparison import CONTROLLED, control
from distill.config.params import Params
from distill.errors import UserError
from pipeline.distill import distil
from pipeline.launch.run import run_stage
from pipeline.process.records import record_file
from pipeline.stage import paths
from pipeline.stage.definition import define
from pipeline.stage.stage import Stage
from pipeline.summary import spent


def main(time: str, name: str, seed: str) -> None:
    """Fine-tune the student that all methods start from; the schedule of the learning rate spans all updates."""
    params = paths.params()
    name, number = paths.run_of(name, seed, params)
    label = control(time, name)
    target, curves = paths.distilled(label, number), paths.METRICS / "curves" / f"{paths.label(label, number)}.csv"
    with Stage(define("control", time, name, seed), params, tags={"method": label, "seed": number}) as stage:
        updates = updates_of(time, name, number, params)
        stage.say("trains", f"{CONTROLLED} for {updates:,} updates: the {time} time of {name}")
        section = params.distill.model_copy(update={"max_steps": updates})
        params = params.model_copy(update={"distill": section})
        distil(stage, params, CONTROLLED, number, target, curves)


def updates_of(time: str, name: str, seed: int, params: Params) -> int:
    """Updates of fine-tuning in the time of a method.

    Args:
        time: `own` or `total`.
        name: a listed name.

    Raises:
        UserError: a record is missing or damaged.
    """
    seconds = own_seconds(_training(name, seed))
    if time == "total":
        for stage in spent.upstream(name, params):
            seconds += float(_known(stage).get("seconds") or 0.0)
    return updates_in(seconds, _training(CONTROLLED, seed))


def _training(name: str, seed: int) -> Record:
    """The record of a student's training."""
    stage = f"distill@{paths.label(name, seed)}"
    record = _known(stage)
    if missing := [key for key in ("train_seconds", "trainer_steps", "updates") if not record.get(key)]:
        raise UserError(f"{record_file(stage)}: has no {missing[0]}: run `dvc repro --force {stage}`")
    return record


def _known(stage: str) -> Record:
    """The record of a stage."""
    record = spent.record(stage)
    if record is None:
        raise UserError(f"{record_file(stage)}: missing: run `dvc checkout`, or `dvc repro {stage}`")
    return record


if __name__ == "__main__":
    run_stage(main)
