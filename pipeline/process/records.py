"""Records of the stages' runs: data/runs/*.json, which differ from run to run."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import resource
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from distill.runtime import json_files
from distill.runtime.json_files import NumberOrNull

RUNS = Path("data/runs")
#: The bytes of a result depend on these: a checkpoint of another version is not resumed.
LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "numpy")


def record_file(name: str) -> Path:
    """Where `Stage.record` writes: data/runs/distill-ted-1.json for distill@ted-1."""
    return RUNS / f"{file_name(name)}.json"


def file_name(name: str) -> str:
    """The name of a stage as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", name)


class _Record(BaseModel, extra="allow"):
    """What others read in a record; stages add facts of their own."""

    stage: str = ""
    needed: bool = True
    run_id: str | None = None
    resumed: bool = False
    resumed_from: int | None = None
    seconds: NumberOrNull = None
    updates: int | None = None
    trainer_steps: int | None = None
    stopped_early: bool = False
    train_seconds: NumberOrNull = None
    scoring_seconds: NumberOrNull = None
    earlier_seconds: NumberOrNull = None
    labelled_rows: NumberOrNull = None
    unlabelled_rows: NumberOrNull = None
    student_passes: NumberOrNull = None
    teacher_passes: NumberOrNull = None
    examples_per_second: NumberOrNull = None
    peak_memory_mb: NumberOrNull = None
    peak_gpu_memory_mb: NumberOrNull = None
    artifact_md5: str = ""
    device: str = ""
    versions: dict[str, str] = {}


_RECORD = TypeAdapter(_Record)


def read_record(path: Path) -> dict[str, Any]:
    """The content of a record, as far as it is there.

    Raises:
        UserError: the file is missing or damaged.
    """
    fix = f"run `dvc checkout {path.as_posix()}`, or `dvc repro`"
    return json_files.read(path, fix, _RECORD).model_dump(exclude_unset=True)


def to_json(content: Any) -> str:
    """JSON text as in all of the project's files: two spaces, UTF-8, order kept, a newline at the end."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def peak_memory() -> dict[str, float]:
    """The most that this process has held at once, in 10^6 bytes: in memory, and on the GPU where it used one."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = {"peak_memory_mb": round(largest * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)}  # Linux: in KiB
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peak["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return peak


def device() -> str:
    """The GPU, or processor and cores."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu {platform.machine()}, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    """Versions of Python and of `LIBRARIES`."""
    installed = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[library] = importlib.metadata.version(library)
    return installed
