"""DVC's experiments on the last commit, as Git has them: DVC keeps each as a commit under refs/exps/.

Reading them from there takes a moment and disturbs nobody, also while the queue is at work; `dvc exp show --json` looks
at every file of every stage.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from distill.config.values import flatten
from distill.errors import UserError
from distill.experiments import presets, sweeps
from distill.experiments.sweeps import Run

# What a run writes; a difference in any other file is a difference in code or data.
_WRITTEN = ("dvc.lock", "params.yaml")

PARAMS = Path("params.yaml")
#: No experiment can be called so: DVC's names have no spaces.
BASELINE = "last commit"


def baseline() -> Run:
    """The last commit: parameters, scores, and whether the scores are those of the parameters."""
    params, summary = _params("HEAD"), _summary("HEAD")
    outdated = _outdated(params, _show("HEAD", "dvc.lock"))
    old = [name for name in outdated if name.partition(".")[0] not in sweeps.WITHOUT_EFFECT]
    problem = f"the committed results were made with another {', '.join(old[:3])}" if old else ""
    return Run(BASELINE, params, summary, problem)


def all_of_baseline() -> Iterator[Run]:
    """The finished experiments on the last commit, the oldest first."""
    head = git("rev-parse", "HEAD").strip()
    names = "--format=%(refname)", f"refs/exps/{head[:2]}/{head[2:]}/"
    for ref in git("for-each-ref", "--sort=creatordate", *names).split():
        files = git("diff", "--name-only", "--relative", "HEAD", ref).split("\n")
        foreign = [name for name in files if name and name not in _WRITTEN and not name.startswith("metrics/")]
        problem = f"differs in {', '.join(foreign[:3])} too" if foreign else ""
        yield Run(ref.rpartition("/")[2], _params(ref), _summary(ref), problem)


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Parameters by dotted name, as words for `dvc exp run`: `-S`, `ted.mse_alpha=100`, …

    Those that params.yaml has already are left out.

    Raises:
        UserError: params.yaml has no such parameter.
    """
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        at = nested
        for section in sections:
            at = at.setdefault(section, {})
        at[last] = value
    pairs = presets.as_overrides(PARAMS.read_text(encoding="utf-8"), nested, "this command")
    return [word for pair in pairs for word in ("-S", pair)]


def check_committed() -> None:
    """Raise a UserError where a tracked file has changes: experiments would take them along, and differ in them."""
    if changed := [line[3:] for line in git("status", "--porcelain", "--untracked-files=no").splitlines()]:
        raise UserError(
            f"{', '.join(changed[:3])}: changed since the last commit, on which the experiments build: commit the"
            " changes, or set them aside with `git stash`"
        )


def dvc(*words: str) -> int:
    """Run DVC on this terminal; its exit code."""
    try:
        return subprocess.run(["dvc", *words], check=False).returncode
    except FileNotFoundError:
        raise UserError("dvc: no such program: activate the environment first: source .venv/bin/activate") from None


def git(*words: str) -> str:
    """What Git prints.

    Raises:
        UserError: Git fails, for instance because this is no repository.
    """
    done = subprocess.run(["git", *words], text=True, capture_output=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"git {words[0]}: {reason}: run from the root of a repository with a commit")
    return done.stdout


def _show(revision: str, path: str) -> str:
    """A file of a revision; empty where it has none."""
    listed = git("ls-tree", "--name-only", revision, path)
    return git("show", f"{revision}:./{path}") if listed else ""


def _params(revision: str) -> dict[str, Any]:
    text = _show(revision, PARAMS.as_posix())
    if not text:
        raise UserError(f"{PARAMS}: not in Git's {revision}: commit it")
    return _numbers(yaml.load(text, yaml.CSafeLoader))


def _summary(revision: str) -> dict[str, Any]:
    return json.loads(_show(revision, "metrics/summary.json") or "{}")


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


def _outdated(params: Mapping[str, Any], lock: str) -> list[str]:
    """Names of parameters whose values are not those that the stages in dvc.lock ran with.

    Stages of methods and seeds that are not listed any more do not count.
    """
    stages = yaml.load(lock, yaml.CSafeLoader)["stages"] if lock else {}
    listed = {f"{name}-{seed}" for name in params["methods"] for seed in params["seeds"]} | {""}
    now, found = flatten(dict(params)), {}
    for stage, entry in stages.items():
        if stage.partition("@")[2] in listed:
            ran = flatten(_numbers(entry.get("params", {}).get(PARAMS.as_posix(), {})))
            found |= {name: None for name, value in ran.items() if now.get(name, ...) != value}
    return list(found)
