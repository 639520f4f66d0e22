"""Stages finetune_member: fine-tune a member of the ensemble. `python -m pipeline finetune_member second`

A member is a teacher: section `teacher` with the member's changes (`distill.config.ensemble`).
"""

from __future__ import annotations

from distill.config import model_tokenizers
from pipeline.finetune import Outputs, fine_tune
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths
from pipeline.stage.definition import define
from pipeline.stage.stage import Stage


def main(name: str) -> None:
    """As stage finetune_teacher; the folder of a member whose outputs are stored gets a note."""
    params = paths.params()
    reader = model_tokenizers.reader_of(params, paths.member_of(name, params))
    params = params.as_member(name)
    outputs = Outputs.of(paths.member_label(name), paths.member(name))
    tags = {"method": "finetune", "role": "teacher", "member": name, "seed": params.teacher.seed}
    with Stage(define("finetune_member", name), params, tags=tags) as stage:
        if params.teacher.source == "model":
            fine_tune(stage, params, "teacher", outputs, reader)
        else:
            artifacts.leave_without_checkpoint(stage, params.teacher.source, *outputs)


if __name__ == "__main__":
    run_stage(main)
