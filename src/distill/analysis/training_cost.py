"""What the training of each model took, from the records of the stages (data/runs/*.json)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Record = Mapping[str, Any]


def training_cost(runs: Sequence[Record | None], before: Sequence[Sequence[Record | None]]) -> dict[str, Any]:
    """Means over the runs of one model; None where records lack the value.

    A run that resumed from a checkpoint knows the seconds and rows of its last part only: it does not count for them,
    nor for the speed where other runs were not interrupted.

    Args:
        runs: the record of each seed.
        before: for each seed, the records of the stages that the training depends on: teacher, cache, …

    Returns:
        runs: number of runs; seconds: wall time; examples_per_second; updates; peak_memory_mb and peak_gpu_memory_mb:
        10⁶ bytes; teacher_seconds: wall time of `before`, 0 where nothing is needed; total_seconds: of both;
        labelled_rows: training rows whose labels counted, repetitions included; student_passes, teacher_passes: rows
        that went through the models for each training row of an update; unlabelled_rows: rows of the transfer set that
        were learnt from, repetitions included, and stopped_early: number of runs that `patience` has ended, both where
        there are any.
    """
    known = [run for run in runs if run is not None]
    whole = [run for run in known if not interrupted(run)]
    spent = [[_seconds(record) for record in stages] for stages in before]
    seconds = _mean(whole, "seconds")
    upstream = None
    if all(value is not None for stages in spent for value in stages):
        upstream = round(fmean(sum(stages) for stages in spent), 3)
    ended = sum(bool(run.get("stopped_early")) for run in known)
    return {
        "runs": len(known),
        "seconds": seconds,
        "examples_per_second": _mean(whole or known, "examples_per_second"),
        "updates": _mean(known, "updates"),
        "peak_memory_mb": _mean(known, "peak_memory_mb"),
        "peak_gpu_memory_mb": _mean(known, "peak_gpu_memory_mb"),
        "teacher_seconds": upstream,
        "total_seconds": None if seconds is None or upstream is None else round(seconds + upstream, 3),
        **{key: _mean(whole, key) for key in ("labelled_rows", "student_passes", "teacher_passes")},
        **({"unlabelled_rows": unlabelled} if (unlabelled := _mean(whole, "unlabelled_rows")) else {}),
        **({"stopped_early": ended} if ended else {}),
    }


def interrupted(record: Record) -> bool:
    """Whether its seconds leave out the time before an interruption."""
    return bool(record.get("resumed_from", record.get("resumed", False)))


def own_seconds(record: Record) -> float:
    """Seconds of a student's training alone, those of the generations before it included.

    Where a run was resumed, the part that is known stands for all of it, by its number of steps.

    Raises:
        KeyError: the record is of no training.
    """
    return _of_all_steps(record["train_seconds"], record)


def stage_seconds(record: Record) -> float | None:
    """Seconds of a whole stage: of one that resumed a training, as `own_seconds` has them, and what came around it.

    None where it resumed something that counts no steps.
    """
    if not interrupted(record):
        return record["seconds"]
    if not record.get("trainer_steps"):
        return None
    return record["seconds"] - record["train_seconds"] + own_seconds(record)


def update_seconds(record: Record) -> float:
    """Seconds of an update of a student, without those in which the selection split was scored.

    Records of older versions do not tell these apart: they have them all.

    Raises:
        KeyError: the record is of no training.
    """
    return _of_all_steps(record["train_seconds"] - (record.get("scoring_seconds") or 0.0), record) / record["updates"]


def _of_all_steps(seconds: float, record: Record) -> float:
    """Seconds of the part since the last interruption, as of the whole training with what came before it."""
    steps, before = record["trainer_steps"], record.get("resumed_from") or 0
    return seconds * (steps / (steps - before) if before < steps else 1) + (record.get("earlier_seconds") or 0.0)


def updates_in(seconds: float, record: Record) -> int:
    """Updates that fine-tuning makes in so many seconds, by the record of a fine-tuning; at least one."""
    return max(1, round(record["updates"] * seconds / own_seconds(record)))


def _seconds(record: Record | None) -> float | None:
    return None if record is None or interrupted(record) else record.get("seconds")


def _mean(records: Sequence[Record], key: str) -> float | None:
    values = [record[key] for record in records if record.get(key) is not None]
    return round(fmean(values), 3) if values else None
