"""The figures of a phase, kept arm by arm, so that an interruption costs no more than the arm that is running.

    params.yaml                  the parameters of all its runs
    data.json                    hashes of the data and of the models that all its runs begin from
    arms/<arm>.json              commit of the code, hashes of teacher and fine-tuned student; last: the arm is kept
    data/runs/*.json             records of the stages
    metrics/runs/*.json          scores of each student, but in phase time
    examples/<arm>.parquet       where arms are compared: what the main score of each student is made of, in columns
                                 `<label>:<column>`
    metrics/summary.json         means over seeds          } once all arms are kept
    differences.json             differences and intervals }
    phase.json                   what was picked, the updates of the longer baseline, the commit of the analysis: the
                                 phase is done

The analysis needs nothing else, neither models nor caches. A phase can go on with the missing arms on another machine,
which makes for itself what they learn from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from distill.analysis import bootstrap, example_table, summary
from distill.errors import UserError
from distill.runtime import json_files
from distill.runtime.files import publish, write_text
from pipeline.process.hashes import dvc_md5
from pipeline.process.records import to_json
from pipeline.stage import paths
from pipeline.study.students import Student
from pipeline.summary import contents
from pipeline.summary.runs import PREDICTIONS, Tables

PARAMS, SUMMARY, RECORDS = "params.yaml", "metrics/summary.json", "data/runs"
DONE, DIFFERENCES, DATA, ARMS, EXAMPLES = "phase.json", "differences.json", "data.json", "arms", "examples"
#: The models that arms may learn from or begin with, beside the data.
_SHARED = ("teacher", "student")
_FIX = "restore it from Git, or move the arm's file in `arms` away and run the study's command, which runs it anew"


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

    def begin(self, params: Path, data: dict[str, str]) -> None:
        """Make the folder for runs of these parameters and data, or go on with it.

        Args:
            data: file → hash.

        Raises:
            UserError: figures are there of other parameters or data.
        """
        for name, text in ((PARAMS, params.read_text(encoding="utf-8")), (DATA, to_json(data))):
            kept = self.path / name
            if kept.is_file() and kept.read_text(encoding="utf-8") != text:
                raise UserError(f"{kept}: not those of this phase: move {self.path} away to run it anew")
            self._write(name, text)

    def holds(self, arm: str) -> bool:
        """Whether an arm is kept."""
        return (self.path / ARMS / f"{arm}.json").is_file()

    def keep(self, arm: str, students: Sequence[Student], clone: Path, metric: str | None, commit: str) -> None:
        """Keep what the runs of an arm have found.

        Args:
            clone: where they have run.
            metric: the score that arms are compared by, whose parts are kept example by example; None: they are not
                compared.
            commit: of the code.

        Raises:
            UserError: a file of a run is missing or damaged.
        """
        for student in students:
            for name in student.files:
                self._copy(name, clone)
        for path in sorted((clone / RECORDS).glob("*.json")):
            # Of what is trained once. The teacher's scores are an arm of their own.
            name = path.relative_to(clone)
            if "-" not in path.stem and path.stem != "evaluate_teacher" and not (self.path / name).exists():
                self._copy(name, clone)
        if metric is not None:
            self._keep_examples(arm, students, clone, metric)
        models = {name: clone / paths.model(name) for name in _SHARED}
        hashes = {name: dvc_md5(path) for name, path in models.items() if path.is_dir()}
        self._write(f"{ARMS}/{arm}.json", to_json({"commit": commit, **hashes}))

    def arms(self) -> dict[str, dict[str, Any]]:
        """The arms that are kept → `commit`, `teacher` and `student`."""
        return {path.stem: json_files.read(path, _FIX) for path in sorted((self.path / ARMS).glob("*.json"))}

    def summarized(self, students: Iterable[Student], metric: str) -> dict[str, dict[str, Any]]:
        """Name → means over seeds of the main score, and of the same on the selection split."""
        shown, runs = (metric, f"selection_{metric}"), {}
        for student in students:
            scores = contents.scores(self.path / student.scores, *shown)
            runs.setdefault(student.name, {})[student.seed] = {key: scores[key] for key in shown}
        return summary.summarize(runs)

    def tables(self, arms: Mapping[str, Iterable[Student]]) -> Tables:
        """Name → seed → the part of its table of examples that is kept.

        Raises:
            UserError: a file is missing or damaged, or has other examples than the first.
        """
        found: Tables = {}
        first = None
        for arm, students in arms.items():
            path = self.path / EXAMPLES / f"{arm}.parquet"
            try:
                kept = pd.read_parquet(path)
            except (OSError, ValueError) as error:
                raise UserError(f"{path}: {str(error).splitlines()[0]}: {_FIX}") from error
            first = kept if first is None else first
            if not kept.index.equals(first.index):
                raise UserError(f"{path}: has other examples than the arms before it: {_FIX}")
            for student in students:
                start = f"{student.label}:"
                table = kept.filter(regex=f"^{re.escape(start)}").rename(columns=lambda c, s=start: c.removeprefix(s))
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

    def _keep_examples(self, arm: str, students: Sequence[Student], clone: Path, metric: str) -> None:
        tables = []
        for student in students:
            path = clone / PREDICTIONS / f"{student.label}.examples.csv"
            table = example_table.read(path, numbers=metric in ("pearson", "spearman"))
            tables.append(table[bootstrap.columns_of(metric, table)].add_prefix(f"{student.label}:"))
        target = self.path / EXAMPLES / f"{arm}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.draft")
        pd.concat(tables, axis=1).to_parquet(draft, compression="zstd")
        publish(draft, target)

    def _copy(self, name: Path, clone: Path) -> None:
        try:
            text = (clone / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{clone / name}: {error}: `dvc checkout --force` there restores it; then run the study's command again"
            ) from error
        self._write(name, text)

    def _write(self, name: str | Path, text: str) -> None:
        write_text(self.path / name, text)
