"""A task's runs: a clone of this repository where the phases run one after the other, each with its own parameters.

Each phase begins from the params.yaml of the clone's first commit and is committed before it runs. Its arms run one
after the other, and what each has found is kept at once (`pipeline.study.phase_folder`). A phase that was stopped goes
on with the arms that are missing, in another clone too; in the same one DVC skips what is there already.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill import parameters
from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.experiments import presets, study
from distill.experiments.study import Study
from distill.runtime import json_files
from distill.runtime.files import file_hash, write_text
from distill.tasks.registry import load_task
from pipeline.process import locks
from pipeline.stage import paths
from pipeline.study import differences, students
from pipeline.study.figures import Figures
from pipeline.study.phase_folder import PARAMS, SUMMARY, PhaseFolder
from pipeline.study.students import Student
from pipeline.summary import contents

ROOT = Path(__file__).resolve().parents[2]
Arms = dict[str, list[Student]]


@dataclass(frozen=True)
class Workspace:
    """A task of a study.

    Attributes:
        plan: the study.
        folder: its folder.
        task: name of the task.
        data: folder that becomes data/raw/study.
        clone: where it runs; made where it is missing.
        results: folder with a folder for each phase; its name is the task's.
        source: repository that is cloned.
    """

    plan: Study
    folder: Path
    task: str
    data: Path
    clone: Path
    results: Path
    source: Path = ROOT

    def run(self, phase: str, say: Any = print) -> None:
        """Run a phase and keep its figures; nothing where they are there.

        Raises:
            UserError: the clone cannot be made, or another command runs in it; the parameters are refused; or DVC
                fails: the log has more.
        """
        kept = PhaseFolder(self.results / phase)
        if kept.done:
            return say(f"{self.task} {phase}: done before")
        # A phase changes the clone's parameters, which each stage of another one would read.
        with locks.exclusive(self.clone.with_name(f"{self.clone.name}.lock"), f"a phase of {self.task}", 0):
            self._run(phase, kept, say)

    def _run(self, phase: str, kept: PhaseFolder, say: Any) -> None:
        picks = confirmed = updates = None
        if phase != study.TUNE:
            picks = study.picked(self.plan, self.task, self._summary(study.TUNE), self.metric)
        if phase == study.CONFIRM:
            confirmed = study.best(self.plan, self._summary(study.SCREEN), self.metric)
            updates = Figures(self.plan, self.results.parent).as_long(self.task, confirmed[0])
        commit = self._prepare(phase, study.phase_values(self.plan, self.task, phase, picks, confirmed, updates))
        kept.begin(self.clone / PARAMS, digests(self.data, self._files()))
        params = parameters.load(self.clone / PARAMS)
        arms, log = students.of(params, phase), self.clone.parent / f"{self.task}-{phase}.log"
        say(f"{self.task} {phase}: runs in {self.clone}, log {log}")
        metric = self.metric if phase in study.COMPARING else None
        for arm, members in arms.items():
            if kept.holds(arm):
                say(f"{self.task} {phase}: {arm}: done before")
                continue
            for part in students.rounds(members):
                self._dvc([member.target for member in part], log)
            kept.keep(arm, members, self.clone, metric, commit)
            say(f"{self.task} {phase}: {arm}: kept")
        if phase == study.TIME:
            rows = compared = None
        else:
            rows = kept.summarized(itertools.chain(*arms.values()), self.metric)
            compared = None if metric is None else self._differences(kept, params, arms, log)
        analysis = _git(ROOT, "rev-parse", "HEAD").strip()
        kept.finish(rows, compared, {"analysis": analysis, "picks": picks, "confirmed": confirmed, "updates": updates})
        say(f"{self.task} {phase}: {kept.path}")

    def _differences(self, kept: PhaseFolder, params: Params, arms: Arms, log: Path) -> dict[str, Any]:
        """The differences of all rows to the baseline, to `also`, and to the longer baseline where there is one."""
        self._dvc(["prepare"], log)  # the arms may all have run on another machine
        data = Prepared(self.clone / paths.PREPARED, self.clone / paths.REPORTED)
        task = load_task(params.task, params.evaluate.metric, data.meta.get("labels", ()))
        tables = kept.tables(arms)
        first = next(iter(tables[self.plan.baseline].values()))
        if list(first.index) != [str(key) for key in data.examples("validation")["id"]]:
            raise UserError(f"{kept.path}: its examples are not those of {self.data}: give the data of its runs")
        baselines = (self.plan.baseline, study.tuned_name(self.plan, self.plan.also), study.longer_name(self.plan))
        return differences.of(params, task, data, tables, [name for name in baselines if name in params.methods])

    @functools.cached_property
    def preset(self) -> dict[str, Any]:
        """The task's parameters, without those of a phase."""
        return study.preset(self.plan, self.folder, self.task)

    @property
    def metric(self) -> str:
        """The score that decides, which the task's preset names."""
        try:
            return self.preset["evaluate"]["metric"]
        except KeyError:
            raise UserError(f"{self.folder}: {self.task}: its presets name no evaluate.metric: add it") from None

    def _prepare(self, phase: str, values: dict[str, Any]) -> str:
        """Clone, data and parameters of the phase, committed; returns the commit of the code."""
        if not (self.clone / ".git").is_dir():
            _git(self.clone.parent, "clone", "--quiet", str(self.source), str(self.clone.resolve()))
            _git(self.clone, "tag", "study-code")
        for source in self._files():
            copy = self.clone / "data/raw/study" / source.relative_to(self.data)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.is_file() or file_hash(copy) != file_hash(source):
                shutil.copyfile(source, copy)
        text = _git(self.clone, "show", f"study-code:{PARAMS}")
        for source, part in (
            (f"{self.folder}: {self.task}", self.preset),
            (f"phase {phase}", values),
        ):
            text = presets.merge(text, part, source)
        if text != (self.clone / PARAMS).read_text(encoding="utf-8"):
            write_text(self.clone / PARAMS, text)
            _git(self.clone, "add", PARAMS)
            name = ["-c", "user.name=study", "-c", "user.email=study@localhost"]
            _git(self.clone, *name, "commit", "--quiet", "--message", f"{self.task}: {phase}")
        return _git(self.clone, "rev-parse", "study-code").strip()

    def _files(self) -> list[Path]:
        """The data that the task's presets name, the models too."""
        prefix = "data/raw/study/"
        named = {value[len(prefix) :] for value in _texts(self.preset) if value.startswith(prefix)}
        paths = [self.data / name for name in sorted(named)]
        for path in paths:
            if not path.exists():
                raise UserError(
                    f"{path}: no such file or folder, and {self.task} names it: put it there, or change --data"
                )
        inside = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
        return [file for file in inside if file.is_file()]

    def _summary(self, phase: str) -> dict[str, Any]:
        fix = f"run phase {phase} of {self.task} first"
        return json_files.read(self.results / phase / SUMMARY, fix, contents.SUMMARY)

    def _dvc(self, targets: list[str], log: Path) -> None:
        """Run stages in the clone, with the clone's own code."""
        root = self.clone.resolve()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)]),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "DISTILL_TRACKING": "off",
        }
        words = [sys.executable, "-m", "pipeline.commands.quick_dvc", "repro", *targets]
        with log.open("a", encoding="utf-8") as file:
            code = subprocess.run(words, cwd=self.clone, env=environment, stdout=file, stderr=file).returncode
        if code:
            raise UserError(f"{self.task}: dvc repro ended with {code}: {log} says why; the same command goes on")


def digests(root: Path, files: list[Path]) -> dict[str, str]:
    """Relative path → BLAKE2b of the content."""
    return {file.relative_to(root).as_posix(): file_hash(file) for file in files}


def _texts(values: Any) -> list[str]:
    """All texts in nested values."""
    if isinstance(values, dict):
        return [text for value in values.values() for text in _texts(value)]
    if isinstance(values, list):
        return [text for value in values for text in _texts(value)]
    return [values] if isinstance(values, str) else []


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise UserError(f"{folder}: git {words[0]}: {done.stderr.strip()}")
    return done.stdout
