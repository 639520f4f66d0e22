"""The inputs of a training as one object, and its result."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from distill.config.machine import Runtime
from distill.config.schema import Training
from distill.data.loading import groups
from distill.data.loading.mixing import Mix
from distill.runtime import csv_files, json_text
from distill.training.objective import Objective

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class TrainingRun:
    """A training to be run; `part` makes another one of it, for a phase or a link of a sequence.

    Attributes:
        objective: the module to train, in place.
        features: the training features: `input_ids`, `length`, `token_type_ids` where there are any, labels, and
            `losses.terms.TEACHER_WEIGHT` where rows have weights; where `mix` says so, rows without labels follow those
            with labels.
        pad_token_id: id of the padding token.
        labels: names of the label columns, which batches have too.
        settings: hyper-parameters, a section of params.yaml; `batch_size` counts groups where there are some.
        runtime: section `runtime` of params.yaml.
        seed: seed of dropout and of the order of the rows.
        folder: scratch for checkpoints; for this training only.
        label: label of the progress bar.
        main_metric: the score by which the best weights are chosen.
        evaluate: scores the objective's present weights on the selection split; None: they are not scored.
        on_log: called with (values, step) at every log entry.
        mix: how batches are mixed of rows (groups) with and without labels; None: all are alike.
        snapshots: number of times that the weights are kept on the way (`training.snapshots`).
    """

    objective: Objective
    features: datasets.Dataset
    pad_token_id: int
    labels: tuple[str, ...]
    settings: Training
    runtime: Runtime
    seed: int
    folder: Path
    label: str
    main_metric: str = ""
    evaluate: Callable[[], dict[str, float]] | None = None
    on_log: Callable[[dict[str, float], int], None] | None = None
    mix: Mix | None = None
    snapshots: int = 0

    @property
    def grouped(self) -> bool:
        """Whether batches are made of whole groups (`data.loading.groups`)."""
        return groups.GROUP in self.labels

    @property
    def epoch_rows(self) -> int:
        """The rows, or groups, that an epoch is counted in."""
        count = len(groups.bounds(self.features)) - 1 if self.grouped else len(self.features)
        return self.mix.epoch(count) if self.mix else count

    def with_labels_alone(self) -> Self:
        """The same training on the labelled rows only."""
        if self.mix is None:
            return self
        rows = int(groups.bounds(self.features)[self.mix.labelled]) if self.grouped else self.mix.labelled
        return replace(self, features=self.features.select(range(rows)), mix=None)

    def part(self, folder: Path, updates: int, **changes: Any) -> Self:
        """A training that follows earlier ones of a sequence.

        Args:
            folder: scratch folder of this training.
            updates: steps of the earlier trainings; the steps of its log entries are counted from there.
            changes: new values of other fields.
        """
        on_log = self.on_log and _counted_from(updates, self.on_log)
        return replace(self, folder=folder, on_log=on_log, **changes)

    def evaluation_steps(self, total: int) -> set[int]:
        """The steps, of `total`, after which the weights are scored: evenly spaced, the last one at the end."""
        count = self.settings.evaluations if self.evaluate else 0
        return {max(1, round(total * i / count)) for i in range(1, count + 1)}


def _counted_from(updates: int, on_log: Callable[[dict[str, float], int], None]) -> Callable:
    return lambda values, step: on_log(values, step + updates)


@dataclass
class Result:
    """The result of a training.

    Attributes:
        history: one row per log entry: step, loss, terms, learning_rate, grad_norm, and selection scores.
        scores: the selection scores of the weights that were kept, empty without evaluations.
        steps: number of updates.
        seconds: wall time of this process's part (a resumed run counts from the resume).
        examples_per_second: over the same part.
        resumed_from: step that the training resumed from, 0 for a fresh start.
        padding: share of padded positions in the batches of the first epoch, 0 to 1, as padded by a
            single process.
        passes: what `Objective.passes` has counted in the same part.
        planned: number of steps that were asked for; more than `steps` where `patience` has ended the training.
        updates: updates of the trained model, where the trainer also made steps for something else; else all steps.
        scoring_seconds: of `seconds`, those in which the selection split was scored.
    """

    history: list[dict[str, float]]
    scores: dict[str, float]
    steps: int
    seconds: float
    examples_per_second: float
    resumed_from: int
    padding: float
    passes: dict[str, int] = field(default_factory=dict)
    planned: int = 0
    updates: int = 0
    scoring_seconds: float = 0.0

    @property
    def stopped_early(self) -> bool:
        """Whether `patience` has ended the training before its last step."""
        return self.steps < self.planned

    @classmethod
    def nothing(cls) -> Self:
        """The result where nothing is trained."""
        return cls([], {}, 0, 0.0, 0.0, 0, 0.0)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote."""
        return cls(**json_text.parse(path.read_text(encoding="utf-8")))


def join(results: Sequence[Result], column: str | None = None) -> Result:
    """Trainings, one after another, as one: steps go on counting, the scores are those of the last.

    Args:
        column: column of the history that gets the number of each entry's training, from 1; None: no column.
    """
    history, steps, resumed, passes = [], 0, 0, Counter()
    for number, result in enumerate(results, start=1):
        mark = {column: number} if column else {}
        history += [entry | {"step": entry["step"] + steps} | mark for entry in result.history]
        resumed = steps + result.resumed_from if result.resumed_from else resumed
        steps += result.steps
        passes.update(result.passes)
    seconds, scoring = (sum(getattr(result, name) for result in results) for name in ("seconds", "scoring_seconds"))
    examples = sum(result.examples_per_second * result.seconds for result in results)
    speed = examples / seconds if seconds else 0.0
    scores, padding = (results[-1].scores, results[0].padding) if results else ({}, 0.0)
    planned, updates = (sum(getattr(result, name) for result in results) for name in ("planned", "updates"))
    return Result(history, scores, steps, seconds, speed, resumed, padding, dict(passes), planned, updates, scoring)


def write_curves(history: list[dict[str, float]], path: Path) -> None:
    """One row per log entry with a loss, as CSV: step, loss, terms…; the same bytes for the same training."""
    losses = [entry for entry in history if "loss" in entry]
    names = ["step", *sorted({"loss", *(name for entry in losses for name in entry)} - {"step"})]
    path.parent.mkdir(parents=True, exist_ok=True)
    csv_files.write_rows(names, ([_short(entry.get(name, "")) for name in names] for entry in losses), path)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
