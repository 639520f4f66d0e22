"""The present teacher's outputs as a file, to keep, to give on, or to teach by later (teacher.source: predictions).

    python -m pipeline.commands.save_predictions outputs.jsonl

The rows that students learn from are those of data/teacher, as stage predict_teacher left them; for the splits that
are scored the teacher runs, where it is a model. docs/teachers.md describes the file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.models import loading
from distill.models.forward import default_device, freeze
from distill.models.predict import layout
from distill.runtime import checkpoints
from distill.signals import ensemble, writer
from distill.signals.cache import WEIGHT, Cache
from distill.signals.predictions import saving
from distill.signals.stored import Stored
from distill.tasks.base import Predicted, Task
from pipeline.process import command
from pipeline.stage import artifacts, outputs, paths
from pipeline.stage.inputs import open_data
from pipeline.stage.scoring import of_split

TEACHER = paths.model("teacher")


def main(words: Sequence[str]) -> None:
    """Write the file.

    Raises:
        UserError: another suffix, or outputs that were not computed yet or belong to other data.
    """
    path = _parser().parse_args(words).file
    saving.check_suffix(path)
    params = paths.params()
    data, task = open_data(params, reported=True)
    counts: dict[str, int] = {}

    def rows() -> Iterator[dict[str, Any]]:
        for split, predicted, known in by_split(data, task, params):
            counts[split] = 0
            for record in saving.records(predicted, split, task, params.evaluate, known):
                counts[split] += 1
                yield record

    draft = path.with_name(f".{path.name}.new{path.suffix}")
    saving.write(draft, rows())
    draft.replace(path)
    print(f"{path}: {', '.join(f'{count:,} {split}' for split, count in counts.items())} rows")
    if left := [split for split in data.meta["splits"] if split not in counts]:
        print(f"  without {', '.join(left)}: the teacher has no outputs of all their rows, and no model to run")


def by_split(data: Prepared, task: Task, params: Params) -> Iterator[tuple[str, Predicted, np.ndarray | None]]:
    """The teacher's outputs by split, and which examples they are of; None: of all."""
    yield from _cached(data, task)
    if artifacts.is_checkpoint(TEACHER):
        checkpoints.load_check(TEACHER)
        own = data.read_by("teacher")
        model = freeze(loading.from_pretrained(str(TEACHER), task)).to(default_device())
        scored = ((split, of_split(model, own, task, params, split)) for split in data.scored_splits)
    elif params.teacher.source == "predictions":
        stored = Stored.read(Path(params.teacher.predictions), data, task)
        covered = [split for split in data.scored_splits if split not in stored.uncovered()]
        scored = ((split, stored.predicted(split)) for split in covered)
    else:
        members, weights = _members(data, task, params), list(params.ensemble.weight_of_each().values())
        scored = ((split, ensemble.of_splits(parts, weights, task)) for split, parts in members.items())
    for split, predicted in scored:
        yield split, predicted, None


def _members(data: Prepared, task: Task, params: Params) -> dict[str, list[Predicted]]:
    """The outputs of an ensemble's members by scored split; none where one of them lacks some."""
    each = [outputs.scored(name, data, task) for name in params.ensemble.members]
    return {split: [one[split] for one in each] for split in data.scored_splits} if all(each) else {}


def _cached(data: Prepared, task: Task) -> Iterator[tuple[str, Predicted, np.ndarray | None]]:
    """The outputs of data/teacher, by the splits that students learn from."""
    weights = paths.WEIGHTS if artifacts.is_checkpoint(TEACHER) else None
    cache, start = Cache.open(paths.PREDICTIONS, writer.identity(data, weights)), 0
    weight = cache.column(WEIGHT)[:, 0] if WEIGHT in cache.arrays else None
    for split in data.taught_splits:
        features = data.features(split)
        offsets = layout(features, task.per_token)
        logits = np.concatenate([_row(cache, start + row, task, offsets, row) for row in range(len(features))])
        known = None
        if weight is not None:
            known = np.zeros(len(data.examples(split)), bool)
            known[features.data.column("example_index").to_numpy()] = weight[start : start + len(features)] > 0
        yield split, Predicted(data.examples(split), features, logits, offsets, data.meta), known
        start += len(features)


def _row(cache: Cache, place: int, task: Task, offsets: np.ndarray, row: int) -> np.ndarray:
    """The logits of one feature, (entries, C)."""
    values = cache.rows("logits", [place], int(offsets[row + 1] - offsets[row]))
    return values[0] if task.per_token else values


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.save_predictions",
        description="Save the present teacher's outputs for all splits.",
    )
    parser.add_argument("file", type=Path, help="the file to write: .jsonl or .parquet")
    return parser


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
