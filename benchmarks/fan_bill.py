"""A day's bill on paper: SQuAD v2.0 and GLUE, 21 methods, 5 seeds, fanned out over spot GPUs.

    python -m benchmarks.fan_bill --slots 16 --price 0.30

What a method costs beside ft is measured: examples per second in the table of docs/results.md that has 21 methods. The
rest is assumed, and printed with the table. The plan is the one that `python -m pipeline.commands.fan` makes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.fan import jobs
from pipeline.fan.estimate import Estimate, schedule_estimate
from pipeline.fan.graph import Stage

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results.md"
_ROW = re.compile(r"\| distill_\w+@(\w+) \| \d+ \| [\d,]+ \| [^|]+ \| ([\d.]+) \|")
#: Training rows and tokens per row. Counted: SQuAD v2.0 (windows) and SST-2, as docs/scale.md says. The other lengths
#: are assumed, the numbers of rows are those of the data sets.
TASKS = {
    "SQuAD v2.0": (131_685, 170.3),
    "CoLA": (8_551, 11),
    "SST-2": (67_349, 13.2),
    "MRPC": (3_668, 53),
    "STS-B": (5_749, 31),
    "QQP": (363_846, 30),
    "MNLI": (392_702, 39),
    "QNLI": (104_743, 50),
    "RTE": (2_490, 70),
}
EPOCHS = 3
#: Operations of the teacher's forward pass per token (BERT-base, docs/scale.md); a student of half its depth has half.
TEACHER_OPERATIONS = 0.18e9
BATCH_SIZE = 32
#: Seconds that an update of the student takes at least, however short its texts; one of the teacher twice that.
UPDATE_SECONDS = 0.02
#: Seconds of a stage before and after its computing: imports, loading, scoring the validation split.
STAGE_SECONDS = 30.0
#: Seconds of a job besides its stages: the machine, the environment, the clone, what it fetches.
JOB_SECONDS = 300.0
SEEDS = range(1, 6)


@dataclass(frozen=True)
class Bill:
    """What a task comes to, in seconds and in the currency of the price."""

    task: str
    student_seconds: float
    estimate: Estimate
    cost: float


def relative_costs(text: str) -> dict[str, float]:
    """Method -> its time per example as a multiple of ft's, from the longest table of methods of docs/results.md."""
    tables = [dict(_ROW.findall(part)) for part in text.split("\n\n")]
    speeds = {name: float(speed) for name, speed in max(tables, key=len).items()}
    return {name: speeds["ft"] / speed for name, speed in speeds.items()}


def stages(methods: Mapping[str, float]) -> list[Stage]:
    """The stages that take time, of one task: what comes before the students, and each student with its scores."""
    made = [Stage("finetune_teacher"), Stage("predict_teacher", ("finetune_teacher",))]
    made += [
        Stage("finetune_student", ("finetune_teacher",)),
        Stage("signals", ("predict_teacher", "finetune_student")),
    ]
    made += [Stage("evaluate_teacher", ("finetune_teacher",))]
    for name in methods:
        for seed in SEEDS:
            made += [
                Stage(f"distill@{name}-{seed}", ("signals",)),
                Stage(f"evaluate@{name}-{seed}", (f"distill@{name}-{seed}",)),
            ]
    return made


def bill(task: str, methods: Mapping[str, float], rate: float, slots: int, chunk: int, price: float) -> Bill:
    """One task's fan-out.

    Args:
        task: one of `TASKS`.
        methods: name -> cost of an update as a multiple of ft's.
        rate: operations per second that a GPU keeps up.
        slots: GPUs, a job each.
        chunk: students in a job.
        price: of a GPU per hour.
    """
    rows, length = TASKS[task]
    forward = rows * length * TEACHER_OPERATIONS / rate
    least = EPOCHS * rows / BATCH_SIZE * UPDATE_SECONDS
    student = max(EPOCHS * 3 * forward / 2, least)
    seconds = {
        "finetune_teacher": max(EPOCHS * 3 * forward, 2 * least),
        "predict_teacher": forward,
        "finetune_student": student,
    }

    def taken(stage: str) -> float:
        relative = methods.get(jobs.method(stage.partition("@")[2]), 0.0) if stage.startswith("distill@") else 0.0
        return STAGE_SECONDS + seconds.get(stage, student * relative)

    listed = stages(methods)
    plan = jobs.plan(listed, {stage.name for stage in listed}, chunk, lambda name: 0)
    estimate = schedule_estimate(plan, {stage.name: stage for stage in listed}, taken, slots, JOB_SECONDS)
    return Bill(task, student, estimate, estimate.cost(price))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fan_bill", description=__doc__.partition("\n")[0])
    parser.add_argument("--slots", type=int, default=16, help="GPUs at once (default: 16)")
    parser.add_argument("--chunk", type=int, default=5, help="students in a job (default: 5)")
    parser.add_argument("--price", type=float, default=0.30, help="of a GPU per hour (default: 0.30)")
    parser.add_argument("--rate", type=float, default=3e13, help="operations per second of a GPU (default: 3e13)")
    options = parser.parse_args()
    methods = relative_costs(RESULTS.read_text(encoding="utf-8"))
    bills = [bill(task, methods, options.rate, options.slots, options.chunk, options.price) for task in TASKS]
    print("| task | ft, one student (min) | GPU hours | hours on the slots | cost |\n|---|---:|---:|---:|---:|")
    for item in bills:
        hours = (item.estimate.busy_seconds / 3600, item.estimate.seconds / 3600)
        print(f"| {item.task} | {item.student_seconds / 60:.1f} | {hours[0]:.1f} | {hours[1]:.1f} | {item.cost:.2f} |")
    busy, wall, cost = (
        sum(values)
        for values in zip(*((b.estimate.busy_seconds, b.estimate.seconds, b.cost) for b in bills), strict=True)
    )
    print(f"| all, one after the other | | {busy / 3600:.1f} | {wall / 3600:.1f} | {cost:.2f} |\n")
    costs = list(methods.values())
    print(
        f"{len(methods)} methods, {len(SEEDS)} seeds, {EPOCHS} epochs of batches of {BATCH_SIZE};"
        f" {options.slots} slots, {options.chunk} students in a job, {options.price:.2f} per GPU and hour."
        f" Assumed: {options.rate:.0e} operations per second, {UPDATE_SECONDS} s per update at least,"
        f" {STAGE_SECONDS:.0f} s per stage and {JOB_SECONDS:.0f} s per job on top."
        f" Measured: a method's update takes {min(costs):.2f} to {max(costs):.2f} times that of ft,"
        f" {sum(costs) / len(costs):.2f} in the mean."
    )


if __name__ == "__main__":
    main()
