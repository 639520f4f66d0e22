"""Scratch projects that the benchmark runs the pipeline's stages in: own parameters and data, this checkout's code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import lengths, rounds
from distill.experiments import params_file

# What distilling writes: the rest of data/ is shared by all that distil from the same teacher.
_WRITTEN = ("runs", "models/distill")
_SECTIONS = ("teacher", "student", "teacher_filters", "student_filters", "distill")


def write(folder: Path, changes: Mapping[str, Any]) -> Path:
    """A project whose params.yaml is this checkout's with `changes` (dotted names to values)."""
    text = (rounds.ROOT / "params.yaml").read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    changed = params_file.replace(text, {tuple(name.split(".")): value for name, value in changes.items()})
    (folder / "params.yaml").write_text(changed, encoding="utf-8")
    _link_code(folder)
    for name in ("data/raw/atlas", "data/members"):  # may be empty
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(rounds.ROOT / "data/none", folder / "data/none")
    return folder


def _link_code(folder: Path) -> None:
    """A stage reads and writes what its entry of dvc.yaml says; what the entries name has to be there."""
    for name in ("dvc.yaml", "pipeline", "src", "extra_metrics"):
        (folder / name).symlink_to(rounds.ROOT / name)


def search_path() -> str:
    """PATH with this Python's programs first: stages call plain `python`."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def executed(output: str) -> list[str]:
    """The stages that DVC ran, by what it printed."""
    return re.findall(r"^Running stage '(.+)':$", output, flags=re.MULTILINE)


def copy(source: Path, folder: Path, changes: Mapping[str, Any]) -> Path:
    """A project that shares the data and models of another and differs in parameters of distillation."""
    folder.mkdir(parents=True)
    text = (source / "params.yaml").read_text(encoding="utf-8")
    changed = params_file.replace(text, {tuple(name.split(".")): value for name, value in changes.items()})
    (folder / "params.yaml").write_text(changed, encoding="utf-8")
    _link_code(folder)
    found = [*(source / "data").iterdir(), *(source / "data/models").iterdir()]
    for path in found:
        name = path.relative_to(source / "data").as_posix()
        if name != "models" and name not in _WRITTEN:
            target = folder / "data" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.resolve())
    return folder


def run(folder: Path, stage: str, *words: str) -> None:
    """Run a stage of the pipeline in the project, as `python -m pipeline.<stage>`.

    Raises:
        RuntimeError: it failed; with what it printed.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"pipeline.{stage}", *words],
        cwd=folder,
        env=rounds.environment() | {"DVC_ROOT": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise RuntimeError(f"pipeline.{stage} {' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def write_data(folder: Path, rows: int) -> None:
    """SQuAD files of random words with SQuAD v2.0's lengths, and their tokenizer, in a project's data/raw."""
    # Whole articles go to the selection split: so many more, that `rows` are left for training.
    lengths.write_squad(folder / "data/raw/train.json", lengths.spread(rows + 20))
    lengths.write_squad(folder / "data/raw/validation.json", lengths.spread(40, "dev"), seed=1)
    lengths.write_tokenizer(folder / "data/raw/tokenizer")


def own_data(rows: int) -> dict[str, Any]:
    """The parameters that read what `write_data` wrote."""
    return {
        "data.source": "files",
        "data.train": "data/raw/train.json",
        "data.validation": "data/raw/validation.json",
        "data.selection_fraction": 20 / (rows + 20),
        "features.tokenizer.path": "data/raw/tokenizer",
        "features.max_length": lengths.MAX_LENGTH,
        "features.doc_stride": lengths.DOC_STRIDE,
    }


def write_transfer(folder: Path, rows: int) -> None:
    """A SQuAD file of questions as those of `write_data`, whose answers nobody reads, in a project's data/raw."""
    lengths.write_squad(folder / "data/raw/transfer.json", lengths.spread(rows), seed=2)


def transfer_data() -> dict[str, Any]:
    """The parameters by which the teacher predicts what `write_transfer` wrote, and no student learns from it yet."""
    return {"data.transfer": "data/raw/transfer.json", "distill.transfer_share": 0.0}


def short_training(batch_size: int, precision: str) -> dict[str, Any]:
    """One update for every model: weights do not matter for speed. Distillation goes on until it is stopped."""
    changes: dict[str, Any] = {}
    for section in _SECTIONS:
        own = {"max_steps": 1, "batch_size": batch_size, "evaluations": 0, "keep": "last", "precision": precision}
        changes |= {f"{section}.{name}": value for name, value in own.items()}
    return changes | {"distill.max_steps": 1_000_000, "predict.precision": precision}


def make(folder: Path, filters: bool = True) -> None:
    """Run the stages before distillation: prepared data, both models, the teacher's predictions, filters."""
    run(folder, "inputs")
    if "source: embedded" in (folder / "params.yaml").read_text(encoding="utf-8"):
        run(folder, "corpus")
    run(folder, "prepare")
    run(folder, "plan")
    for role in ("teacher", "student"):
        run(folder, "finetune", role)
    run(folder, "predict")
    for role in ("teacher", "student") if filters else ():
        run(folder, "train_filters", role)
    for stage in ("train_assistants", "train_generator", "retrieve", "augment", "signals") if filters else ():
        run(folder, stage)  # all but the last write notes: no listed method needs what they make
