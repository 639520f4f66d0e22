"""DVC's experiments on the last commit: their parameters, their scores, and what else differs in them.

Files are read with `dvc.api.read`: a few hundredths of a second each and no lock, also while the queue runs. Its
siblings change types: `exp_show` turns lists into text, and `metrics_show` drops lists and nulls, such as the seeds of
a score.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dvc.api
import yaml
from dvc.api import DVCFileSystem
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
    names = _revisions()
    for revision in sorted(names, key=lambda revision: (_commit_time(revision), names[revision])):
        changed = [path for path in _changed_files(revision) if not _is_written_by_run(path)]
        problem = f"differs in {', '.join(changed[:3])} too" if changed else ""
        yield Run(names[revision], _params(revision), _summary(revision), problem)


def with_values(base: Run, values: Mapping[str, Any]) -> Run | None:
    """The first finished experiment that differs from the last commit in nothing but these parameters; None: none does.

    Sections that change no score may differ besides.

    Args:
        values: parameters by dotted name.
    """
    for run in on_baseline():
        changed = sweeps.differences(base.params, run.params)
        other = [
            name
            for name in changed
            if name.partition(".")[0] not in sweeps.WITHOUT_EFFECT
            and not any(name == given or name.startswith(f"{given}.") for given in values)
        ]
        same = all(sweeps.value_of(run.params, name) == value for name, value in values.items())
        if run.summary and not run.problem and not other and same:
            return run
    return None


def alone(params: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Parameters by dotted name that let one method run and no other one."""
    settings: dict[str, Any] = {"methods": [method]}
    # The following lists may name only methods that run.
    if copies := params.get("augment", {}).get("methods"):
        settings["augment.methods"] = [method] if method in copies else []
    lists = ("export.methods", "controls.methods", "confirm.methods", "confirm.seeds", "compare.baseline_seeds")
    for section, _, field in (name.partition(".") for name in lists):
        if params.get(section, {}).get(field):
            settings[f"{section}.{field}"] = []
    return settings


def read(name: str, path: Path) -> dict[str, Any]:
    """A JSON file of Git's as an experiment left it."""
    return json_files.parse(_read(_revisions(by_name=True)[name], path), f"{path} of {name}", "make that run again")


@contextlib.contextmanager
def folder_of(name: str, path: Path) -> Iterator[Path]:
    """A folder of DVC's as an experiment left it, copied from DVC's cache for the time of the block."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / path.name
        try:
            DVCFileSystem(rev=_revisions(by_name=True)[name]).get(path.as_posix(), str(target), recursive=True)
        except (DvcException, OSError) as error:
            raise UserError(f"{path} of {name}: {error}: make that experiment again") from None
        yield target


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Parameters by dotted name, as arguments for `dvc exp run`: `-S`, `ted.mse_alpha=100`, …

    Values that params.yaml has already are left out.

    Raises:
        UserError: params.yaml has no such parameter, or DVC cannot write the value.
    """
    text = PARAMS.read_text(encoding="utf-8")
    # DVC 3.67 writes no YAML any more where a list of several lines becomes an empty one.
    if broken := [name for name, value in values.items() if value == [] and _is_block_list(text, name)]:
        raise UserError(
            f"params.yaml: {broken[0]}: these runs need it empty, and DVC breaks the file where it empties a list of"
            " several lines: set it to [] and commit"
        )
    pairs = presets.as_overrides(text, _nested(values), "this command")
    return [word for pair in pairs for word in ("-S", pair)]


def _is_block_list(text: str, name: str) -> bool:
    """Whether a parameter's value is a list with a line for each item."""
    node = yaml.compose(text, yaml.CSafeLoader)
    for part in name.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for key, value in pairs if key.value == part), None)
    return isinstance(node, yaml.SequenceNode) and bool(node.value) and not node.flow_style


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by dotted name as sections."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        section = nested
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = value
    return nested


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


def _revisions(by_name: bool = False) -> dict[str, str]:
    """The names of the experiments on the last commit by Git revision, or the other way round."""
    with Repo() as repo:
        listed = [pair for pairs in repo.experiments.ls().values() for pair in pairs]
    return dict(listed) if by_name else {revision: name for name, revision in listed}


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
