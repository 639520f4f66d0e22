"""Stage distill: one student of one method and seed. `python -m pipeline.distill ted 1`"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

import datasets
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from distill.augmentation import masked_lm
from distill.augmentation.candidates import Candidates
from distill.config.params import Params
from distill.config.values import pick
from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Method, Setup
from distill.methods.shared.filters import FilterBank
from distill.models import loading
from distill.models.initialization import initial_student
from distill.parameters import group_of
from distill.runtime import checkpoints
from distill.signals import writer
from distill.signals.cache import Cache
from distill.signals.states import GROUPS
from distill.signals.teacher import CachedStates, CachedTeacher, OnlineTeacher, Teacher
from distill.tasks.base import Task
from distill.training import phases
from pipeline import views
from pipeline.stage import paths, training
from pipeline.stage.inputs import SCORED, open_data
from pipeline.stage.stage import Stage, record_file, run_stage

TEACHER = paths.model("teacher")


@dataclass
class Run:
    """What a student is distilled with: the parameters, the run's names, the data, and the student at its start."""

    params: Params
    method: str
    seed: int
    group: str
    data: Prepared
    task: Task
    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @functools.cached_property
    def teacher(self) -> PretrainedConfig:
        """The teacher's configuration."""
        return loading.configuration(str(TEACHER), None)

    @functools.cached_property
    def identity(self) -> dict[str, str]:
        """By which the caches of the teacher's outputs are known to belong to this run."""
        return writer.identity(self.data, paths.WEIGHTS)


def main(method: str, seed: str) -> None:
    """Distil, save a plain checkpoint."""
    params = paths.params()
    method, number = paths.method_run(method, seed, params)
    kind, group = registry.load(method), group_of(params, method)
    name = f"distill_{group}@{method}-{number}"
    target, curves = paths.distilled(method, number), paths.METRICS / "curves" / f"{method}-{number}.csv"
    sources = {
        "logits": [paths.PREDICTIONS],
        "hidden": [],
        "filtered": [paths.filters("teacher"), paths.filters("student")],
        "assisted": [paths.ASSISTANT],
        "generated": [paths.GENERATOR],
        "retrieved": [paths.PREDICTIONS, paths.CANDIDATES],
        "augmented": [paths.AUGMENTED],
        "generations": [paths.generations(method, number)],
    }
    if group in GROUPS:
        sources[group] += [paths.PREDICTIONS, paths.view(method)]
    used = ["task", "distill", method, "student.model", "student.layers", "student.num_layers"]
    used += ["student.init", "predict.precision", *SCORED]
    with Stage(
        name,
        params={**pick(params, used), "seed": number},
        inputs=[paths.PREPARED, TEACHER, paths.model("student"), *sources[group]],
        outputs=[target, curves, record_file(name)],
        method=method,
        experiment=params.tracking.experiment,
        tags={"method": method, "seed": number},
    ) as stage:
        (data, task), section = open_data(params), params.distill
        tokenizer = data.tokenizer()
        stage.read(paths.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
        checkpoints.load_check(TEACHER)
        own_seed = kind.training_seed(params.sections[method], number)
        student = initial_student(
            kind.start(params),
            params.student,
            task,
            tokenizer,
            own_seed,
            TEACHER,
            paths.model("student"),
        )
        loading.check_different(student, TEACHER)
        torch.manual_seed(own_seed)
        run = Run(params, method, number, group, data, task, student, tokenizer)
        built = build_method(kind, run)
        teacher = signals(built, run, stage)
        features, rows = None, len(data.features("train"))
        updates = phases.updates(section, rows)
        if group == "augmented":
            features = augmented(data)
            stage.read(paths.AUGMENTED, f"{len(features):,} training features with their augmented copies")
            # As many updates as without the copies: an epoch of them is longer.
            section = section.model_copy(update={"max_steps": updates})
        for remark in built.remarks(params, updates * section.batch_size / rows):
            stage.say("note", remark)
        objective = Distillation(student, built, teacher)
        result = training.run_model(
            stage,
            objective,
            student,
            data,
            task,
            section,
            params,
            own_seed,
            f"{method} seed {number}",
            features=features,
        )
        folder = stage.fresh("model")
        loading.save(student, tokenizer, folder)
        training.finish(stage, result, folder, target, curves, updates)
        last = result.history[-1] if result.history else {}
        shown = {f"last {k}": v for k, v in last.items() if k not in ("step", "grad_norm", "learning_rate")}
        scores = {"selection": result.scores} if result.scores else {}
        stage.figures({"updates": updates, **shown, **scores})


def build_method(kind: type[Method], run: Run) -> Method:
    """The method with its extra modules, on the shapes of both models and what its group's stages have made."""
    setup = Setup(
        task=run.task,
        student=run.student.config,
        teacher=run.teacher,
        seed=run.seed,
        tokenizer=run.tokenizer,
    )
    if run.group == "filtered":
        setup.student_filters = FilterBank.load(paths.filters("student"))
        setup.teacher_filters = FilterBank.load(paths.filters("teacher"))
    elif run.group == "generated":
        setup.generator = masked_lm.load(paths.GENERATOR)
    elif run.group == "retrieved":
        setup.candidates = Candidates.load(paths.CANDIDATES, run.identity, run.task, run.tokenizer.pad_token_id)
    return kind(run.params.sections[run.method], setup)


def signals(method: Method, run: Run, stage: Stage) -> Teacher | None:
    """The cheapest source of what the method needs: nothing, a cache, or a model that runs along."""
    if not method.needs:
        return None
    if method.taught_by == "assistant":
        stage.read(paths.ASSISTANT, "the assistant's logits")
        last = max(paths.ASSISTANT.glob("[0-9]*"), key=lambda path: int(path.name)) / "model.safetensors"
        identity = writer.identity(run.data, last)
        return CachedTeacher(Cache.open(paths.ASSISTANT / "logits", identity, "distill_assistant"))
    # The caches hold the teacher's outputs over the training features; augmented copies are other rows.
    if method.taught_by == "teacher" and run.group != "augmented":
        if method.needs == {"logits"}:
            logits = Cache.open(paths.PREDICTIONS, run.identity)
            stage.read(paths.PREDICTIONS, "the teacher's logits; the teacher itself is not loaded")
            return CachedTeacher(logits)
        reads = method.reads(run.params, loading.num_layers(run.student.config), loading.num_layers(run.teacher))
        if run.group in GROUPS and views.kept(run.method, reads):
            logits, states = (Cache.open(folder, run.identity) for folder in (paths.PREDICTIONS, paths.STATES))
            stage.read(paths.STATES, "the teacher's logits and states; the teacher itself is not loaded")
            return CachedTeacher(logits, CachedStates(states, reads))
    folder = {
        "teacher": TEACHER,
        "student": paths.model("student"),
        "generation": paths.last_generation(run.method, run.seed),
    }[method.taught_by]
    stage.read(folder, "runs along with the student")
    teacher = loading.from_pretrained(str(folder), run.task)
    hidden = bool(method.needs & {"hidden", "cls"})
    return OnlineTeacher(teacher, run.task, hidden, run.params.predict.precision, "attention" in method.needs)


def augmented(data: Prepared) -> datasets.Dataset:
    """The training features with their augmented copies.

    Raises:
        UserError: they cannot be read, or were made from other training features.
    """
    fix = "run `dvc repro augment`"
    try:
        made_from = json.loads((paths.AUGMENTED / "meta.json").read_text())["data"]
        features = datasets.Dataset.from_file(str(paths.AUGMENTED / "features.arrow"))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{paths.AUGMENTED}: cannot be read ({error}): {fix}") from error
    if made_from != data.trained_on():
        raise UserError(f"{paths.AUGMENTED}/meta.json: the copies were made from other training features: {fix}")
    return features


if __name__ == "__main__":
    run_stage(main)
