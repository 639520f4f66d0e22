"""Stages evaluate_member: score a member of the ensemble by itself. `python -m pipeline evaluate_member second`"""

from __future__ import annotations

from distill.tasks import extra_metrics
from pipeline.evaluate import write
from pipeline.evaluate_teacher import of_members
from pipeline.launch.run import run_stage
from pipeline.stage import paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage


def main(name: str) -> None:
    """From its outputs over the splits that are scored; no model is run."""
    params = paths.params()
    params = params.as_member(paths.member_of(name, params))
    tags = {"method": "finetune", "role": "teacher", "member": name}
    with Stage(define("evaluate_member", name), params, tags=tags) as stage:
        data, task = open_data(params, reported=True)
        folder, extra = paths.MEMBERS / name, extra_metrics.load(params.evaluate.extra)
        stage.read(folder)
        report = of_members(stage, {name: 1.0}, data, task, params, extra)
        write(stage, report, paths.member_label(name), folder, params, data, task)


if __name__ == "__main__":
    run_stage(main)
