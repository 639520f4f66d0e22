"""Stages evaluate_*: score a student on the validation split. `python -m pipeline.evaluate ted 1`, or `… student`

The teacher, which may be no model, has a script of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from distill.analysis import example_table
from distill.config import comparison
from distill.config.data import SPLITS
from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.models import loading
from distill.models.forward import default_device, freeze
from distill.models.predict import ensemble
from distill.runtime import checkpoints
from distill.tasks import extra_metrics
from distill.tasks.base import Predicted, Report, Task
from pipeline.launch.run import run_stage
from pipeline.process.hashes import dvc_md5
from pipeline.stage import paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.scoring import of_split
from pipeline.stage.stage import Stage


def main(*words: str) -> None:
    """Predict selection and validation splits, tune on the first, report the second.

    Args:
        words: `student`, the fine-tuned one; or a name and a seed; or time, name and seed of a control.
    """
    params = paths.params()
    if words == ("student",):
        label, folder, tags = "student", paths.model("student"), {"method": "finetune", "role": "student"}
    else:
        name, number = paths.run_of(*words[-2:], params)
        name = comparison.control(words[0], name) if len(words) == 3 else name
        label, folder = paths.label(name, number), paths.distilled(name, number)
        tags = {"method": name, "seed": number}
    with Stage(define("evaluate", *words), params, tags=tags) as stage:
        data, task = open_data(params, reported=True)
        extra = extra_metrics.load(params.evaluate.extra)
        report = of_checkpoint(stage, folder, data, task, params, extra)
        write(stage, report, label, folder, params, data, task)


def write(stage: Stage, report: Report, label: str, folder: Path, params: Params, data: Prepared, task: Task) -> None:
    """Write a model's scores, predictions and table of examples.

    Args:
        label: the model's label in the names of files.
        folder: the model, or what else the report is of.
    """
    predictions = Path("data/predictions")
    for suffix, content in report.files.items():
        stage.write_json(predictions / f"{label}{suffix}", content)
    draft = stage.scratch / "examples.csv"
    example_table.write(report.examples, draft)
    stage.publish(draft, predictions / f"{label}.examples.csv")
    stage.write_json(paths.METRICS / "runs" / f"{label}.json", report.scores)
    stage.run.log_final(report.scores)
    stage.run.tag("artifact.path", folder.as_posix())
    md5 = dvc_md5(folder)
    stage.run.tag("artifact.md5", md5)
    further = (f"{split}_{task.main_metric}" for split in data.meta["splits"] if split not in SPLITS)
    shown = (*task.shown, *further, *extra_metrics.names_of([report.scores], params.evaluate.extra))
    stage.figures({label: {k: report.scores[k] for k in shown if k in report.scores}})
    stage.record({"examples": data.meta["splits"]["validation"]["examples"], "artifact_md5": md5})


def of_checkpoint(
    stage: Stage,
    folder: Path,
    data: Prepared,
    task: Task,
    params: Params,
    extra: Mapping[str, extra_metrics.Compute],
) -> Report:
    """The report of a model, and of its generations as one, where it has some."""
    stage.read(folder)
    report = score([folder], data, task, params, extra)
    if earlier := paths.generations(folder):
        stage.read(folder / "generations", f"{len(earlier)} generations, the fine-tuned student among them")
        joint = score([*earlier, folder], data, task, params, extra).scores
        counts = {key for key, value in joint.items() if isinstance(value, int)}
        report.scores |= {f"ensemble_{key}": value for key, value in joint.items() if key not in counts}
    return report


def score(
    folders: list[Path], data: Prepared, task: Task, params: Params, metrics: Mapping[str, extra_metrics.Compute]
) -> Report:
    """The report of a model, or of an ensemble: the mean of several models' logits.

    Args:
        metrics: loaded functions of the extra metrics, whose scores follow the task's own.
    """
    split = {part: ensemble(_each(folders, data, task, params, part)) for part in data.scored_splits}
    return report_of(split, task, params, metrics)


def report_of(
    split: dict[str, Predicted], task: Task, params: Params, metrics: Mapping[str, extra_metrics.Compute]
) -> Report:
    """The report of a model's outputs.

    Args:
        split: outputs by split, selection and validation among them.
        metrics: as for `score`.
    """
    report = task.report(split.pop("selection"), split.pop("validation"), params.evaluate, split)
    names = set(report.scores)
    for beginning, inputs in report.inputs.items() if metrics else ():
        scores = extra_metrics.scores(metrics, inputs, task.name)
        extra_metrics.check_names(scores, names)
        report.scores |= {f"{beginning}{name}": value for name, value in scores.items()}
    return report


def _each(folders: list[Path], data: Prepared, task: Task, params: Params, part: str) -> Iterator[Predicted]:
    for folder in folders:
        checkpoints.load_check(folder)
        model = freeze(loading.from_pretrained(str(folder), task)).to(default_device())
        yield of_split(model, data, task, params, part)


if __name__ == "__main__":
    run_stage(main)
