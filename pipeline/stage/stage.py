"""The frame of every stage: its scratch, its locks, its outputs in one step, its run.

def main(method: str, seed: str) -> None:
    params = paths.params()
    with Stage(define("distill", method, seed), params, tags={"method": method}) as stage:
        stage.read(Path("data/prepared"), "20,000 questions")
        ...                               # checkpoints go to stage.scratch
        stage.publish(stage.scratch / "model", Path("data/models/distill/ted/1"))
        stage.figures({"f1": 81.2})

if __name__ == "__main__":
    run_stage(main)
"""

import contextlib
import functools
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from distill.config.params import Params
from distill.errors import UserError
from distill.runtime import distributed
from distill.runtime.files import publish, write_text
from distill.tracking.run import Run, start_run
from pipeline.process import tracked as tracking
from pipeline.process.disk import disk_full
from pipeline.process.lines import shown_path, size, table
from pipeline.process.locks import exclusive
from pipeline.process.records import device, file_name, peak_memory, to_json, versions
from pipeline.stage import origins, paths, scratch, snapshot
from pipeline.stage.definition import Definition


class Stage:
    """A stage at work; use it in a `with` statement around everything that takes time or writes.

    Leaving it without an error checks that the outputs are there, ends the run and removes the scratch. After an
    error or a kill the scratch stays, and the same command finds it again: its name is a hash of all that the
    result depends on (`pipeline.stage.scratch`).

    Of several processes that train together, the first does all this. The others print nothing and end where an
    output is to be built (`alone`, `fresh`, `publish`, `write_json`): from there the first one runs alone.

    Attributes:
        name: Name as in dvc.yaml, `distill@ted-1`.
        root: The repository that lasts: DVC_ROOT, because under `dvc exp run --temp` cwd is a throw-away copy.
        scratch: Folder for checkpoints and unfinished outputs, below root.
        resumed: Whether an interrupted run left something in the scratch.
        run: The tracking run; it ignores every call where nothing is tracked.
    """

    def __init__(
        self,
        definition: Definition,
        params: Params | None = None,
        *,
        tags: Mapping[str, Any] | None = None,
        tracked: bool = True,
        wait_seconds: float = 60.0,
    ) -> None:
        """Describes the stage; nothing is read or written before `with`.

        Args:
            definition: Its entry in dvc.yaml.
            params: All parameters; the stage takes those that it declares. None: it depends on none.
            tags: Tags of its MLflow run.
            tracked: Whether it has an MLflow run.
            wait_seconds: How long to wait for another process that runs this stage here.
        """
        self.name = definition.name
        self.root = Path(os.environ.get("DVC_ROOT") or Path(__file__).parents[2]).resolve()
        self.run = Run(self.name, close_timeout=0.0)
        self.resumed = False
        self._definition = definition
        self._params = params
        self._prepared = [folder for folder in (paths.PREPARED, paths.REPORTED) if folder in definition.deps]
        self._values = definition.values(params) if params else {}
        self._experiment = params.tracking.experiment if params and tracked else None
        self._tags, self._wait_seconds = dict(tags or {}), wait_seconds
        self._figures: dict[str, Any] = {}
        self._record: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Raises UserError where an input is missing or the stage is being run by another process."""
        self._began = time.monotonic()
        if not distributed.is_first():
            self._stack = contextlib.ExitStack()
            self.scratch, self.resumed = distributed.from_first(lambda: None)
            return self
        print(f"\n{self.name}", flush=True)
        for path in self._definition.deps:
            if not path.exists():
                raise UserError(
                    f"{path}: missing, {self.name} needs it; `dvc repro {self.name}` makes it first "
                    "(`dvc checkout` restores it if it was made before)"
                )
        safe, folder = file_name(self.name), self.root / scratch.FOLDER
        here = hashlib.blake2b(os.getcwd().encode(), digest_size=8).hexdigest()
        self._snapshot = snapshot.of(self._definition.deps)
        self._params_file = snapshot.of((paths.PARAMS,))
        self._folders = self._read_folders()
        self.scratch = folder / (
            f"{safe}-{scratch.fingerprint(self._definition, self._values, self._snapshot.contents)}"
        )
        with contextlib.ExitStack() as stack:
            stack.callback(scratch.remove_empty, folder)
            stack.enter_context(exclusive(folder / f"{safe}.{here}.lock", self.name, self._wait_seconds))
            # A process that runs the same stage in another copy of the repository is waited for without a limit.
            stack.enter_context(exclusive(scratch.lock_of(self.scratch), self.name, wait_seconds=None))
            self.resumed = self.scratch.is_dir() and any(self.scratch.iterdir())
            self.scratch.mkdir(parents=True, exist_ok=True)
            if self.resumed:
                self.say("found", "what an interrupted run left, and resumes from it")
            stack.push(self._clean)
            if self._experiment is not None:
                run = start_run(
                    root=self.root,
                    experiment=self._experiment,
                    name=self.name,
                    params=self._values | {key: self._tags[key] for key in self._tags.keys() & {"seed"}},
                    tags=self._tags,
                    state=self.scratch / "tracking.json",
                    details=functools.partial(tracking.details, self.name, self._tags, self._params, self._prepared),
                    curve_name=tracking.curve_name,
                    shared=self.name == "summarize",  # its figures are those of the whole pipeline
                )
                self.run = stack.enter_context(run)
            distributed.from_first(lambda: (self.scratch, self.resumed))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        failed = error
        if error is not None:
            self._stack.__exit__(kind, error, trace)
        else:
            try:
                with self._stack:
                    self._check_unchanged()
                    self._check_outputs()
                    self._keep_artifacts()
                self._check_unchanged()  # again: the end of the run may have waited for a slow server
            except Exception as closing:
                failed = closing
        if line := disk_full(failed, self.scratch.parent):
            raise UserError(line) from failed
        if failed is None:
            self._print_end()
        elif failed is not error:
            raise failed

    def read(self, path: Path | str, what: str = "") -> None:
        """Prints what the stage read, and what was in it."""
        self.say("read", f"{shown_path(path):<42} {what or size(Path(path))}")

    def say(self, verb: str, text: str) -> None:
        """Prints one line of the stage's report: `  <verb>  <text>`."""
        if distributed.is_first():
            print(f"  {verb:<7} {text}".rstrip(), flush=True)

    def alone(self) -> None:
        """Of several processes, lets the first one go on alone; the others end here."""
        _go_on_alone()

    def fresh(self, name: str) -> Path:
        """Makes an empty folder in the scratch, for an output that is rebuilt after an interruption."""
        _go_on_alone()
        folder = self.scratch / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    def publish(self, source: Path, target: Path) -> None:
        """Moves a finished file or folder out of the scratch to an output, in one step."""
        self._declared(target)
        publish(source, target)
        self.say("wrote", f"{shown_path(target):<42} {size(target)}")

    def write_json(self, path: Path, content: Any) -> None:
        """Writes an output as JSON, in one step: the same content gives the same bytes (order is kept).

        Raises:
            ValueError: A number is NaN or infinite, which JSON does not have.
        """
        self._declared(path)
        write_text(path, to_json(content))
        self.say("wrote", f"{shown_path(path):<42} {size(path)}")

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Keeps main figures for the end of the report: numbers, or rows of them ({"ted": {"em": 78.1}})."""
        self._figures |= figures

    def record(self, facts: Mapping[str, Any]) -> None:
        """Keeps facts that differ from run to run for `Definition.record`, written once the stage has succeeded.

        Run id, seconds, peak memory, device and versions are added. Nothing else that is non-deterministic may be an
        output.
        """
        if self._definition.record is None:
            raise ValueError(f"{self.name} records facts, but none of its outputs is a file for them")
        self._record |= facts

    def _declared(self, path: Path) -> None:
        _go_on_alone()
        if not any(path == output or output in path.parents for output in self._definition.outs):
            raise ValueError(f"{self.name} writes {path}, which is not among its outputs")

    def _read_folders(self) -> snapshot.Snapshot:
        """The user's own model and data folders that the stage reads.

        Raises:
            UserError: One has changed since stage inputs has looked at it.
        """
        listed = origins.folders(self._definition.deps)
        here = snapshot.Snapshot({path for path, _ in listed.values()})
        for field, (path, content) in listed.items():
            if here.contents.get(path, content) != content:
                raise UserError(f"params.yaml: {field}: {path}: changed since stage inputs ran: run `dvc repro` again")
        return here

    def _check_unchanged(self) -> None:
        """DVC would record the result under what dependencies and parameters are now (`pipeline.stage.snapshot`)."""
        if not distributed.is_first():
            return
        changed = [shown_path(path) for path in (*self._snapshot.changed(), *self._folders.changed())]
        if self._values and self._params_file.changed():
            values = self._definition.values(paths.params())
            changed += [f"{paths.PARAMS}: {name}" for name in self._values if values[name] != self._values[name]]
        if changed:
            raise UserError(
                f"{', '.join(changed)}: changed while {self.name} ran, whose result would be recorded as made with"
                " what is there now: put it back and run the same command, which resumes at the end; or run `dvc repro`"
                " to train with the change"
            )

    def _check_outputs(self) -> None:
        missing = [str(path) for path in self._definition.outs if path != self._definition.record and not path.exists()]
        if missing:
            raise RuntimeError(f"{self.name} ended without writing {', '.join(missing)}")

    def _keep_artifacts(self) -> None:
        """Small outputs go to the run, under their paths in the repository."""
        for path in self._definition.outs:
            if path.is_file() and path != self._definition.record and path.stat().st_size <= tracking.ARTIFACT_BYTES:
                self.run.artifact(path, path.parent.as_posix())

    def _clean(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """Runs between the end of tracking and the release of the locks."""
        if kind is not None:
            return
        if self._definition.record is not None:  # DVC wants every output that dvc.yaml names
            facts = {"stage": self.name, "run_id": self.run.run_id, "resumed": self.resumed}
            facts |= {"seconds": round(time.monotonic() - self._began, 3), **self._record}
            facts |= {**peak_memory(), "device": device(), "versions": versions()}
            write_text(self._definition.record, to_json(facts))
        shutil.rmtree(self.scratch)
        scratch.remove_leftovers(self.root / scratch.FOLDER, self.name)

    def _print_end(self) -> None:
        for line in table(self._figures):
            print(f"  {line}")
        print(f"  done in {time.monotonic() - self._began:,.1f} s", flush=True)


def _go_on_alone() -> None:
    is_first = distributed.is_first()
    distributed.leave()
    if not is_first:
        sys.exit(0)
