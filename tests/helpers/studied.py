"""The figures of a study of four arms on three tasks, with known differences and times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from distill.analysis import example_table
from distill.experiments import study
from distill.experiments.study import Study
from pipeline.study.figures import Figures
from pipeline.study.students import Student

TRIALS = [{"learning_rate": 1e-3}, {"learning_rate": 3e-3}]
# Points above ft on each task, and seconds of an update.
ABOVE = {"kd": (1.0, 2.0), "ted": (1.6, 1.8), "mate": (-3.0, -1.0)}
SECONDS = {"ft": 0.2, "kd": 0.21, "ted": 0.4, "mate": 0.8}
ROWS = 50  # of a table of examples
SEEDS = {"tuning": [11], "screening": [1, 2], "further": [3], "confirmation": [101, 102]}


def plan(**changes: Any) -> Study:
    values = {
        "seeds": SEEDS,
        "tasks": {"a": {"presets": ["a"]}, "b": {"presets": ["b"]}, "c": {"presets": ["c"], "replication": True}},
        "baseline": "ft",
        "also": "kd",
        "margin": 0.5,
        "timed_updates": 4,
        "arms": {name: TRIALS for name in SECONDS},
    }
    return Study.model_validate({**values, **changes})


def row(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 1, "high": value + 1, "p": 0.2, "shared": 0.1, "seeds": 0.1, "freedom": 8.0}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def figures(folder: Path, plan: Study, timed: bool = True) -> Figures:
    picks = {arm: 2 for arm in SECONDS}
    for number, task in enumerate(("a", "b", "c")):
        above = {name: values[number] if number < 2 else 50.0 for name, values in ABOVE.items()}
        scores = {"ft": 70.0, **{f"{name}-tuned": 70.0 + value for name, value in above.items()}}
        rows = {name: {"accuracy": s, "selection_accuracy": s, "seeds": [1, 2]} for name, s in scores.items()}
        against = {
            "ft": {f"{name}-tuned": row(value) for name, value in above.items()},
            "kd-tuned": {
                "ft": row(-above["kd"]),
                **{f"{name}-tuned": row(value - above["kd"]) for name, value in above.items() if name != "kd"},
            },
        }
        screen = folder / task / study.SCREEN
        write(screen / "phase.json", {"picks": picks})
        write(screen / "metrics/summary.json", rows)
        write(screen / "differences.json", {"metric": "accuracy", "against": against})
        for name, seconds in SECONDS.items():
            trained(screen, name, 1, 999, 200)  # times of the screening are those of a busy machine
            if timed:
                trained(folder / task / study.TIME, name, 1, 60 * seconds)
        if timed:
            write(folder / task / study.TIME / "phase.json", {})
    return Figures(plan, folder)


def trained(phase: Path, arm: str, seed: int, seconds: float, updates: int = 60) -> None:
    """The record of an arm's training in the folder of a phase."""
    name = arm if arm == "ft" else f"{arm}-tuned"
    record = {"train_seconds": seconds, "updates": updates, "trainer_steps": updates}
    write(phase / f"data/runs/distill-{name}-{seed}.json", record)


def table(name: str, seed: int, metric: str) -> dict[str, list[Any]]:
    """A student's table of examples, made up: column → values."""
    random = np.random.default_rng([len(name), seed])
    columns: dict[str, list[Any]] = {"id": [f"q{n}" for n in range(ROWS)]}
    if metric == "pearson":
        gold = np.random.default_rng(0).random(ROWS)
        return columns | {"gold": gold.tolist(), "predicted": (gold + random.random(ROWS)).tolist()}
    right = random.random(ROWS) < 0.6
    return columns | {
        "accuracy": (100.0 * right).tolist(),
        "gold": ["NA"] * ROWS,
        "predicted": np.where(right, "NA", "=b").tolist(),
        "confidence": random.random(ROWS).tolist(),
    }


def run(clone: Path, members: list[Student], metric: str, teacher: str = "abc") -> None:
    """What the stages of an arm leave."""
    for folder in ("data/runs", "data/predictions", "data/models/teacher", "metrics/runs"):
        (clone / folder).mkdir(parents=True, exist_ok=True)
    (clone / "data/models/teacher/model.safetensors").write_text(teacher)
    for stage in ("finetune_teacher", "evaluate_teacher"):
        (clone / f"data/runs/{stage}.json").write_text(json.dumps({"stage": teacher}))
    for member in members:
        content = table(member.name, member.seed, metric)
        example_table.write(content, clone / f"data/predictions/{member.label}.examples.csv")
        scores = {metric: 50.0 + member.seed, f"selection_{metric}": 40.0, "loss": 1.0}
        (clone / member.scores).write_text(json.dumps(scores))
        (clone / f"data/runs/distill-{member.label}.json").write_text(json.dumps({"updates": 5}))
        (clone / f"data/runs/evaluate-{member.label}.json").write_text(json.dumps({"examples": ROWS}))
