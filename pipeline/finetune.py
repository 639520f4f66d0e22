"""Stages finetune_teacher and finetune_student: train with the task loss. `python -m pipeline.finetune teacher`

A teacher that is ready (`teacher.train: false`) gets no update: its head is put in the data's order, and it is scored.
Nor does a student where no row has a label (`data.train: data/none`): it stays as it starts.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from distill.config.params import Params
from distill.data.loading import tokenizer as tokenizers
from distill.models import loading, windows
from distill.models.forward import default_device
from distill.models.initialization import initial_student
from distill.models.labelled_batches import labelled_batches
from distill.runtime import json_files
from distill.training import phases
from distill.training.finetuning import FineTuningObjective
from distill.training.run import Result
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths, teacher_snapshots, training
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data, with_class_weights, with_label_noise
from pipeline.stage.stage import Stage


def main(role: str) -> None:
    """Fine-tune one of the two models and score it on the selection split.

    A teacher of another source than `model` is no checkpoint: its folder gets a note.
    """
    role = paths.role_of(role)
    params = paths.params()
    tags = {"method": "finetune", "role": role, "seed": getattr(params, role).seed}
    outputs = Outputs.of(role, paths.model(role))
    with Stage(define("finetune", role), params, tags=tags) as stage:
        if role == "teacher" and params.teacher.source != "model":
            artifacts.leave_without_checkpoint(stage, params.teacher.source, *outputs)
            teacher_snapshots.leave_out(stage)
            return
        fix = "run `dvc repro finetune_teacher`"
        teacher_scores = Outputs.of("teacher", paths.model("teacher")).scores
        before = json_files.read(teacher_scores, fix, json_files.NUMBERS) if role == "student" else {}
        scores, metric = fine_tune(stage, params, role, outputs)
        if role == "student" and artifacts.is_checkpoint(paths.model("teacher")):
            warn_if_weaker(before, scores, metric)


class Outputs(NamedTuple):
    """Where a fine-tuned model, its scores on the selection split and its curves go."""

    model: Path
    scores: Path
    curves: Path

    @classmethod
    def of(cls, label: str, model: Path) -> Self:
        """The outputs of a model with this label in the names of files."""
        return cls(model, paths.METRICS / "selection" / f"{label}.json", paths.METRICS / "curves" / f"{label}.csv")


def fine_tune(
    stage: Stage, params: Params, role: str, outputs: Outputs, reader: str | None = None
) -> tuple[dict[str, float], str]:
    """Fine-tune a model and publish it.

    Args:
        role: the section that describes it, `teacher` or `student`.
        reader: whose tokens it reads (`Prepared.read_by`); None: its role's.

    Returns:
        (scores on the selection split, name of the main one)
    """
    section = getattr(params, role)
    data, task = open_data(params, chooses=section.chooses)
    data = data.read_by(reader or role)
    note = functools.partial(stage.say, "note")
    stage.read(paths.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
    tokenizer = data.tokenizer()
    if section.model.path:
        tokenizers.check_same(section.model.path, section.model.revision, tokenizer, f"{role}.model.path")
    is_ready = role == "teacher" and not section.train
    if role == "teacher":
        head = loading.Ready(section.labels) if is_ready else None
        model = loading.build(section.model, task, tokenizer, section.seed, role, note, head)
    else:
        teacher = paths.model("teacher")
        batches = functools.partial(labelled_batches, data, task)
        model = initial_student(
            section.init, section, task, tokenizer, section.seed, teacher, say=note, batches=batches
        )
    for remark in windows.check(model, task, data, tokenizer.pad_token_id, section.precision, role):
        note(remark)
    is_taken = is_ready or not data.has_labels
    if not is_taken:
        data = with_label_noise(stage, data, task, section.label_noise, section.seed)
        task = with_class_weights(stage, data, task, section, role)
    objective = FineTuningObjective(model, task)
    inputs, label = (stage, params, data, task, section), f"fine-tune {role}"
    run = training.build_run(*inputs, objective, section.seed, label)
    if role == "teacher":
        run = replace(run, snapshots=section.snapshots)
    if is_taken:
        why = "teacher.train is false" if is_ready else "no row has a label to train on: data.train is data/none"
        stage.say("taken", f"{section.model.path or 'the model'} as it is ({why})")
        stage.alone()
        model.to(default_device())
        result = replace(Result.nothing(), scores=run.evaluate())
    else:
        result = phases.train(run)
    folder = stage.fresh("model")
    loading.save(model, tokenizer, folder)
    training.finish(stage, result, folder, outputs.model, outputs.curves)
    if outputs.model == paths.model("teacher"):
        if run.snapshots:
            teacher_snapshots.publish(stage, run, model, tokenizer, result)
        else:
            teacher_snapshots.leave_out(stage)
    if is_taken:  # what it cost is none of this pipeline's training time
        stage.record({"trained": False, "seconds": 0.0, "examples_per_second": None})
    stage.write_json(outputs.scores, result.scores)
    stage.figures({"updates": result.steps, **({"selection": result.scores} if result.scores else {})})
    return result.scores, task.main_metric


def warn_if_weaker(teacher: dict[str, float], student: dict[str, float], metric: str) -> None:
    """Print a warning where the teacher scores below the student, or where either has no score."""
    if unscored := [role for role, scores in (("teacher", teacher), ("student", student)) if metric not in scores]:
        fields = " and ".join(f"{role}.evaluations: 0" for role in unscored)
        print(
            f"\n  WARNING: whether the teacher is better than the fine-tuned student could not be checked:"
            f" {fields} leaves no score on the selection split. Set 1 or more to have it checked.\n",
            flush=True,
        )
    elif teacher[metric] < student[metric]:
        print(
            f"\n  WARNING: the teacher ({metric} {teacher[metric]:.2f} on the selection split) is worse than the"
            f" fine-tuned student ({student[metric]:.2f}): this is defective distillation. Train the teacher longer,"
            " or lower its learning rate, unless that is what you are after.\n",
            flush=True,
        )


if __name__ == "__main__":
    run_stage(main)
