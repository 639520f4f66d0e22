"""Stages finetune_teacher and finetune_student: train with the task loss. `python -m pipeline.finetune teacher`"""

from __future__ import annotations

import functools

from distill.data.loading import tokenizer as tokenizers
from distill.models import loading, windows
from distill.models.initialization import initial_student
from distill.runtime import json_files
from distill.training import phases
from distill.training.finetuning import FineTuningObjective
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths, training
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data, with_label_noise
from pipeline.stage.stage import Stage


def main(role: str) -> None:
    """Fine-tune one of the two models and score it on the selection split.

    A teacher of another source than `model` is no checkpoint: its folder gets a note.
    """
    role = paths.role_of(role)
    params = paths.params()
    section = getattr(params, role)
    teacher_scores = paths.METRICS / "selection" / "teacher.json"
    scores_file = paths.METRICS / "selection" / f"{role}.json"
    curves = paths.METRICS / "curves" / f"{role}.csv"
    with Stage(
        define("finetune", role), params, tags={"method": "finetune", "role": role, "seed": section.seed}
    ) as stage:
        fix = "run `dvc repro finetune_teacher`"
        if role == "teacher" and section.source != "model":
            artifacts.leave_without_checkpoint(stage, section.source)
            return
        before = json_files.read(teacher_scores, fix, json_files.NUMBERS) if role == "student" else {}
        data, task = open_data(params)
        data = data.read_by(role)
        note = functools.partial(stage.say, "note")
        stage.read(paths.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
        tokenizer = data.tokenizer()
        if section.model.path:
            tokenizers.check_same(section.model.path, section.model.revision, tokenizer, f"{role}.model.path")
        if role == "teacher":
            model = loading.build(section.model, task, tokenizer, section.seed, role, note)
        else:
            teacher = paths.model("teacher")
            model = initial_student(section.init, section, task, tokenizer, section.seed, teacher, say=note)
        for remark in windows.check(model, task, data, tokenizer.pad_token_id, section.precision, role):
            note(remark)
        objective = FineTuningObjective(model, task)
        data = with_label_noise(stage, data, task, section.label_noise, section.seed)
        inputs, label = (stage, params, data, task, section), f"fine-tune {role}"
        result = phases.train(training.build_run(*inputs, objective, section.seed, label))
        folder = stage.fresh("model")
        loading.save(model, tokenizer, folder)
        training.finish(stage, result, folder, paths.model(role), curves)
        stage.write_json(scores_file, result.scores)
        stage.figures({"updates": result.steps, **({"selection": result.scores} if result.scores else {})})
        if role == "student" and artifacts.is_checkpoint(paths.model("teacher")):
            warn_if_weaker(before, result.scores, task.main_metric)


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
