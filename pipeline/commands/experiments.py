"""DVC's experiments on the last commit: their parameters, their scores, and what else differs in them.

Files are read with `dvc.api.read`: a few hundredths of a second each and no lock, also while the queue runs. Its
siblings change types: `exp_show` turns lists into text, and `metrics_show` drops lists and nulls, such as the seeds of
a score.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dvc.api
import yaml
from dvc.exceptions import DvcException, PathMissingError
from dvc.repo import Repo

from distill.config.values import flatten
from distill.errors import UserError
from distill.experiments import presets, sweeps
from distill.experiments.sweeps import Run
from distill.runtime import json_files
from pipeline.stage import origins

PARAMS = Path("params.yaml")
SUMMARY = Path("metrics/summary.json")
LOCK = Path("dvc.lock")
#: No experiment can have this name: DVC's names have no spaces.
BASELINE = "last commit"


def baseline() -> Run:
    """The last commit: parameters, scores, and whether the scores are those of the parameters.

    Raises:
        UserError: there is no repository, no commit, or no params.yaml in it.
    """
    params = _params("HEAD")
    outdated = [name for name in _outdated(params) if name.partition(".")[0] not in sweeps.WITHOUT_EFFECT]
    problem = f"the committed results were made with another {', '.join(outdated[:3])}" if outdated else ""
    return Run(BASELINE, params, _summary("HEAD"), problem)


def on_baseline() -> Iterator[Run]:
    """The finished experiments on the last commit, the oldest first."""
    with Repo() as repo:
        names = {revision: name for listed in repo.experiments.ls().values() for name, revision in listed}
    for revision in sorted(names, key=lambda revision: (_commit_time(revision), names[revision])):
        changed = [path for path in _changed_files(revision) if not _is_written_by_run(path)]
        problem = f"differs in {', '.join(changed[:3])} too" if changed else ""
        yield Run(names[revision], _params(revision), _summary(revision), problem)


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Parameters by dotted name, as arguments for `dvc exp run`: `-S`, `ted.mse_alpha=100`, …

    Values that params.yaml has already are left out.

    Raises:
        UserError: params.yaml has no such parameter.
    """
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        section = nested
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = value
    pairs = presets.as_overrides(PARAMS.read_text(encoding="utf-8"), nested, "this command")
    return [word for pair in pairs for word in ("-S", pair)]


def check_committed() -> None:
    """Raise a UserError if a tracked file has changes: experiments would include them, and differ in them too."""
    if changed := [line[3:] for line in _git("status", "--porcelain", "--untracked-files=no").splitlines()]:
        raise UserError(
            f"{', '.join(changed[:3])}: changed since the last commit, on which the experiments build: commit the"
            " changes, or set them aside with `git stash`"
        )


def run_dvc(*words: str) -> int:
    """Run the program `dvc` on this terminal; returns its exit code."""
    return _run_dvc(words).returncode


def run_dvc_silently(*words: str) -> tuple[int, str]:
    """Run the program `dvc`; returns its exit code, and what it and its stages have printed."""
    done = _run_dvc(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return done.returncode, done.stdout


def _run_dvc(words: Sequence[str], **options: Any) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(["dvc", *words], check=False, **options)
    except FileNotFoundError:
        raise UserError("dvc: no such program: activate the environment first: source .venv/bin/activate") from None


def _read(revision: str, path: Path) -> str:
    """A file's content in a revision; empty if the revision has no such file."""
    try:
        return dvc.api.read(path.as_posix(), rev=revision)
    except PathMissingError:
        return ""
    except DvcException as error:
        raise UserError(f"{path}: {error}: run from the root of a repository with a commit") from None


def _params(revision: str) -> dict[str, Any]:
    text = _read(revision, PARAMS)
    if not text:
        raise UserError(f"{PARAMS}: not in Git's {revision}: commit it")
    return _numbers(yaml.load(text, yaml.CSafeLoader))


def _summary(revision: str) -> dict[str, Any]:
    return json_files.parse(_read(revision, SUMMARY) or "{}", f"{SUMMARY} of {revision}", "make that run again")


def _numbers(value: Any) -> Any:
    """DVC writes 1e-05, which YAML 1.1 takes for text: a number, as the stages read it."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, str) and value[:1].isdigit():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _outdated(params: Mapping[str, Any]) -> list[str]:
    """Names of parameters whose values differ from those in the committed dvc.lock, with which the stages ran.

    Stages of methods and seeds that are not listed any more do not count.
    """
    stages = yaml.load(_read("HEAD", LOCK) or "stages: {}", yaml.CSafeLoader)["stages"]
    listed = {f"{name}-{seed}" for name in params["methods"] for seed in params["seeds"]} | {""}
    current, outdated = flatten(dict(params)), {}
    for stage, entry in stages.items():
        if stage.partition("@")[2] in listed:
            ran_with = flatten(_numbers(entry.get("params", {}).get(PARAMS.as_posix(), {})))
            outdated |= {name: None for name, value in ran_with.items() if current.get(name, ...) != value}
    return list(outdated)


def _changed_files(revision: str) -> list[str]:
    """Files that differ from the last commit: DVC's interface names metrics and parameters only, no code."""
    return _git("diff", "--name-only", "--relative", "HEAD", revision).splitlines()


def _is_written_by_run(path: str) -> bool:
    """Whether a run writes this file; a difference in any other is a difference in code or data.

    What stage inputs writes of methods and trainings follows from parameters and code; its other files tell of data.
    """
    written = (LOCK.as_posix(), PARAMS.as_posix(), origins.NEEDS.as_posix())
    folders = (f"{folder.as_posix()}/" for folder in (origins.METHODS, origins.CHOSEN_BY))
    return path in written or path.startswith(("metrics/", *folders))


def _commit_time(revision: str) -> int:
    """Unix time in seconds: DVC's list is not sorted by time."""
    return int(_git("show", "--no-patch", "--format=%ct", revision))


def _git(*words: str) -> str:
    """What Git prints.

    Raises:
        UserError: Git fails, for instance because this is no repository.
    """
    done = subprocess.run(["git", *words], text=True, capture_output=True, check=False, encoding="utf-8")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"git {words[0]}: {reason}: run from the root of a repository with a commit")
    return done.stdout
