"""The stages of a pipeline as plain values, and which of them dvc.lock vouches for.

Pure functions: `pipeline.fan.desk` reads the values from DVC.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.process.hashes import listing_md5

#: Entries of a folder's listing as DVC stores it: {"md5": …, "relpath": …}.
Listing = list[dict[str, str]]
#: An entry of dvc.lock.
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, or a file that `dvc add` tracks.

    Attributes:
        name: as DVC prints it, `distill@kd-1`.
        needs: names of the stages whose outputs it reads.
        deps: files and folders that it reads, parameters not among them.
        outs: files and folders that it writes.
        loose: those of `outs` that Git keeps instead of DVC's cache: metrics, curves.
        data: whether it is a file that `dvc add` tracks, which no job makes.
    """

    name: str
    needs: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    data: bool = False

    @property
    def base(self) -> str:
        """Name in dvc.yaml: `distill`."""
        return self.name.partition("@")[0]

    @property
    def item(self) -> str:
        """Item of the matrix: `kd-1`; empty where the stage has none."""
        return self.name.partition("@")[2]


#: Runs on every machine, before all others, and at no cost.
EVERYWHERE = "inputs"


class Contents:
    """md5 of files and folders, from what dvc.lock and DVC's listings of folders say of the outputs.

    Not of those of stage inputs, which are in every clone.

    Args:
        stages: all of them.
        entries: dvc.lock: name of a stage -> its entry.
        listing: md5 of a folder, with `.dir` -> its listing; None where nobody has it.
        beside: folder -> files in it that are no outputs, such as .gitkeep, by their path in it.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        entries: Mapping[str, Entry],
        listing: Callable[[str], Listing | None],
        beside: Callable[[str], Mapping[str, str]],
    ):
        self._listing, self._beside = listing, beside
        stages = [stage for stage in stages if stage.name != EVERYWHERE]
        recorded = {out["path"]: out["md5"] for stage in stages for out in entries.get(stage.name, {}).get("outs", [])}
        self._outs = {out: recorded.get(out) for stage in stages for out in stage.outs}
        self._folders = {folder for out in self._outs for folder in _parents(out)}

    def made(self, path: str) -> bool:
        """Whether a stage makes the path, something in it, or a folder around it."""
        return path in self._outs or path in self._folders or any(folder in self._outs for folder in _parents(path))

    def md5(self, path: str) -> str | None:
        """The md5 by which DVC knows an output, a part of one, or a folder of several; None: nobody can tell."""
        if path in self._outs:
            return self._outs[path]
        around = next((folder for folder in _parents(path) if folder in self._outs), None)
        if around is not None:
            return self._part(around, path.removeprefix(f"{around}/"))
        listed = [{"md5": md5, "relpath": name} for name, md5 in self._beside(path).items()]
        for out in (out for out in self._outs if out.startswith(f"{path}/")):
            inside, files = out.removeprefix(f"{path}/"), self.listed(out)
            if files is None:
                return None
            listed += [{"md5": file["md5"], "relpath": f"{inside}/{file['relpath']}".rstrip("/")} for file in files]
        return listing_md5(listed)

    def listed(self, out: str) -> Listing | None:
        """The files of an output; of a file itself, under an empty name."""
        md5 = self._outs[out]
        if md5 is None:
            return None
        return self._listing(md5) if md5.endswith(".dir") else [{"md5": md5, "relpath": ""}]

    def _part(self, out: str, name: str) -> str | None:
        files = self.listed(out) or []
        inside = [
            {"md5": file["md5"], "relpath": file["relpath"].removeprefix(f"{name}/")}
            for file in files
            if file["relpath"].startswith(f"{name}/")
        ]
        if inside:
            return listing_md5(inside)
        return next((file["md5"] for file in files if file["relpath"] == name), None)


def up_to_date(
    stages: Sequence[Stage], entries: Mapping[str, Entry], changed: Collection[str], contents: Contents
) -> set[str]:
    """Names of the stages that need not run: dvc.lock has them, with the inputs of today.

    A stage after one that has to run is not among them, even if that one's outputs may come out as they were: ask
    again when it has run. Unlike `dvc repro --allow-missing`, a part of an output counts (`data/signals/kd` of
    `data/signals`), although neither is in the workspace.

    Args:
        stages: each after those that it needs.
        entries: dvc.lock: name of a stage -> its entry.
        changed: stages whose command, parameters or inputs that no stage makes are not those of their entry.
        contents: what the outputs are.
    """
    current: set[str] = set()
    for stage in stages:
        if stage.data or stage.name == EVERYWHERE:
            current.add(stage.name)
            continue
        entry = entries.get(stage.name)
        if entry is None or stage.name in changed or not current.issuperset(stage.needs):
            continue
        recorded = {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
        made = [path for path in stage.deps if contents.made(path)]
        if all(recorded.get(path) is not None and contents.md5(path) == recorded[path] for path in made):
            current.add(stage.name)
    return current


def in_order(stages: Sequence[Stage]) -> list[Stage]:
    """The stages, each after those that it needs."""
    by_name, done = {stage.name: stage for stage in stages}, {}

    def visit(stage: Stage) -> None:
        if stage.name not in done:
            for name in stage.needs:
                visit(by_name[name])
            done[stage.name] = stage

    for stage in stages:
        visit(stage)
    return list(done.values())


def _parents(path: str) -> list[str]:
    """The folders around a path: `a`, `a/b` of `a/b/c`."""
    return [path[:at] for at, character in enumerate(path) if character == "/" and at]
