"""The coordinator's clone of the workspace: what each stage is up to, without data and without locking the workspace.

It holds the files of Git as they were when the fan-out began, and a dvc.lock that grows with what jobs hand in. Each
commit of it is what the next jobs start from.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from distill.config import references
from distill.config.params import Params
from distill.errors import UserError
from pipeline.fan import git, jobs, store
from pipeline.fan.graph import EVERYWHERE, Contents, Listing, Stage, in_order, up_to_date
from pipeline.process.hashes import dvc_md5
from pipeline.stage import paths

LOCK = "dvc.lock"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
#: What stages write and Git keeps; it does not decide what a run is.
_WRITTEN = (LOCK, "metrics/")


class Desk:
    """A clone at work.

    Args:
        root: the workspace, a Git and DVC repository.
        folder: where the clone goes; what was there is removed.

    Attributes:
        folder: root of the clone.
        run: name of the fan-out: a hash of code, parameters and what these name. The same workspace has the same one.
        stages: name -> stage, each after those that it needs.
        entries: dvc.lock, with what jobs have handed in.

    Raises:
        UserError: there is no commit, no remote, or a file that a parameter names is not in the clone.
    """

    def __init__(self, root: Path, folder: Path):
        self.root, self.folder = root, folder
        if Path(git.git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            raise UserError(f"{root}: not the root of a Git repository: run from there")
        with Repo(str(root)) as repo:
            self.config = store.local_config(repo)
            self.cache = Path(repo.cache.local_cache_dir).absolute()
        shutil.rmtree(folder, ignore_errors=True)
        git.clone(root, folder, git.snapshot(root, folder.with_suffix(".index")))
        configure(folder, self.config, self.cache)
        self.data = self._data_files()
        self._run_inputs()
        git.commit_all(folder, "inputs")
        self.run = git.content(folder, _WRITTEN)
        self._read()

    def _data_files(self) -> list[str]:
        """Files that `dvc add` tracks and a parameter names, fetched; stage inputs looks at them on every machine."""
        params = _params(self.folder)
        named = [(item.field, item.name) for item in references.references(params)]
        named += list(references.files(params).items())
        tracked = {}
        for field, name in named:
            if os.path.isabs(name) or not (self.root / name).exists() or (self.folder / name).exists():
                continue
            around = next((path for path in (Path(name), *Path(name).parents) if self._is_tracked(path)), None)
            if around is None and not self._is_output(name):
                raise UserError(
                    f"params.yaml: {field}: {name}: neither Git nor DVC tracks it, so workers would lack it:"
                    f" `dvc add {name}`, or give an absolute path that all machines see"
                )
            if around is not None:
                tracked[f"{around.as_posix()}.dvc"] = None
        if tracked:
            run_dvc(self.folder, "checkout", "--quiet", *tracked)
        return list(tracked)

    def _is_tracked(self, path: Path) -> bool:
        return bool(path.name) and (self.folder / f"{path.as_posix()}.dvc").exists()

    def _is_output(self, name: str) -> bool:
        return name.startswith("data/raw/atlas")

    def _run_inputs(self) -> None:
        if code := run_dvc(self.folder, "repro", "--quiet", EVERYWHERE, check=False):
            raise UserError(f"stage {EVERYWHERE} ended with code {code}: see its line above")

    def _read(self) -> None:
        """The stages, dvc.lock, and which entries are not those of today's files and parameters."""
        lock = self.folder / LOCK
        self.entries: dict[str, Any] = {}
        if lock.exists():
            self.entries = yaml.load(lock.read_text(encoding="utf-8"), _LOADER)["stages"]
        with Repo(str(self.folder)) as repo:
            graph = repo.index.graph
            self.stages = {stage.name: stage for stage in in_order([_plain(item, graph) for item in graph])}
            self._changed: set[str] = set()
            self._handed_in: set[str] = set()
            for item in graph:
                if item.is_data_source:
                    outs = [{"path": _path(out), "md5": out.hash_info.value} for out in item.outs]
                    self.entries[_name(item)] = {"outs": outs}
            contents = self._contents(self.entries)
            for item in graph:
                if not item.is_data_source and item.name in self.entries:
                    outside = [dep for dep in item.deps if _is_param(dep) or not contents.made(_path(dep))]
                    if item.cmd != self.entries[item.name].get("cmd") or any(dep.status() for dep in outside):
                        self._changed.add(item.name)

    def missing(self) -> set[str]:
        """Names of the stages that jobs have to run, as far as dvc.lock tells (`graph.up_to_date`)."""
        current = up_to_date(list(self.stages.values()), self.entries, self._changed, self._contents(self.entries))
        return {
            name for name, stage in self.stages.items() if name not in current and stage.base not in jobs.AT_THE_END
        }

    def take(self, result: Mapping[str, Any]) -> None:
        """Adds what a job has handed in: its stages' entries in dvc.lock, and their outputs that Git keeps."""
        self.entries |= result["entries"]
        self._changed -= result["entries"].keys()
        self._handed_in |= result["entries"].keys()
        for name, text in result["files"].items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def bundle(self, file: Path) -> None:
        """Writes a commit for jobs to start from: dvc.lock holds nothing that has to run.

        DVC would take an outdated entry for current: with `--allow-missing`, an input that is not there counts as
        unchanged.
        """
        missing = self.missing()
        current = {
            name: entry
            for name, entry in self.entries.items()
            if name not in missing and name in self.stages and not self.stages[name].data
            if self.stages[name].base not in jobs.AT_THE_END
        }
        text = yaml.dump({"schema": "2.0", "stages": current}, Dumper=_DUMPER, sort_keys=False)
        (self.folder / LOCK).write_text(text, encoding="utf-8")
        git.commit_all(self.folder, "what is done")
        git.bundle(self.folder, file)

    def listing(self, md5: str) -> Listing | None:
        """The listing of a folder that DVC knows by this md5, from the cache or else from the remote."""
        return _listing(str(self.folder), md5)

    def signals(self) -> Listing | None:
        """What the methods learn from: the listing of data/signals; None: not made yet."""
        outs = {out["path"]: out["md5"] for out in self.entries.get("signals", {}).get("outs", [])}
        return self.listing(outs["data/signals"]) if "data/signals" in outs else None

    def handed_in(self, path: str) -> bool:
        """Whether a job has made this output in this run, and pushed it."""
        return any(_within(path, out) for name in self._handed_in for out in self.stages[name].outs)

    def push(self, targets: list[str]) -> None:
        """Uploads outputs that were made in the workspace, which jobs read."""
        held = [target for target in targets if self._held(target)]
        if held and run_dvc(self.folder, "push", "--quiet", *held, check=False):
            raise UserError(f"dvc push: see its line above: {store.FIX}")

    def _held(self, target: str) -> bool:
        """Whether this machine has what DVC knows of an output, or of the one around it."""
        out = next((out for stage in self.stages.values() for out in stage.outs if _within(target, out)), None)
        md5 = self._contents(self.entries).md5(out) if out else None
        return md5 is not None and (self.cache / "files" / "md5" / md5[:2] / md5[2:]).exists()

    def _contents(self, entries: Mapping[str, Any]) -> Contents:
        return Contents(list(self.stages.values()), entries, self.listing, self._beside)

    def _beside(self, folder: str) -> dict[str, str]:
        outs = {out for stage in self.stages.values() for out in stage.outs}
        files = [file for file in (self.folder / folder).rglob("*") if file.is_file()]
        names = {file: file.relative_to(self.folder).as_posix() for file in files}
        return {
            file.relative_to(self.folder / folder).as_posix(): dvc_md5(file)
            for file, name in names.items()
            if not any(_within(name, out) for out in outs)
        }


def configure(folder: Path, config: str, cache: Path) -> None:
    """Lets a clone use the remote, and the DVC cache of its machine."""
    file = folder / ".dvc" / "config.local"
    file.touch(mode=0o600)  # it may hold the remote's secrets
    file.write_text(f"{config}[cache]\n    dir = {cache}\n", encoding="utf-8")


def run_dvc(folder: Path, *words: str, check: bool = True) -> int:
    """Runs the program `dvc` in a folder, on this terminal; returns its exit code.

    Raises:
        UserError: there is no such program, or it fails and `check` is set.
    """
    try:
        code = subprocess.run(["dvc", *words], cwd=folder, check=False).returncode
    except FileNotFoundError:
        raise UserError("dvc: no such program: activate the environment first: source .venv/bin/activate") from None
    if code and check:
        raise UserError(f"dvc {words[0]} ended with code {code}: see its line above")
    return code


@functools.cache  # listings never change, and each is asked for after each job
def _listing(folder: str, md5: str) -> Listing | None:
    with Repo(folder) as repo:
        for odb in (repo.cache.local, repo.cloud.get_remote_odb(None, "fan")):
            path = odb.oid_to_path(md5)
            if odb.fs.exists(path):
                return json.loads(odb.fs.read_text(path))
    return None


def _plain(item: Any, graph: Any) -> Stage:
    return Stage(
        _name(item),
        tuple(map(_name, graph.successors(item))),  # edges lead from a stage to those that it needs
        tuple(_path(dep) for dep in item.deps if not _is_param(dep)),
        tuple(map(_path, item.outs)),
        tuple(_path(out) for out in item.outs if not out.use_cache),
        item.is_data_source,
    )


def _name(item: Any) -> str:
    """A stage's name; of a file that `dvc add` tracks, the path of its .dvc file. DVC's own depends on the cwd."""
    return f"{_path(item.outs[0])}.dvc" if item.is_data_source else item.name


def _path(output: Any) -> str:
    """Path of an output or input from the root; absolute where it lies elsewhere."""
    root = output.repo.root_dir
    inside = output.fs_path.startswith(f"{root}{os.sep}")
    return os.path.relpath(output.fs_path, root) if inside else output.fs_path


def _is_param(dep: Any) -> bool:
    return isinstance(dep, ParamsDependency)


def _within(path: str, out: str) -> bool:
    return path == out or path.startswith(f"{out}/")


def _params(folder: Path) -> Params:
    from distill import parameters

    return parameters.load(folder / paths.PARAMS)
