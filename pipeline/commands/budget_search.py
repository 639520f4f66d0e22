"""The search of `pipeline.commands.budget`: times shapes of students, and trains the most promising that fit."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from distill.analysis import model_cost, student_shapes
from distill.analysis.student_shapes import TEACHER, Budget, Shape
from distill.config.params import Params
from distill.errors import UserError
from distill.export import vocabulary
from distill.models import loading
from distill.report import formatting
from distill.runtime import json_files, json_text
from distill.runtime.files import write_text
from pipeline.commands import experiments, trim_vocabulary
from pipeline.process.records import to_json
from pipeline.stage import artifacts, paths
from pipeline.stage.inputs import open_data

FILE = paths.METRICS / "budget.json"
#: Digits after the point of a shape's figures.
_DIGITS = {"latency_ms": 3, "latency_ms_p10": 3, "latency_ms_p90": 3, "checkpoint_mb": 3}


@dataclass
class Search:
    """A search under way.

    Attributes:
        options: the command's options.
        budget: what a student may cost.
        found: content of metrics/budget.json, as far as it is known.
    """

    options: argparse.Namespace
    budget: Budget
    params: Params
    found: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise a UserError where there is no teacher to make students of, or no such method."""
        if self.options.method not in self.params.sections:
            raise UserError(
                f"--method {self.options.method}: params.yaml has no such section: name a method or variant"
            )
        if not artifacts.is_checkpoint(paths.model("teacher")):
            raise UserError(
                f"{paths.model('teacher')}: no checkpoint: students are made of the teacher's layers: run `dvc repro"
                " finetune_teacher`, with teacher.source: model"
            )
        self.data, self.task = open_data(self.params, reported=True)
        if self.data.has_tokens_of("teacher"):
            raise UserError(
                "params.yaml: teacher.tokenizer: the teacher reads other tokens than the student, which cannot be made"
                " of its layers then: set all of teacher.tokenizer and student.tokenizer to null"
            )
        self.teacher = loading.configuration(str(paths.model("teacher")), None)

    def time(self) -> None:
        """Fill in the grid's figures: those in the file where they were measured for the same, else measured now."""
        kept = self._kept_tokens()
        modes = self.options.vocabulary or ("both" if self.budget.size_mb and kept else "whole")
        trimmed = {"whole": [False], "trimmed": [True], "both": [False, True]}[modes]
        sizes = (self.options.layers, self.options.units, self.options.heads)
        shapes = student_shapes.grid(self.teacher, *sizes, trimmed)
        configs, refused = student_shapes.possible(shapes, self.teacher, self.params.student, self.task)
        for reason in dict.fromkeys(refused.values()):
            names = [shape.name for shape in refused if refused[shape] == reason]
            print(f"left out: {formatting.listed(names)}: {reason}", flush=True)
        key = self._key(kept)
        known = self._known(key)
        figures = {shape: known[shape.name] for shape in configs if shape.name in known}
        teacher = known.get(TEACHER)
        if missing := {shape: config for shape, config in configs.items() if shape not in figures}:
            print(f"timing {len({shape.body for shape in missing})} shapes and the teacher", flush=True)
            features, pad = self.data.features("validation"), self.data.tokenizer().pad_token_id
            measured = student_shapes.measure(
                missing,
                self.teacher,
                self.task,
                features,
                pad,
                self.params.cost,
                kept,
                lambda text: print(f"  {text}", flush=True),
            )
            teacher = _rounded(measured.pop(TEACHER))
            figures |= {shape: _rounded(row) for shape, row in measured.items()}
        self.figures = {shape: figures[shape] for shape in configs}
        rows = [self._row(shape, row) for shape, row in self.figures.items()]
        self.found = {
            "budget": {"latency_ms": self.budget.latency_ms, "size_mb": self.budget.size_mb},
            "method": self.options.method,
            "key": key,
            "machine": model_cost.machine(),
            "teacher": teacher,
            "shapes": rows,
            "fitting": sum(not row["excess"] for row in rows),
            "trained": [],
            "best": None,
        }
        self._write()

    def train(self) -> None:
        """Train the most promising shapes that fit, until `--train` of them fit after it too."""
        experiments.check_committed()
        fitting = {shape: row for shape, row in self.figures.items() if not self.budget.excess(*_costs(row))}
        good = 0
        while fitting and good < self.options.train:
            shape = student_shapes.candidates(fitting)[0]
            row = self._trained(shape)
            self.found["trained"].append(row)
            self.found["best"] = self._best()
            self._write()
            if row["excess"]:
                print(f"{shape.name}: over the budget after its training ({row['excess']}): the next", flush=True)
                fitting = {other: figures for other, figures in fitting.items() if other.body != shape.body}
            else:
                good += 1
                fitting = {other: figures for other, figures in fitting.items() if not shape.covers(other)}

    def _trained(self, shape: Shape) -> dict[str, Any]:
        """The row of a shape's experiment, which runs where there is none yet."""
        base = experiments.baseline()
        wanted = self._values(shape, base.params)
        run = experiments.with_values(base, wanted)
        if run is None:
            taken = {other.name for other in experiments.on_baseline()}
            stem = f"budget-{self.options.method}-{shape.body.name}"
            name = next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, 1000))) if name not in taken)
            print(f"\n{name}", flush=True)
            code = experiments.run_dvc("exp", "run", "--temp", "--name", name, *experiments.overrides(wanted))
            run = experiments.with_values(base, wanted)
            if run is None:
                raise UserError(
                    f"{name}: dvc ended with {code} and left no result: mend what it says above; the same command"
                    " goes on"
                )
        row = run.summary[self.options.method]
        metric = self.task.main_metric
        cost = experiments.read(run.name, paths.METRICS / "cost.json")["models"]
        before = self.figures[shape]
        size = before["checkpoint_mb"] if shape.trimmed else cost["student"]["checkpoint_mb"]
        result = self._sizes(shape) | {
            "experiment": run.name,
            "metric": metric,
            "score": row[metric],
            "selection": row[f"selection_{metric}"],
            "versus_teacher": row.get(f"{metric}_vs_teacher"),
            **{end: row.get(f"{metric}_vs_teacher_{end}") for end in ("low", "high")},
            "confidence": self.params.compare.confidence,
            "seeds": list(row["seeds"]),
            "latency_ms": cost["student"]["latency_ms"],
            "latency_ms_before": before["latency_ms"],
            "checkpoint_mb": size,
            "teacher": {name: cost["teacher"][name] for name in ("latency_ms", "checkpoint_mb")},
        }
        if shape.trimmed:
            result |= self._trim(run.name, row["seeds"], metric)
        return result | {"excess": self.budget.excess(result["latency_ms"], result["checkpoint_mb"])}

    def _trim(self, experiment: str, seeds: Sequence[int], metric: str) -> dict[str, Any]:
        """Trim the students of an experiment; what they score and cost then, means over the seeds."""
        rows = []
        for seed in seeds:
            target = trim_vocabulary.FOLDER / experiment / str(seed)
            with experiments.folder_of(experiment, paths.distilled(self.options.method, seed)) as source:
                rows.append(trim_vocabulary.trim(source, target, self.params))
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in ("latency_ms", "checkpoint_mb", "covered")}
        return mean | {
            "trimmed_score": sum(row["scores"][metric] for row in rows) / len(rows),
            "tokens": rows[0]["tokens"],
        }

    def _values(self, shape: Shape, base: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of the experiment by dotted name.

        Args:
            base: params.yaml of the last commit.
        """
        method = self.options.method
        section = student_shapes.section_of(shape, self.teacher, self.params.student)
        tokens = dict.fromkeys(("path", "revision", "vocab_size", "lowercase"))
        values = {
            "student.model": {"path": None, "revision": None, "config": section.model.config},
            "student.init": "teacher_layers",
            "student.layers": list(shape.layers),
            "student.num_layers": None,
            "student.tokenizer": tokens,
            **experiments.alone(base, method),
            "compare.baseline": method,
            "seeds": list(self.options.seeds or self.params.seeds),
        }
        if self.params.distill.init in ("pretrained", "random"):
            values["distill.init"] = "finetuned"
        return values

    def _best(self) -> dict[str, Any] | None:
        """The row with the highest score on the selection split, of those that fit after their training."""
        rows = [row for row in self.found["trained"] if not row["excess"]]
        return max(rows, key=lambda row: row["selection"], default=None)

    def _sizes(self, shape: Shape) -> dict[str, Any]:
        sizes = {"name": shape.name, "layers": list(shape.layers), "units": shape.units, "heads": shape.heads}
        return sizes | {"vocabulary": "trimmed" if shape.trimmed else "whole"}

    def _row(self, shape: Shape, figures: dict[str, float]) -> dict[str, Any]:
        return self._sizes(shape) | figures | {"excess": self.budget.excess(*_costs(figures))}

    def _kept_tokens(self) -> int | None:
        """Number of tokens of the trimmed vocabulary; None where it cannot be trimmed, or need not be."""
        if self.options.vocabulary == "whole" or not (self.options.vocabulary or self.budget.size_mb):
            return None
        try:
            return len(vocabulary.staying(self.data.tokenizer(), vocabulary.used(self.data)))
        except UserError as error:
            if self.options.vocabulary:
                raise
            print(f"left out: trimmed vocabularies: {error}", flush=True)
            return None

    def _key(self, kept: int | None) -> dict[str, Any]:
        """What timings hang on, as the file holds it."""
        length = float(self.data.ragged("validation").lengths.mean())
        key = {
            "teacher": self.teacher.to_diff_dict(),
            "task": self.params.task,
            "length": round(length, 2),
            "tokens": kept,
            "machine": model_cost.machine(),
            "threads": torch.get_num_threads(),
            "cost": {"seconds": self.params.cost.seconds, "precision": self.params.cost.precision},
        }
        return json_text.parse(to_json(key))

    def _known(self, key: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Figures of an earlier search by the shape's name, where they were measured for the same."""
        if self.options.again or not FILE.is_file():
            return {}
        earlier = json_files.read(FILE, f"remove {FILE}")
        if earlier.get("key") != key:
            return {}
        rows = {
            row["name"]: {name: row[name] for name in row if name in earlier["teacher"]} for row in earlier["shapes"]
        }
        return rows | {TEACHER: earlier["teacher"]}

    def _write(self) -> None:
        FILE.parent.mkdir(parents=True, exist_ok=True)
        write_text(FILE, to_json(self.found))


def _costs(row: dict[str, float]) -> tuple[float, float]:
    return row["latency_ms"], row["checkpoint_mb"]


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS[name]) if name in _DIGITS else value for name, value in row.items()}
