"""Stages evaluate_*: score a model on the validation split. `python -m pipeline.evaluate ted 1`, or `… teacher`"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distill.analysis import example_table
from distill.config.params import Params
from distill.config.values import pick
from distill.data.loading.prepared import Prepared
from distill.models import acceleration, loading
from distill.models.forward import default_device, freeze
from distill.models.predict import ensemble, forward_of, predict_split
from distill.parameters import group_of
from distill.runtime import checkpoints
from distill.tasks.base import Predicted, Report, Task
from pipeline.stage import paths
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage, record_file, run_stage


def main(name: str, seed: str = "") -> None:
    """Predict selection and validation splits, tune on the first, report the second."""
    params = paths.params()
    earlier: list[Path] = []
    if seed:
        name, number = paths.method_run(name, seed, params)
        group = group_of(params, name)
        stage_name, label = f"evaluate_{group}@{name}-{number}", f"{name}-{number}"
        folder, tags = paths.distilled(name, number), {"method": name, "seed": number}
        if group == "generations":
            earlier = [paths.model("student"), paths.generations(name, number)]
    else:
        name = paths.role_of(name)
        stage_name, label = f"evaluate_{name}", name
        folder, tags = paths.model(name), {"method": "finetune", "role": name}
    metrics, predictions = paths.METRICS / "runs" / f"{label}.json", Path("data/predictions")
    written = {suffix: predictions / f"{label}{suffix}" for suffix in (".json", ".null_odds.json", ".examples.csv")}
    with Stage(
        stage_name,
        params=pick(params, ["task", "evaluate"]),
        inputs=[paths.PREPARED, folder, *earlier],
        outputs=[metrics, *written.values(), record_file(stage_name)],
        experiment=params.tracking.experiment,
        tags=tags,
    ) as stage:
        data, task = open_data(params)
        stage.read(folder)
        report = score([folder], data, task, params)
        if earlier:
            everyone = [earlier[0], *sorted(earlier[1].glob("[0-9]*"), key=lambda path: int(path.name)), folder]
            stage.read(earlier[1], f"{len(everyone)} generations, the fine-tuned student among them")
            together = score(everyone, data, task, params).scores
            counts = {key for key, value in together.items() if isinstance(value, int)}
            report.scores |= {f"ensemble_{key}": value for key, value in together.items() if key not in counts}
        for suffix, content in report.files.items():
            stage.write_json(written[suffix], content)
        draft = stage.scratch / "examples.csv"
        example_table.write(report.examples, draft)
        stage.publish(draft, written[".examples.csv"])
        stage.write_json(metrics, report.scores)
        stage.run.log_final(report.scores)
        stage.run.tag("artifact.path", folder.as_posix())
        stage.run.tag("artifact.md5", paths.dvc_md5(folder))
        stage.figures({label: {k: report.scores[k] for k in task.shown if k in report.scores}})
        stage.record({"examples": data.meta["splits"]["validation"]["examples"]})


def score(folders: list[Path], data: Prepared, task: Task, params: Params) -> Report:
    """The report of a model, or of several as one: the mean of their logits."""
    parts = [part for part in ("selection", "validation", "mismatched") if part in data.meta["splits"]]
    split = {part: ensemble(_each(folders, data, task, params, part)) for part in parts}
    return task.report(split["selection"], split["validation"], params.evaluate, split.get("mismatched"))


def _each(folders: list[Path], data: Prepared, task: Task, params: Params, part: str) -> Iterator[Predicted]:
    section = params.evaluate
    for folder in folders:
        checkpoints.load_check(folder)
        model = freeze(loading.from_pretrained(str(folder), task)).to(default_device())
        with acceleration.attention(model, params.runtime, int(data.ragged(part).lengths.max())):
            predicted = predict_split(
                forward_of(model, task),
                data,
                part,
                section.batch_size,
                default_device(),
                section.precision,
                part,
                task.per_token,
            )
        yield predicted


if __name__ == "__main__":
    run_stage(main)
