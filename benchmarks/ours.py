"""A stage of the pipeline at the gate: `python -m benchmarks.ours <project> distill <method> <seed> [--online]`.

It is the real stage with its real trainer and data path; only a callback is added that waits between updates. With
`--online` the teacher runs along also where the stage would read from a cache what the method needs. `teacher <seed>`
in place of `distill …` is the teacher's forward pass alone, with hidden states, on the batches that the stage would
make.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.gate import Gate, gate_trainer


def main() -> None:
    """Run until the gate is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("project", type=Path)
    parser.add_argument("what", choices=("distill", "teacher"))
    parser.add_argument("words", nargs="+", help="method and seed, or seed")
    parser.add_argument("--online", action="store_true")
    options = parser.parse_args()
    os.chdir(options.project)
    os.environ["DVC_ROOT"] = str(options.project)
    gate = Gate.from_environment()
    if options.what == "teacher":
        teacher_alone(gate, int(options.words[0]))
    else:
        distill(gate, options.words, options.online)


def distill(gate: Gate, words: list[str], online: bool) -> None:
    """The stage `distill`."""
    from pipeline import distill as stage

    if online:
        run_teacher_along(stage)
    gate_trainer(gate)
    stage.main(*words)


def run_teacher_along(stage: ModuleType) -> None:
    """Give the stage the teacher itself, as it does for a method whose needs no cache holds."""
    from distill.models import loading
    from distill.signals.teacher import OnlineTeacher
    from pipeline.stage import paths

    def teacher(run: Any, method: Any, _: Any) -> OnlineTeacher:
        model = loading.from_pretrained(str(paths.model("teacher")), run.task)
        hidden, attention = bool(method.needs & {"hidden", "cls"}), "attention" in method.needs
        return OnlineTeacher(model, run.task, hidden, run.params.predict.precision, attention)

    stage.teacher = teacher


def teacher_alone(gate: Gate, seed: int) -> None:
    """Forward passes of the teacher with hidden states, in the order of the stage's batches."""
    from distill.data.loading.batches import Collator, EpochSampler, Rows
    from distill.models import loading
    from distill.models.forward import autocast, default_device, forward_pass, freeze
    from pipeline.stage import paths
    from pipeline.stage.inputs import open_data

    params = paths.params()
    data, task = open_data(params)
    device, size = default_device(), params.distill.batch_size
    teacher = freeze(loading.from_pretrained(str(paths.model("teacher")), task)).to(device)
    rows = Rows(data.features("train"), ("input_ids", "token_type_ids", *task.labels))
    sampler = EpochSampler(rows.lengths, size, params.distill.group_by_length, seed)
    collate = Collator(data.tokenizer().pad_token_id, task.labels)
    gate.begin()
    for epoch in range(1_000_000):
        sampler.set_epoch(epoch)
        order = list(sampler)
        for first in range(0, len(order), size):
            batch = {
                name: value.to(device)
                for name, value in collate(rows.__getitems__(order[first : first + size])).items()
            }
            gate.count(batch["attention_mask"])
            with torch.inference_mode(), autocast(device, params.predict.precision):
                forward_pass(teacher, task, batch, hidden=True)
            gate.updated()


if __name__ == "__main__":
    main()
