"""Start-up of a stage: seconds before it works, which are those of its imports, and what torch and transformers take.

Each is a process of its own that imports what `python -m pipeline STAGE` does, without collecting garbage, and reads
params.yaml; then what the stage imports a moment later. They take turns, so that a slow minute falls on all of them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Goal

ROOT = Path(__file__).resolve().parents[1]
GOAL = 2.5
#: Stage → what it imports besides, once it works; one of each kind (tests/pipeline/test_startup.py has all stages).
STAGES = {
    "inputs": "",
    "corpus": "",
    "signals": "",
    "prepare": "from transformers import AutoTokenizer, BertTokenizer",
    "plan": "from distill.models import architecture, initialization",
    "summarize": "import datasets",
    "evaluate": "import datasets",
    "predict": "import datasets",
    "finetune": "",
    "distill": "",
}
#: What no stage that needs it can do without.
FLOORS = {
    "torch": "import torch",
    "transformers' models": "from transformers import PreTrainedModel",
    "transformers' models and datasets": "from transformers import PreTrainedModel; import datasets",
    "transformers' Trainer": "from transformers import Trainer",
}


def measure(quick: bool) -> Goal:
    """Median seconds of every stage in `STAGES` and of every library in `FLOORS`; the figure is the slowest stage's."""
    programs = {f"floor: {name}": code for name, code in FLOORS.items()}
    for stage, further in STAGES.items():
        programs[stage] = (
            f"import pipeline.{stage}; from pipeline.stage import paths; paths.params(pinned=False); {further}"
        )
    if quick:
        programs = {name: programs[name] for name in ("floor: torch", "corpus")}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for turn in range(2 if quick else 6):
        for name, code in programs.items():
            pair = _run(f"import gc; gc.disable(); {code}")
            if turn:  # the first one reads files from the disk
                taken[name].append(pair)
    wall, cpu = (
        {name: statistics.median(pair[of] for pair in found) for name, found in taken.items()} for of in (0, 1)
    )
    slowest = max(STAGES.keys() & wall.keys(), key=wall.__getitem__)
    details = {f"{name}, s": seconds for name, seconds in wall.items()}
    details |= {f"{name}, CPU s": seconds for name, seconds in cpu.items()}
    return Goal(
        name="start-up of a stage, the slowest",
        value=wall[slowest],
        unit="s",
        goal=GOAL,
        details={"slowest": slowest, **details},
    )


def _run(code: str) -> tuple[float, float]:
    """Wall time and processor time in seconds of a fresh interpreter that runs `code` in the project's folder."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu
