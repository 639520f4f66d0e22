"""Stage export: a student as ONNX and int8, checked, measured, with a model card. `python -m pipeline.export kd 1`"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill import provenance
from distill.analysis.example_table import FIX
from distill.config.params import Params
from distill.config.values import flatten
from distill.data.loading import groups
from distill.data.loading.prepared import Prepared
from distill.export import card, onnx, rounding
from distill.export.forms import Forms, int8_runtimes, megabytes
from distill.inference.cli import EXPORTS
from distill.inference.model import ONNX, SETTINGS, Settings
from distill.methods import registry
from distill.models import loading
from distill.models.forward import freeze
from distill.runtime import checkpoints, json_files
from distill.runtime.files import write_text
from distill.tasks import decision, thresholds
from distill.tasks.base import Task
from distill.training import phases
from pipeline.launch.run import run_stage
from pipeline.process.records import to_json
from pipeline.stage import paths, training
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Models whose scores the card shows beside the student's own.
ROLES = ("teacher", "student")
LIBRARIES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")


def main(name: str, seed: str) -> None:
    """Export, compare with PyTorch, quantize, score all forms, measure their speed, write the card."""
    params = paths.params()
    name, number = paths.run_of(name, seed, params)
    params, label = params.resolved(name), paths.label(name, number)
    source, target = paths.distilled(name, number), EXPORTS / name / str(number)
    metrics = paths.METRICS / "export" / f"{label}.json"
    with Stage(define("export", name, seed), params, tags={"method": name, "seed": number}) as stage:
        runs = scores(label)
        data, task = open_data(params, reported=True)
        checkpoints.load_check(source)
        model = freeze(loading.from_pretrained(str(source), task))  # exported and compared on the CPU
        stage.read(source)
        folder = stage.fresh("export")
        tokenizer = data.tokenizer()
        onnx.write(model, task.logits_of == "positions", tokenizer.model_input_names, folder / ONNX)
        train = functools.partial(bear_int8, stage, params, data, task, source, model)
        limited = LimitedData(data, params.export.max_examples)
        forms = Forms(params, data, limited, task, stage.say, train if params.quantization.train else None)
        measured = forms.measure(model, folder, stage.scratch / "int8")
        measured["size_mb"]["pytorch"] = megabytes(source / "model.safetensors")
        shutil.copyfile(source / "config.json", folder / "config.json")
        tokenizer.save_pretrained(folder)
        settings = inference_settings(params, data, runs[label], int8_runtimes(measured))
        write_text(folder / SETTINGS, to_json(settings.model_dump()))
        facts = describe(params, name, number, model, data, task, runs, settings, measured)
        write_text(folder / "README.md", card.render(facts))
        stage.publish(folder, target)
        stage.write_json(metrics, measured)
        stage.figures({form: _row(measured, form, task) for form in measured["scores"]})
        stage.figures({"parity, largest difference": measured["parity_max"]})


@dataclass
class LimitedData:
    """Prepared data with no more than the first `limit` validation examples (None: all), for `predict_split`."""

    data: Prepared
    limit: int | None

    @property
    def meta(self) -> dict[str, Any]:
        """The meta.json of all data."""
        return self.data.meta

    def tokenizer(self) -> Any:
        """The tokenizer of all data."""
        return self.data.tokenizer()

    def examples(self, split: str) -> Any:
        """The first examples."""
        examples = self.data.examples(split)
        return examples if self.limit is None else examples.select(range(self._count(split)))

    def features(self, split: str) -> Any:
        """The features of those examples: the first ones, so the table stays in one piece."""
        features = self.data.features(split)
        if self.limit is None:
            return features
        return features.select(range(int(np.searchsorted(features.data.column("example_index"), self._count(split)))))

    def _count(self, split: str) -> int:
        """The number of examples; of rankings whole queries, one at least."""
        features, count = self.data.features(split), min(self.limit, len(self.data.examples(split)))
        if groups.GROUP not in features.column_names:
            return count
        ends = groups.bounds(features)[1:]
        return int(ends[max(np.searchsorted(ends, count, side="right") - 1, 0)])


def bear_int8(stage: Stage, params: Params, data: Prepared, task: Task, source: Path, teacher: PreTrainedModel) -> Path:
    """The student trained to bear int8 (section `quantization`), as ONNX in float32.

    Args:
        source: the student's checkpoint.
        teacher: the student itself, frozen.
    """
    section, bits = params.quantization, params.export.weight_bits
    stage.say("trains", "the student by its own logits, rounded as in int8")
    student = loading.from_pretrained(str(source), task)
    with rounding.rounded(student, bits):
        objective = rounding.Recovery(student, teacher, task, section.temperature)
        inputs, features = (stage, params, data, task, section), data.taught_features()  # without labels, too
        phases.train(training.build_run(*inputs, objective, section.seed, "int8", features=features))
    teacher.to("cpu")
    file = stage.scratch / "trained.onnx"
    onnx.write(freeze(student).to("cpu"), task.logits_of == "positions", data.tokenizer().model_input_names, file)
    return file


def scores(label: str) -> dict[str, dict[str, float]]:
    """The scores by stage evaluate of the teacher, where it has some, the fine-tuned student and this student."""
    files = {name: paths.METRICS / "runs" / f"{name}.json" for name in (*ROLES, label)}
    read = {name: json_files.read(path, FIX, json_files.NUMBERS) for name, path in files.items()}
    return {name: values for name, values in read.items() if values}


def inference_settings(params: Params, data: Prepared, scores: dict[str, float], runtimes: list[str]) -> Settings:
    """The settings that the commands need: the lengths of the data, the answer search, tuned values."""
    several = params.task == "multi_label"
    qa, evaluate, labels = params.task == "qa", params.evaluate, list(data.meta.get("labels", ()))
    decided = params.task == "classification"
    offsets = decision.offsets_of(scores, decision.class_rows(data.meta), len(labels)) if decided else None
    return Settings(
        task=params.task,
        max_length=data.meta["max_length"],
        doc_stride=data.meta.get("doc_stride"),
        n_best=evaluate.n_best if qa else None,
        max_answer_length=evaluate.max_answer_length if qa else None,
        threshold=scores.get("threshold"),
        pairs=data.meta["pairs"],
        temperature=None if params.task in ("regression", "ranking") else scores.get("temperature", 1.0),
        labels=labels,
        offsets=offsets,
        thresholds=thresholds.of_scores(scores, len(labels)) if several else None,
        scheme=data.meta.get("scheme"),
        int8_runtimes=runtimes,
    )


def describe(
    params: Params,
    name: str,
    seed: int,
    model: PreTrainedModel,
    data: Prepared,
    task: Task,
    runs: dict[str, dict[str, float]],
    settings: Settings,
    exported: dict[str, Any],
) -> card.Facts:
    """All that the model card says."""
    method = params.method_of(name)
    documentation = inspect.getmodule(registry.load(method)).__doc__ or ""
    return card.Facts(
        method=name if name == method else f"{name} ({method})",
        seed=seed,
        summary=" ".join(documentation.split("\n\n")[0].split()),
        parameters=flatten(params.sections[method]),
        training=params.distill,
        updates=training.updates(params.distill, data),
        data=params.data,
        meta=data.meta,
        teacher=params.teacher.model,
        outputs=params.teacher.predictions if params.teacher.source == "predictions" else None,
        start=params.student.model,
        config=model.config.to_dict(),
        weights=sum(parameter.numel() for parameter in model.parameters()),
        settings=settings,
        inputs=onnx.inputs(model, data.tokenizer().model_input_names),
        runs=runs,
        shown=task.shown,
        exported=exported,
        versions={library: importlib.metadata.version(library) for library in LIBRARIES},
        commit=provenance.commit(),
    )


def _row(measured: dict[str, Any], form: str, task: Task) -> dict[str, float]:
    shown = {name: value for name, value in measured["scores"][form].items() if name in task.shown}
    if task.main_metric in measured["selection"][form]:
        shown["selection"] = measured["selection"][form][task.main_metric]
    return shown | {name: measured[name][form] for name in ("size_mb", "latency_ms", "throughput")}


if __name__ == "__main__":
    run_stage(main)
