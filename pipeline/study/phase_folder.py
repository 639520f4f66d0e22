"""The figures of a phase, kept arm by arm, so that an interruption costs no more than the arm that is running.

    params.yaml                  the parameters of all its runs
    arms.json                    arm → commit of the code, and hash of the teacher that it has learned from
    data/runs/*.json             records of the stages; a student whose record is here is done
    metrics/runs/*.json          scores of each student
    examples.parquet             where arms are compared: what the main score of each student is made of, in columns
                                 `<label>:<column>`
    metrics/summary.json         means over seeds          } once all arms are there
    differences.json             differences and intervals }
    phase.json                   what was picked, and hashes of the data: the phase is done

Nothing else is needed for the rest of the phase, on this machine or on another: neither models nor caches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from distill.analysis import bootstrap, example_table, summary
from distill.errors import UserError
from distill.runtime import json_files
from distill.runtime.files import publish, write_text
from pipeline.process.records import read_record, to_json
from pipeline.study.students import Student
from pipeline.summary import contents
from pipeline.summary.runs import PREDICTIONS, Tables

PARAMS, SUMMARY, RECORDS = "params.yaml", "metrics/summary.json", "data/runs"
DONE, DIFFERENCES, ARMS, EXAMPLES = "phase.json", "differences.json", "arms.json", "examples.parquet"


@dataclass(frozen=True)
class PhaseFolder:
    """The figures of a phase.

    Attributes:
        path: the folder, which may not be there yet.
    """

    path: Path

    @property
    def done(self) -> bool:
        """Whether the phase is finished."""
        return (self.path / DONE).is_file()

    def begin(self, params: Path) -> None:
        """Make the folder for runs of these parameters, or go on with it.

        Raises:
            UserError: figures are there of other parameters.
        """
        kept, text = self.path / PARAMS, params.read_text(encoding="utf-8")
        if kept.is_file() and kept.read_text(encoding="utf-8") != text:
            raise UserError(f"{kept}: not the parameters of this phase, {params}: move {self.path} away to run it anew")
        self._write(PARAMS, text)

    def holds(self, students: Iterable[Student]) -> bool:
        """Whether all of these are kept."""
        return all((self.path / RECORDS / student.record.name).is_file() for student in students)

    def keep(self, arm: str, students: Iterable[Student], clone: Path, metric: str | None, commit: str) -> None:
        """Keep what the runs of an arm have found.

        Args:
            clone: where they have run.
            metric: the score that arms are compared by, whose parts are kept example by example; None: they are not
                compared.
            commit: of the code.
        """
        for student in students:
            if student.scored:
                self._copy(student.scores, clone)
            if student.scored and metric is not None:
                self._keep_examples(student.label, clone, metric)
            if student.trained is not None:
                self._copy(student.trained, clone)
        teacher = clone / RECORDS / "evaluate_teacher.json"
        made = read_record(teacher).get("artifact_md5") if teacher.is_file() else None
        self._write(ARMS, to_json(self.arms() | {arm: {"commit": commit, "teacher": made}}))
        for path in sorted((clone / RECORDS).glob("*.json")):
            if "-" not in path.stem:  # of what is trained once
                self._copy(path.relative_to(clone), clone)
        for student in students:
            self._copy(student.record, clone)

    def arms(self) -> dict[str, dict[str, Any]]:
        """Arm → `commit` and `teacher`."""
        path = self.path / ARMS
        return json_files.read(path, "run the study's command again") if path.is_file() else {}

    def summarized(self, students: Iterable[Student], metric: str) -> dict[str, dict[str, Any]]:
        """Name → means over seeds of the main score, and of the same on the selection split."""
        shown, runs = (metric, f"selection_{metric}"), {}
        for student in students:
            scores = contents.scores(self.path / student.scores, *shown)
            runs.setdefault(student.name, {})[student.seed] = {key: scores[key] for key in shown}
        return summary.summarize(runs)

    def tables(self, students: Iterable[Student]) -> Tables:
        """Name → seed → the part of its table of examples that is kept."""
        kept, found = pd.read_parquet(self.path / EXAMPLES), {}
        for student in students:
            start = f"{student.label}:"
            columns = [name for name in kept if name.startswith(start)]
            table = kept[columns].rename(columns=lambda name, start=start: name.removeprefix(start))
            found.setdefault(student.name, {})[student.seed] = table
        return found

    def finish(self, rows: dict[str, Any] | None, differences: dict[str, Any] | None, made: dict[str, Any]) -> None:
        """Write what is found of all arms together, and that the phase is done.

        Args:
            rows: from `summarized`; None where nothing is scored.
            differences: from `pipeline.study.differences`; None where nothing is compared.
            made: content of phase.json.
        """
        if rows is not None:
            self._write(SUMMARY, to_json(rows))
        if differences is not None:
            self._write(DIFFERENCES, to_json(differences))
        self._write(DONE, to_json(made))

    def _keep_examples(self, label: str, clone: Path, metric: str) -> None:
        path = clone / PREDICTIONS / f"{label}.examples.csv"
        table = example_table.read(path, numbers=metric in ("pearson", "spearman"))
        found = table[bootstrap.columns_of(metric, table)].add_prefix(f"{label}:")
        target = self.path / EXAMPLES
        if target.is_file():
            before = pd.read_parquet(target)
            if not before.index.equals(found.index):
                raise UserError(f"{target}: has other examples than {path}: move {self.path} away to run it anew")
            found = before.drop(columns=before.columns.intersection(found.columns)).join(found)
        draft = target.with_name(f"{target.name}.draft")
        found.to_parquet(draft, compression="zstd")
        publish(draft, target)

    def _copy(self, name: Path, clone: Path) -> None:
        self._write(name, (clone / name).read_text(encoding="utf-8"))

    def _write(self, name: str | Path, text: str) -> None:
        write_text(self.path / name, text)
