"""Stage train_generations: born-again students before the last. `python -m pipeline.generations born_again 1`"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.config.params import Params
from distill.config.values import pick
from distill.data.loading.prepared import Prepared
from distill.methods import registry
from distill.methods.base import Distillation, Method, Setup
from distill.models import loading
from distill.models.initialization import initial_student
from distill.runtime import checkpoints
from distill.signals.teacher import OnlineTeacher
from distill.tasks.base import Task
from distill.training.trainer import Result
from pipeline import links
from pipeline.stage import paths, training
from pipeline.stage.inputs import SCORED, open_data
from pipeline.stage.stage import Stage, record_file, run_stage, to_json

NOTE = "none.json"


def main(method: str, seed: str) -> None:
    """Generations 1 to the last but one as plain checkpoints `1`, `2`, …; stage distill_generations trains the last."""
    params = paths.params()
    method, number = paths.method_run(method, seed, params)
    name, kind = f"train_generations@{method}-{number}", registry.load(method)
    target = paths.generations(method, number)
    curves = paths.METRICS / "curves" / f"generations-{method}-{number}.csv"
    used = ["task", "distill", method, "student.init", "student.model", "student.layers", "student.num_layers"]
    with Stage(
        name,
        params={**pick(params, [*used, "predict.precision", *SCORED]), "seed": number},
        inputs=[paths.PREPARED, paths.model("teacher"), paths.model("student")],
        outputs=[target, curves, record_file(name)],
        method=method,
        experiment=params.tracking.experiment,
        tags={"method": method, "role": "generations", "seed": number},
    ) as stage:
        data, task = open_data(params)
        stage.read(paths.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
        before = paths.model("student")
        checkpoints.load_check(before)
        count = params.sections[method].generations - 1
        folders: list[Path] = []
        results: list[Result] = []
        for generation in range(1, count + 1):
            own = kind.generation_seed(number, generation)
            before, result = links.train(
                stage,
                generation,
                functools.partial(begin, stage, kind, params, method, own, data, task, before),
                data,
                task,
                params.distill,
                params,
                own,
                f"generation {generation}",
                results,
            )
            folders.append(before)
            results.append(result)
        built = stage.fresh("generations")
        for generation, folder in enumerate(folders, start=1):
            shutil.copytree(folder, built / str(generation))
        if not folders:
            (built / NOTE).write_text(to_json({"generations": 1, "the last learns from": "the fine-tuned student"}))
        training.finish(stage, links.joined(results, "generation"), built, target, curves)
        stage.figures({"generations": count, "updates": sum(result.steps for result in results)})


def begin(
    stage: Stage, kind: type[Method], params: Params, name: str, seed: int, data: Prepared, task: Task, before: Path
) -> tuple[PreTrainedModel, Distillation]:
    """A generation before its first update, and its training.

    Args:
        name: of the method.
        before: folder of the generation before it, which runs along.
    """
    tokenizer = data.tokenizer()
    student = initial_student(
        kind.start(params),
        params.student,
        task,
        tokenizer,
        seed,
        paths.model("teacher"),
        paths.model("student"),
    )
    loading.check_different(student, before)
    stage.read(before, "runs along with the student")
    torch.manual_seed(seed)
    method = build_method(kind, params, name, seed, task, student, before, tokenizer)
    teacher = OnlineTeacher(loading.from_pretrained(str(before), task), task, False, params.predict.precision)
    return student, Distillation(student, method, teacher)


def build_method(
    kind: type[Method],
    params: Params,
    name: str,
    seed: int,
    task: Task,
    student: PreTrainedModel,
    before: Path,
    tokenizer: PreTrainedTokenizerBase,
) -> Method:
    """The method, on the shapes of student and generation before."""
    setup = Setup(task, student.config, loading.configuration(str(before), None), seed, tokenizer)
    return kind(params.sections[name], setup)


if __name__ == "__main__":
    run_stage(main)
