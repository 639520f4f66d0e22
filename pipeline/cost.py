"""Stage cost: size and speed of teacher and student on this machine. `python -m pipeline.cost`

Distilled students have the fine-tuned student's shape, so its figures are theirs. Its timings differ from run to run;
no stage but `summarize` depends on them. A teacher with a tokenizer of its own is measured on its own tokens.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from distill.analysis import model_cost
from distill.models import loading
from distill.models.forward import default_device, freeze
from distill.runtime import checkpoints
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage

ROLES = ("teacher", "student")
# Digits after the point; counts stay whole.
_DIGITS = {"flops_per_token": 0, "checkpoint_mb": 3, "throughput": 2}


def main() -> None:
    """Count and time both models on the validation split; a teacher that is no checkpoint has no cost."""
    params = paths.params()
    section, file = params.cost, paths.METRICS / "cost.json"
    folders = {role: paths.model(role) for role in ROLES if artifacts.is_checkpoint(paths.model(role))}
    with Stage(define("cost"), params, tags={"pipeline": "cost"}) as stage:
        data, task = open_data(params, reported=True)
        readers = {role: data.read_by(role) for role in folders}
        lengths = {role: float(own.ragged("validation").lengths.mean()) for role, own in readers.items()}
        # Models that read other tokens cannot be timed on the same batches.
        together = [tuple(folders)] if all(own is data for own in readers.values()) else [(role,) for role in folders]
        for roles in together:
            rows, length = len(readers[roles[0]].features("validation")), lengths[roles[0]]
            whose = f", in the {roles[0]}'s tokens" if len(together) > 1 else ""
            stage.read(paths.PREPARED, f"{rows:,} validation rows of {length:.1f} tokens on average{whose}")
        built = {}
        for role, folder in folders.items():
            checkpoints.load_check(folder)
            stage.read(folder)
            built[role] = freeze(loading.from_pretrained(str(folder), task)).to(default_device())
        sizes = {
            role: model_cost.size(model, task, round(lengths[role]), folders[role]) for role, model in built.items()
        }
        speeds: dict[str, model_cost.Speed] = {}
        for roles in together:
            own, models = readers[roles[0]], {role: built[role] for role in roles}
            features, pad = own.features("validation"), own.tokenizer().pad_token_id
            speeds |= model_cost.speeds(models, task, features, pad, section, say=lambda text: stage.say("note", text))
        results = {role: _rounded(asdict(sizes[role]) | asdict(speeds[role])) for role in built}
        stage.write_json(
            file,
            {
                "machine": model_cost.machine(),
                "threads": torch.get_num_threads(),
                "precision": section.precision,
                "length": round(lengths["student"], 2),
                "models": results,
            },
        )
        shown = ("parameters", "checkpoint_mb", "latency_ms", "throughput")
        stage.figures({role: {name: row[name] for name in shown} for role, row in results.items()})
        stage.run.log_final(
            {f"{role}.{name}": float(value) for role, row in results.items() for name, value in row.items()}
        )
        stage.record({"machine": model_cost.machine(), "threads": torch.get_num_threads()})


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    digits = {name: _DIGITS.get(name, 4) for name, value in figures.items() if isinstance(value, float)}
    return figures | {name: round(figures[name], number) for name, number in digits.items()}


if __name__ == "__main__":
    run_stage(main)
