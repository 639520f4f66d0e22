"""Stages evaluate_*: score a model on the validation split. `python -m pipeline.evaluate ted 1`, or `… teacher`"""

from __future__ import annotations

from pathlib import Path

from distill import checkpoints, config, models, registry
from distill.data.prepared import Prepared
from distill.evaluation import forward_of, predict_split
from pipeline import common
from pipeline.stage import Stage, record_file, run_stage


def main(name: str, seed: str = "") -> None:
    """Predict selection and validation splits, tune on the first, report the second."""
    params = common.params()
    if seed:
        name, number = common.method_run(name, seed, params)
        stage_name, label = f"evaluate_{registry.load(name).group}@{name}-{number}", f"{name}-{number}"
        folder, tags = common.distilled(name, number), {"method": name, "seed": number}
    else:
        name = common.role_of(name)
        stage_name, label = f"evaluate_{name}", name
        folder, tags = common.model(name), {"method": "finetune", "role": name}
    metrics, predictions = common.METRICS / "runs" / f"{label}.json", Path("data/predictions")
    written = {suffix: predictions / f"{label}{suffix}" for suffix in (".json", ".null_odds.json")}
    section = params.evaluate
    with Stage(
        stage_name,
        params=config.pick(params, ["task", "evaluate"]),
        inputs=[common.PREPARED, folder],
        outputs=[metrics, *written.values(), record_file(stage_name)],
        experiment=params.tracking.experiment,
        tags=tags,
    ) as stage:
        data, task = Prepared(common.PREPARED), registry.load_task(params.task)
        checkpoints.load_check(folder)
        model = models.freeze(models.from_pretrained(str(folder), task)).to(models.device())
        stage.read(folder)
        split = {
            part: predict_split(
                forward_of(model, task), data, part, section.batch_size, models.device(), section.precision, part
            )
            for part in ("selection", "validation")
        }
        report = task.report(split["selection"], split["validation"], section)
        for suffix, content in report.files.items():
            stage.write_json(written[suffix], content)
        stage.write_json(metrics, report.scores)
        stage.run.log_final(report.scores)
        stage.run.artifact(metrics)
        stage.run.tag("artifact.path", folder.as_posix())
        stage.run.tag("artifact.md5", common.dvc_md5(folder))
        stage.figures({label: {k: report.scores[k] for k in task.shown if k in report.scores}})
        stage.record({"questions": report.scores.get("questions")})


if __name__ == "__main__":
    run_stage(main)
