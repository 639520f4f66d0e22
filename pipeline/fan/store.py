"""The DVC remote of a fan-out: what jobs tell their coordinator lies beside the data, in `fan/<run>/<job>.json`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dvc.config import NoRemoteError
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage.cache import _get_cache_hash, _get_stage_hash
from dvc.stage.serialize import to_single_stage_lockfile

from distill.errors import UserError

FIX = "mend it and run the same command again: what is done stays done"


def remote_name(repo: Repo) -> str:
    """Name of the default remote.

    Raises:
        UserError: there is none.
    """
    name = repo.config["core"].get("remote")
    if not name:
        raise UserError(
            "no DVC remote, over which the workers get and hand in data: dvc remote add -d store s3://bucket/path"
            " (or a folder that all machines see)"
        )
    return name


def local_config(repo: Repo) -> str:
    """`.dvc/config.local` for clones elsewhere: that of the workspace, and the remote's address without `..`."""
    name = remote_name(repo)
    local = {section: dict(values) for section, values in repo.config.load_one("local").items() if values}
    local.pop("cache", None)  # each machine has its own
    local.setdefault("core", {})["remote"] = name
    remotes = local.setdefault("remote", {})
    remotes[name] = {**remotes.get(name, {}), "url": repo.config["remote"][name]["url"]}
    sections = {f"'remote \"{remote}\"'": values for remote, values in local.pop("remote").items()}
    lines = []
    for section, values in {**local, **sections}.items():
        lines += [f"[{section}]", *(f"    {key} = {value}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


class Store:
    """The remote, as the coordinator and the workers of one run use it.

    Args:
        repo: a clone with the remote's configuration.
        run: the fan-out's name.
    """

    def __init__(self, repo: Repo, run: str):
        self._repo = repo
        try:
            self._remote = repo.cloud.get_remote(command="fan")
        except (NoRemoteError, DvcException) as error:
            raise UserError(f"DVC remote: {_line(error)}: {FIX}") from error
        self._fs = self._remote.fs
        self._folder = self._fs.join(self._remote.path, "fan", run)
        self.name = f"DVC remote {self._remote.name} ({self._remote.path})"

    def check_writable(self, job: str) -> None:
        """Writes a small file and removes it: a worker that could not hand in its work does not begin it.

        Raises:
            UserError: the remote is full, or read-only.
        """
        path = self._fs.join(self._folder, f"{job}.{os.getpid()}.try")
        with self._explained("written"):
            self._fs.makedirs(self._folder, exist_ok=True)
            self._fs.pipe_file(path, b"x" * 4096)
            self._fs.rm_file(path)

    def write(self, job: str, result: dict[str, Any]) -> None:
        """Hands in what a job has done, when all its data are there."""
        with self._explained("written"):
            self._fs.makedirs(self._folder, exist_ok=True)
            self._fs.pipe_file(self._fs.join(self._folder, f"{job}.json"), json.dumps(result).encode())

    def results(self, known: Collection[str]) -> dict[str, dict[str, Any]]:
        """What jobs have handed in since, by name.

        Args:
            known: names of jobs whose results need not be read again.
        """
        with self._explained("read"):
            if not self._fs.exists(self._folder):
                return {}
            files = {self._fs.name(file).removesuffix(".json"): file for file in self._fs.find(self._folder)}
            new, texts = {}, {name: file for name, file in files.items() if file.endswith(".json")}
            for name in sorted(texts.keys() - set(known)):
                with contextlib.suppress(ValueError):  # half-written: the next look reads it
                    new[name] = json.loads(self._fs.read_text(texts[name]))
            return new

    def forget(self) -> None:
        """Removes what jobs have handed in, when all is collected; their data stay."""
        with contextlib.suppress(OSError):
            self._fs.rm(self._folder, recursive=True)

    def push(self, stages: list[str]) -> int:
        """Uploads the outputs of stages that have run here and their entries in DVC's run cache.

        Those outputs that Git keeps too (metrics, curves): the run cache restores them from the remote.
        `dvc push --run-cache` would upload neither those nor leave out all other stages' entries.

        Returns:
            Bytes of the outputs, whether or not the remote had them already.

        Raises:
            UserError: the remote is full or read-only.
        """
        cache, size = self._repo.stage_cache, 0
        for name in stages:
            (stage,) = self._repo.stage.collect(name)
            entry = to_single_stage_lockfile(stage)
            key, value = _get_stage_hash(stage), _get_cache_hash(entry)
            size += sum(out.get("size", 0) for out in entry.get("outs", []))
            with self._explained("written"):
                for objects in cache.get_used_objs([(key, value)]).values():
                    if failed := self._repo.cloud.push(objects).failed:
                        raise UserError(f"{self.name}: {len(failed)} files of {name} could not be written: {FIX}")
                # A copy of this one file; StageCache.push copies those of all stages.
                self._copy_entry(key, value)
        return size

    def _copy_entry(self, key: str, value: str) -> None:
        local = Path(self._repo.stage_cache.cache_dir, key[:2], key, value)
        odb = self._repo.cloud.get_remote_odb(None, "fan", hash_name="md5-dos2unix")
        target = odb.fs.join(odb.path, "runs", key[:2], key, value)
        odb.fs.makedirs(odb.fs.parent(target), exist_ok=True)
        odb.fs.pipe_file(target, local.read_bytes())

    @contextlib.contextmanager
    def _explained(self, what: str):
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # each kind of remote has exceptions of its own
            raise UserError(f"{self.name}: cannot be {what} ({_line(error)}): {FIX}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
