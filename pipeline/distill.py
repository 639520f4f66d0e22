"""Stage distill: one student of one method and seed. `python -m pipeline.distill ted 1`"""

from __future__ import annotations

import torch
from transformers import AutoConfig

from distill import checkpoints, config, models, registry, students
from distill.config import Params
from distill.data.prepared import Prepared
from distill.evaluation import forward_of
from distill.filters import FilterBank
from distill.methods.base import Distillation, Method, Setup
from distill.signals import CachedTeacher, OnlineTeacher, Teacher
from distill.tasks.base import Task
from pipeline import common, training
from pipeline.stage import Stage, record_file, run_stage


def main(method: str, seed: str) -> None:
    """Distil, save a plain checkpoint."""
    params = common.params()
    method, number = common.method_run(method, seed, params)
    kind = registry.load(method)
    name = f"distill_{kind.group}@{method}-{number}"
    target, curves = common.distilled(method, number), common.METRICS / "curves" / f"{method}-{number}.csv"
    sources = {
        "logits": [common.PREDICTIONS],
        "hidden": [],
        "filtered": [common.filters("teacher"), common.filters("student")],
    }
    used = ["task", "distill", method, "student.model", "student.layers", "student.num_layers"]
    used += ["predict.precision", "evaluate.n_best", "evaluate.max_answer_length"]
    with Stage(
        name,
        params={**config.pick(params, used), "seed": number},
        inputs=[common.PREPARED, common.model("teacher"), common.model("student"), *sources[kind.group]],
        outputs=[target, curves, record_file(name)],
        method=method,
        experiment=params.tracking.experiment,
        tags={"method": method, "seed": number},
    ) as stage:
        data, task, section = Prepared(common.PREPARED), registry.load_task(params.task), params.distill
        tokenizer = data.tokenizer()
        stage.read(common.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
        checkpoints.load_check(common.model("teacher"))
        student = students.initial(
            section.init, params.student, task, tokenizer, number, common.model("teacher"), common.model("student")
        )
        models.check_different(student, common.model("teacher"))
        torch.manual_seed(number)
        built = build_method(kind, params, method, task, student)
        teacher = signals(built, params, task, stage)
        objective = Distillation(student, built, teacher)
        result = training.run(
            stage,
            objective,
            data,
            task,
            section,
            params,
            number,
            f"{method} seed {number}",
            forward_of(student, task),
            lambda predicted: task.score(predicted, params.evaluate),
        )
        folder = stage.fresh("model")
        models.save(student, tokenizer, folder)
        training.finish(stage, result, folder, target, curves)
        last = result.history[-1] if result.history else {}
        shown = {f"last {k}": v for k, v in last.items() if k not in ("step", "grad_norm", "learning_rate")}
        scores = {"selection": result.scores} if result.scores else {}
        stage.figures({"updates": result.steps, **shown, **scores})


def build_method(kind: type[Method], params: Params, name: str, task: Task, student: torch.nn.Module) -> Method:
    """The method with its extra modules, on the shapes of both models."""
    filtered = kind.group == "filtered"
    setup = Setup(
        task=task,
        student=student.config,
        teacher=AutoConfig.from_pretrained(common.model("teacher")),
        student_filters=FilterBank.load(common.filters("student")) if filtered else None,
        teacher_filters=FilterBank.load(common.filters("teacher")) if filtered else None,
    )
    return kind(params.sections[name], setup)


def signals(method: Method, params: Params, task: Task, stage: Stage) -> Teacher | None:
    """The cheapest source of what the method needs: nothing, the cached logits, or the teacher itself."""
    if not method.needs:
        return None
    if method.needs <= CachedTeacher.provides:
        stage.read(common.PREDICTIONS, "the teacher's logits; the teacher itself is not loaded")
        return CachedTeacher(common.PREDICTIONS, checkpoints.tree_hash(common.PREPARED / "train" / "features.arrow"))
    stage.read(common.model("teacher"), "the teacher, run along with the student")
    teacher = models.from_pretrained(str(common.model("teacher")), task)
    return OnlineTeacher(teacher, task, "hidden" in method.needs, params.predict.precision)


if __name__ == "__main__":
    run_stage(main)
