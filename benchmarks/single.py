"""Single figures with a goal: padding, memory of cached kd, start-up, preparation and post-processing of SQuAD v2.0.

    python -m benchmarks.single <padding | memory | startup | prepare | postprocess> [--squad-folder DIR] [--quick]

prints one figure as JSON; `make bench` runs them all and puts them into the results file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import lengths, project, rounds, startup
from benchmarks.report import Goal

BATCH = 16
# Tokenizer of the real files, where no folder of it is named: it counts as many tokens as WordPiece does.
_VOCABULARY = 8000


def padding(quick: bool) -> Goal:
    """Share of padded tokens in one epoch over all of SQuAD v2.0's training windows, through the project's sampler."""
    from distill.data.loading.batches import Collator, EpochSampler

    found = lengths.all_lengths()
    found = found[:8000] if quick else found
    collate, padded, total = Collator(0, ()), 0, 0
    order = list(EpochSampler(found, BATCH, group=True, seed=1))
    ids = np.zeros(lengths.MAX_LENGTH, np.int32)
    for first in range(0, len(order), BATCH):
        mask = collate([{"input_ids": ids[: found[row]]} for row in order[first : first + BATCH]])["attention_mask"]
        total += mask.numel()
        padded += mask.numel() - int(mask.sum())
    random = np.random.default_rng(0).permutation(found)[: len(found) // BATCH * BATCH].reshape(-1, BATCH)
    details = {
        "windows": len(found),
        "rows per batch": BATCH,
        "% in a random order, padded per batch": 100 * (1 - random.sum() / (random.max(1).sum() * BATCH)),
        "% at a fixed length of 384": 100 * (1 - found.mean() / lengths.MAX_LENGTH),
    }
    return Goal(
        name="padded tokens in training batches, SQuAD v2.0",
        value=100 * padded / total,
        unit="%",
        goal=5,
        details=details,
    )


def memory(quick: bool) -> Goal:
    """What `kd` from the cache holds in memory at the end of an epoch of four times the data, against once.

    Memory that is no file counts: pages of the memory-mapped data and cache can be taken back at any time. Models are
    very small, so that what data takes would show.
    """
    rows = 200 if quick else 4000
    shape = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    shape |= {"model_type": "bert", "max_position_embeddings": 512, "vocab_size": lengths.VOCABULARY}
    details: dict[str, Any] = {}
    held = []
    with tempfile.TemporaryDirectory() as folder:
        for factor in (1, 4):
            made = Path(folder) / str(factor)
            changes = project.own_data(factor * rows) | project.short_training(64, "fp32")
            changes |= {"methods": ["ft", "kd"]}
            changes |= {f"{role}.model.config": shape for role in ("teacher", "student")}
            project.write(made, changes | {"teacher.model.config": shape | {"hidden_size": 32}})
            project.write_data(made, factor * rows)
            project.make(made, filters=False)
            command = [sys.executable, "-m", "benchmarks.ours", str(made), "distill", "kd", "1"]
            # As many updates for both: one epoch of the larger, four of the smaller.
            system = rounds.System(f"kd, {factor} × the data", command, 4 * rows // 64, 5)
            (answer,) = rounds.measure([system], 1)[system.name]
            held.append(answer["anonymous_bytes"])
            cache = sum(file.stat().st_size for file in (made / "data/teacher").rglob("*") if file.is_file())
            features = (made / "data/prepared/train/features.arrow").stat().st_size
            details |= {f"{factor} ×: rows": factor * rows, f"{factor} ×: MiB held": held[-1] / 2**20}
            details[f"{factor} ×: MiB of data and cache on disk"] = (cache + features) / 2**20
    return Goal(
        name="memory of cached kd, 4 × the data / 1 ×", value=held[1] / held[0], unit="", goal=1.05, details=details
    )


def prepare(folder: Path | None, tokenizer: str | None, quick: bool) -> Goal:
    """Wall time of stage `prepare` on SQuAD v2.0, both files; most memory of all its processes together in GiB."""
    about = {"name": "prepare SQuAD v2.0, train and dev", "unit": "s", "goal": 90}
    if folder is None:
        return Goal(**about, value=None, details={"why": "no --squad-folder"})
    with tempfile.TemporaryDirectory() as scratch:
        made = _squad_project(Path(scratch), folder, tokenizer, quick)
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.prepare"],
            cwd=made,
            env=rounds.environment() | {"DVC_ROOT": str(made), "TOKENIZERS_PARALLELISM": "true"},
            stdout=subprocess.DEVNULL,
        )
        most = 0
        while process.poll() is None:
            most = max(most, _held(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        if process.returncode:
            raise RuntimeError(f"pipeline.prepare ended with {process.returncode}")
        counts = json.loads((made / "data/prepared/meta.json").read_text(encoding="utf-8"))["splits"]
    details = {"peak memory, GiB (goal 2)": most / 2**30, "processors": os.cpu_count()}
    details |= {f"{split} windows": found["features"] for split, found in counts.items()}
    return Goal(**about, value=seconds, details=details)


def postprocess(folder: Path | None, tokenizer: str | None, quick: bool) -> Goal:
    """Seconds from the logits of SQuAD v2.0's dev set to its scores: search, n-best 20, and scores at threshold 0.

    The logits are random numbers. Median of three runs.
    """
    about = {"name": "post-process SQuAD v2.0 dev, n-best 20", "unit": "s", "goal": 5}
    if folder is None:
        return Goal(**about, value=None, details={"why": "no --squad-folder"})
    from distill import parameters
    from distill.data.loading.prepared import Prepared
    from distill.tasks.base import Predicted
    from distill.tasks.registry import load_task

    with tempfile.TemporaryDirectory() as scratch:
        made = _squad_project(Path(scratch), folder, tokenizer, quick, short=True)
        project.run(made, "prepare")
        data, params = Prepared(made / "data/prepared", made / "data/reported"), parameters.load(made / "params.yaml")
        task = load_task(params.task, params.evaluate.metric, ())
        offsets = data.ragged("validation").offsets
        logits = np.random.default_rng(0).standard_normal((int(offsets[-1]), 2), np.float32)
        predicted = Predicted(data.examples("validation"), data.features("validation"), logits, offsets, data.meta)
        task.score(predicted, params.evaluate)  # imports
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            task.score(predicted, params.evaluate)
            seconds.append(time.perf_counter() - began)
    details = {"windows": len(offsets) - 1, "least": min(seconds), "greatest": max(seconds)}
    return Goal(**about, value=statistics.median(seconds), details=details)


def _squad_project(scratch: Path, folder: Path, tokenizer: str | None, quick: bool, short: bool = False) -> Path:
    changes: dict[str, Any] = {
        "data.source": "files",
        "data.train": str((folder / "train-v2.0.json").resolve()),
        "data.validation": str((folder / "dev-v2.0.json").resolve()),
        "features.max_length": lengths.MAX_LENGTH,
        "features.doc_stride": lengths.DOC_STRIDE,
        "features.tokenizer.vocab_size": _VOCABULARY,
        "data.max_train_examples": 2000 if quick or short else None,
        "data.max_selection_examples": 200 if quick or short else None,
        "data.max_validation_examples": 2000 if quick else None,
    }
    if tokenizer:
        changes["features.tokenizer.path"] = str(Path(tokenizer).resolve()) if Path(tokenizer).exists() else tokenizer
    return project.write(scratch / "squad", changes)


def _held(pid: int) -> int:
    """Memory of a process and all below it, shared pages counted once where the system says so (PSS), in bytes."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return total


def run(name: str, folder: Path | None, tokenizer: str | None, quick: bool) -> Goal:
    """The figure of this name."""
    alone = {"padding": padding, "memory": memory, "startup": startup.measure}
    if name in alone:
        return alone[name](quick)
    return {"prepare": prepare, "postprocess": postprocess}[name](folder, tokenizer, quick)


NAMES = ("padding", "memory", "startup", "prepare", "postprocess")


def main() -> None:
    """Measure one figure and print it."""
    parser = argparse.ArgumentParser(description="measure a single figure")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--squad-folder", type=Path, help="has train-v2.0.json and dev-v2.0.json")
    parser.add_argument("--tokenizer", help="folder or hub id; without it one is trained on the training split")
    parser.add_argument("--quick", action="store_true", help="on little data: shows that it runs")
    options = parser.parse_args()
    print(run(options.name, options.squad_folder, options.tokenizer, options.quick).model_dump_json(indent=1))


if __name__ == "__main__":
    main()
