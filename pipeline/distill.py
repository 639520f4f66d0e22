"""Stage distill: one student of one method and seed. `python -m pipeline.distill ted 1`

A name that `methods` lists: a method's, or a variant's. Its signals come from data/signals/<name> alone: see stage
signals.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import torch

from distill.augmentation import masked_lm, samples
from distill.augmentation.candidates import Candidates
from distill.augmentation.samples import Changed
from distill.config.params import Params
from distill.data.loading.batches import Collator
from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Method, Setup
from distill.methods.shared.filters import FilterBank
from distill.models import loading
from distill.models.forward import autocast, in_eval
from distill.models.initialization import initial_student
from distill.models.labelled_batches import labelled_batches
from distill.models.predict import forward_of
from distill.models.shape import num_layers
from distill.runtime import checkpoints, json_text
from distill.runtime.files import link_tree
from distill.signals import row_weights
from distill.signals.cache import Cache
from distill.signals.manifest import Manifest
from distill.signals.teacher import CachedSnapshots, CachedStates, CachedTeacher, OnlineTeacher, Teacher
from distill.tasks import label_noise
from distill.tasks.base import Task
from distill.training import phases, sequence
from distill.training.run import Result, TrainingRun, join
from distill.training.sequence import Link
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths, training
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data, with_class_weights, with_label_noise
from pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

STUDENT = paths.model("student")


def main(name: str, seed: str) -> None:
    """Distil, save a plain checkpoint; beside a born-again student, a folder keeps the generations before it."""
    params = paths.params()
    name, number = paths.run_of(name, seed, params)
    tags = {"method": name, "seed": number}
    if snapshot := params.snapshot_of(name):
        tags["teacher_snapshot"] = snapshot
    params = params.resolved(name)
    target, curves = paths.distilled(name, number), paths.METRICS / "curves" / f"{name}-{number}.csv"
    with Stage(define("distill", name, seed), params, tags=tags) as stage:
        distil(stage, params, name, number, target, curves, paths.sample(name, number))


def distil(
    stage: Stage, params: Params, name: str, seed: int, target: Path, curves: Path, sample: Path | None = None
) -> None:
    """Distil a student of a listed name within a stage.

    Args:
        params: parameters of the name (`Params.resolved`).
        target, curves, sample: outputs; without a sample, no changed texts are written.
    """
    data, task = open_data(params, chooses=registry.load(params.method_of(name)).chooses(params))
    stage.read(paths.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
    data = with_label_noise(stage, data, task, params.distill.label_noise, seed)
    task = with_class_weights(stage, data, task, params.distill, "distill")
    run = Run(stage, params, name, seed, data, task, Manifest.read(paths.signals(name)), sample)
    (train_generations if run.kind.taught_by == "generation" else train)(run, target, curves)


@dataclass
class Run:
    """The inputs of every student of a run.

    Attributes:
        params: parameters of the listed name (`Params.resolved`).
        name: a method's or a variant's.
        seed: seed of the run; a method with several students seeds each with another number.
        manifest: description of the method's signals.
        sample: output of the sample of changed texts; None: none is written.
    """

    stage: Stage
    params: Params
    name: str
    seed: int
    data: Prepared
    task: Task
    manifest: Manifest
    sample: Path | None = None

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.params.method_of(self.name)

    @property
    def kind(self) -> type[Method]:
        """The method's class."""
        return registry.load(self.method)

    @property
    def signals(self) -> Path:
        """The folder of the method's signals."""
        return paths.signals(self.name)

    @functools.cached_property
    def identity(self) -> dict[str, str]:
        """Content hashes of this run's data and teacher, which cached outputs must share."""
        return {
            "data": self.data.trained_on(),
            "tokenizer": self.data.meta["tokenizer"]["fingerprint"],
            "teacher": self.manifest.weights or "",
        }

    def student(self, seed: int) -> PreTrainedModel:
        """A student before its first update."""
        start, tokenizer = self.kind.start(self.params), self.data.tokenizer()
        return initial_student(
            start,
            self.params.student,
            self.task,
            tokenizer,
            seed,
            self.signals / "teacher",
            STUDENT,
            batches=functools.partial(labelled_batches, self.data, self.task),
        )


def train(run: Run, target: Path, curves: Path) -> None:
    """Train a student, from the teacher, an assistant, the fine-tuned student or labels alone."""
    params, section, data = run.params, run.params.distill, run.data
    seed = run.kind.training_seed(params.sections[run.method], run.seed)
    student = run.student(seed)
    loading.check_different(student, run.manifest.tensors, paths.model("teacher"))
    torch.manual_seed(seed)
    method = build_method(run, student, teacher_config(run))
    source = teacher(run, method, student)
    objective = Distillation(student, method, source)
    copies, rows = None, data.epoch_rows
    updates = training.updates(section, data)
    if run.manifest.copies:
        copies = augmented(run)
        # As many updates as without the copies, with which an epoch is longer.
        section = section.model_copy(update={"max_steps": updates})
    for remark in method.remarks(params, updates * training.in_units(section, data).batch_size / rows):
        run.stage.say("note", remark)
    inputs, label = (run.stage, params, data, run.task, section), f"{run.name} seed {run.seed}"
    # Without a teacher there is nothing to learn from texts without labels.
    share = section.transfer_share if method.needs else 0.0
    weigh = None
    if isinstance(source, CachedTeacher) and not copies:
        weigh = functools.partial(row_weights.beside, source.logits, section.spread_weight)
    built = training.build_run(*inputs, objective, seed, label, features=copies, transfer_share=share, weigh=weigh)
    result = phases.train(built)
    folder = run.stage.fresh("model")
    loading.save(student, data.tokenizer(), folder)
    if run.sample:
        run.stage.write_json(run.sample, changed_texts(run, objective, source, copies))
    training.finish(run.stage, result, folder, target, curves, result.updates)
    show(run, result, result.updates)


def train_generations(run: Run, target: Path, curves: Path) -> None:
    """Train born-again students, each from the one before it; the last is published, the others in `generations/<n>`.

    Generation 0, the fine-tuned student, is among them: the evaluation also scores their ensemble.
    """
    count, stage = run.params.sections[run.method].generations, run.stage
    checkpoints.load_check(STUDENT)

    def trained(link: Link) -> None:
        stage.say("trained", f"generation {link.number}, {link.result.steps:,} updates")

    begin = functools.partial(begin_generation, run)
    links = sequence.train(count, STUDENT, stage.scratch, run.data.tokenizer(), begin, trained)
    folders, result = [STUDENT, *(link.model for link in links)], links[-1].result
    built = stage.fresh("model")
    shutil.copytree(folders[-1], built, dirs_exist_ok=True)
    for generation, folder in enumerate(folders[:-1]):
        link_tree(folder, built / "generations" / str(generation))
    earlier = sum(link.result.seconds for link in links[:-1])
    # Rows that pass models are those of all generations, for each row of the last one.
    passes = join([link.result for link in links]).passes
    result = replace(result, passes=passes | {"rows": result.passes["rows"]})
    stage.record({"earlier_seconds": round(earlier, 3)})
    if run.sample:
        stage.write_json(run.sample, [])  # generations learn from the training texts alone
    training.finish(stage, result, built, target, curves)
    show(run, result, result.steps)


def begin_generation(run: Run, generation: int, before: Path) -> tuple[PreTrainedModel, TrainingRun]:
    """A generation before its first update, and its training.

    Args:
        before: folder of the generation before it, its teacher.
    """
    params, seed = run.params, run.kind.generation_seed(run.seed, generation)
    student = run.student(seed)
    loading.check_different(student, checkpoints.tensor_hashes(before), before)
    run.stage.read(before, "runs along with the student")
    torch.manual_seed(seed)
    method = build_method(run, student, loading.configuration(str(before), None))
    model = loading.from_pretrained(str(before), run.task)
    objective = Distillation(student, method, OnlineTeacher(model, run.task, False, params.predict.precision))
    inputs, label = (run.stage, params, run.data, run.task, params.distill), f"generation {generation}"
    return student, training.build_run(*inputs, objective, seed, label, transfer_share=params.distill.transfer_share)


def teacher_config(run: Run) -> PretrainedConfig | None:
    """The configuration of the model that the student learns from; None without one, or where it is no checkpoint."""
    folder = {"teacher": run.signals / "teacher", "assistant": run.signals / "teacher", "student": STUDENT}
    taught_by = run.manifest.taught_by
    if not taught_by or not (folder[taught_by] / "config.json").is_file():
        return None
    return loading.configuration(str(folder[taught_by]), None)


def build_method(run: Run, student: PreTrainedModel, teacher: PretrainedConfig | None) -> Method:
    """The method with its extra modules, for the shapes of both models, with the artifacts of other stages."""
    tokenizer = run.data.tokenizer()
    features = run.data.features("train")
    setup = Setup(run.task, student.config, teacher, run.seed, tokenizer, features=features)
    wanted = run.kind.artifacts
    if "filters" in wanted:
        setup.student_filters = FilterBank.load(run.signals / "filters" / "student")
        setup.teacher_filters = FilterBank.load(run.signals / "filters" / "teacher")
    if "generator" in wanted:
        setup.generator = masked_lm.load(run.signals / "generator")
    if "candidates" in wanted:
        folder = run.signals / "candidates"
        setup.candidates = Candidates.load(folder, run.identity, run.task, tokenizer.pad_token_id)
    return run.kind(run.params.sections[run.method], setup)


def teacher(run: Run, method: Method, student: PreTrainedModel) -> Teacher | None:
    """The cheapest source of the outputs that the method needs: none, a cache, or a model that runs along."""
    if not method.needs:
        return None
    taught_by, signals, stage = run.manifest.taught_by, run.signals, run.stage
    if taught_by == "assistant":
        stage.read(signals / "assistant", "the assistant's logits")
        return CachedTeacher(Cache.open(signals / "assistant" / "logits", run.identity, "train_assistants"))
    # The caches hold the teacher's outputs over the training features; augmented copies are other rows.
    if taught_by == "teacher" and (signals / "logits").is_dir():
        logits = Cache.open(signals / "logits", run.identity, "signals")
        if artifacts.SNAPSHOTS in run.kind.artifacts:
            return snapshots(run, logits)
        if method.needs == {"logits"}:
            stage.read(signals / "logits", "the teacher's logits; the teacher itself is not loaded")
            return CachedTeacher(logits)
        depth = num_layers(student.config), num_layers(teacher_config(run))
        reads = method.reads(run.params, *depth)
        if reads and (signals / "states").is_dir():
            states = CachedStates(Cache.open(signals / "states", run.identity, "signals"), reads)
            stage.read(signals / "states", "the teacher's logits and states; the teacher itself is not loaded")
            return CachedTeacher(logits, states)
    if taught_by == "teacher" and run.data.has_tokens_of("teacher"):
        raise UserError(
            f"{signals}: lacks outputs of the teacher that {run.name} needs, and a teacher with a tokenizer of its own"
            " cannot run along with the student: run `dvc repro plan predict_teacher signals`"
        )
    folder = STUDENT if taught_by == "student" else signals / "teacher"
    stage.read(folder, "runs along with the student")
    checkpoints.load_check(folder)
    model = loading.from_pretrained(str(folder), run.task)
    hidden = bool(method.needs & {"hidden", "cls"})
    further = {need: need in method.needs for need in ("attention", "qkv")}
    return OnlineTeacher(model, run.task, hidden, run.params.predict.precision, **further)


def snapshots(run: Run, logits: Cache) -> CachedSnapshots:
    """The checkpoints of the teacher's training, and the teacher itself.

    Args:
        logits: the teacher's.
    """
    folders = paths.numbered(run.signals / artifacts.SNAPSHOTS)
    identity = {name: value for name, value in run.identity.items() if name != "teacher"}
    run.stage.read(run.signals / artifacts.SNAPSHOTS, f"logits of {len(folders)} checkpoints of the teacher's training")
    return CachedSnapshots([*(Cache.open(folder, identity) for folder in folders), logits])


def augmented(run: Run) -> datasets.Dataset:
    """The training features with their augmented copies.

    Raises:
        UserError: they cannot be read, or were made from other training features.
    """
    folder, fix = run.signals / "augmented", "run `dvc repro augment`"
    try:
        if problem := checkpoints.fault(folder, checkpoints.CHECKSUMS):
            raise ValueError(problem)
        made_from = json_text.parse((folder / "meta.json").read_text(encoding="utf-8"))["data"]
        features = datasets.Dataset.from_file(str(folder / "features.arrow"))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: cannot be read ({error}): {fix}") from error
    if made_from != run.data.trained_on():
        raise UserError(f"{folder}/meta.json: the copies were made from other training features: {fix}")
    run.stage.read(folder, f"{len(features):,} training features with their augmented copies")
    share, rows = run.params.distill.label_noise, len(run.data.features("train"))
    return label_noise.noised(features, run.task, share, run.seed, rows) if share else features


def changed_texts(
    run: Run, objective: Distillation, source: Teacher | None, features: datasets.Dataset | None
) -> list[dict[str, Any]]:
    """The sample of a trained student (`distill.augmentation.samples`): empty where its method changes no text.

    Args:
        source: what it learnt from; where that is not the teacher, none is asked.
        features: the training features with augmented copies; None without.
    """
    student, method, task = objective.student, objective.method, run.task
    device, rows = next(student.parameters()).device, len(run.data.features("train"))
    collate = Collator(run.data.tokenizer().pad_token_id, task.labels, tuple(method.columns))
    by_teacher = source if run.manifest.taught_by == "teacher" else None
    if isinstance(by_teacher, OnlineTeacher):  # of the same model, but neither hidden states nor attention scores
        by_teacher = OnlineTeacher(by_teacher.model, task, False, by_teacher.precision)

    def changes(batch: dict[str, torch.Tensor]) -> list[Changed]:
        copies = [] if features is None else [samples.copies(features, rows, batch["index"], collate)]
        made = method.changed_texts(batch, student)
        return copies if made is None else [made, *copies]

    with in_eval(objective), torch.no_grad(), autocast(device, run.params.distill.precision):
        torch.manual_seed(run.seed)  # the draws of a run that was killed, too
        return samples.take(run.data, task, collate, device, changes, forward_of(student, task), by_teacher)


def show(run: Run, result: Result, updates: int) -> None:
    """The main figures of a training, for the stage's last lines."""
    last = result.history[-1] if result.history else {}
    terms = {f"last {k}": v for k, v in last.items() if k not in ("step", "grad_norm", "learning_rate")}
    run.stage.figures({"updates": updates, **terms, **({"selection": result.scores} if result.scores else {})})


if __name__ == "__main__":
    run_stage(main)
