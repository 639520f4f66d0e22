"""What every stage shares: its scratch, its locks, its outputs in one step, its run, and plain error lines.

def main(method: str, seed: str) -> None:
    with Stage("distill@ted-1", params={...}, inputs=[...], outputs=[...], method=method) as stage:
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
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from distill.errors import UserError
from distill.runtime import checkpoints, distributed
from distill.runtime.files import publish, tree_hash, write_text
from distill.tracking.run import Run, start_run
from pipeline.stage import tracked
from pipeline.stage.process import disk_full, exclusive, remove_unheld, run_stage, shown_path

__all__ = ["Stage", "run_stage"]

SCRATCH = ".scratch"
RUNS = Path("data/runs")
# What else the bytes of a result hang on: a checkpoint of another version is not gone on from.
LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "numpy")
_UNCOUNTED = (
    "distill.tracking",
    "pipeline.stage.tracked",
    "distill.methods",
)  # the methods that count are added by name


class Stage:
    """A stage at work; use it in a `with` statement around everything that takes time or writes.

    Leaving it without an error checks that the outputs are there, ends the run and removes the scratch. After an
    error or a kill the scratch stays, and the same command finds it again: its name is made of all that the result
    hangs on (see `fingerprint`).

    Of several processes that train together, the first does all this. The others come along silently and end where an
    output is to be built (`alone`, `fresh`, `publish`, `write_json`): from there on the first one is by itself.

    Attributes:
        name: As in dvc.yaml, `distill_filtered@ted-1`.
        root: The repository that lasts: DVC_ROOT, because under `dvc exp run --temp` cwd is a throw-away copy.
        scratch: Folder for checkpoints and unfinished outputs, below root.
        resumed: Whether an interrupted run left something in the scratch.
        run: The tracking run; it ignores every call where `experiment` is None.
    """

    def __init__(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        inputs: Sequence[Path] = (),
        outputs: Sequence[Path] = (),
        params_file: Path | None = None,
        method: str | Iterable[str] = (),
        experiment: str | None = None,
        tags: Mapping[str, Any] | None = None,
        wait_seconds: float = 60.0,
    ) -> None:
        """Describes the stage; nothing is read or written before `with`.

        Args:
            name: Its name in dvc.yaml.
            params: The sections it depends on, and no others.
            inputs: Files and folders it depends on, relative to cwd.
            outputs: Files and folders it may write, relative to cwd; all must exist at the end.
            params_file: Where the parameters were read; printed.
            method: Distillation methods (files in distill/methods) whose code it runs.
            experiment: MLflow experiment; None tracks nothing.
            tags: Tags of the run.
            wait_seconds: How long to wait for another process that runs this stage here.
        """
        self.name = name
        self.root = Path(os.environ.get("DVC_ROOT") or Path(__file__).parents[2]).resolve()
        self.run = Run(name, close_timeout=0.0)
        self.resumed = False
        self._params = dict(params)
        self._inputs = [Path(path) for path in inputs]
        self._outputs = [Path(path) for path in outputs]
        self._params_file = params_file
        self._methods = [method] if isinstance(method, str) else sorted(method)
        self._experiment, self._tags = experiment, tags
        self._wait_seconds = wait_seconds
        self._figures: dict[str, Any] = {}
        self._record: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        """Raises UserError where an input is missing or the stage is being run by another process."""
        self._began = time.monotonic()
        if not distributed.is_first():
            self._stack = contextlib.ExitStack()
            self.scratch, self.resumed = distributed.from_first(lambda: None)
            return self
        print(f"\n{self.name}", flush=True)
        for path in self._inputs:
            if not path.exists():
                raise UserError(
                    f"{path}: missing, {self.name} needs it; `dvc repro {self.name}` makes it first "
                    "(`dvc checkout` restores it if it was made before)"
                )
        if self._params_file is not None:
            self.read(self._params_file, ", ".join(self._params))
        safe, folder = _safe(self.name), self.root / SCRATCH
        here = hashlib.blake2b(os.getcwd().encode(), digest_size=8).hexdigest()
        mark = fingerprint(self.name, self._params, self._inputs, self._methods)
        self.scratch = folder / f"{safe}-{mark}"
        with contextlib.ExitStack() as stack:
            stack.callback(_remove_empty, folder)
            stack.enter_context(exclusive(folder / f"{safe}.{here}.lock", self.name, self._wait_seconds))
            # Somebody who runs the same in another copy of the repository is waited for as long as it takes.
            stack.enter_context(exclusive(_lock(self.scratch), self.name, wait_seconds=None))
            self.resumed = self.scratch.is_dir() and any(self.scratch.iterdir())
            self.scratch.mkdir(parents=True, exist_ok=True)
            if self.resumed:
                self.say("found", "what an interrupted run left; goes on from there")
            stack.push(self._clean)
            if self._experiment is not None:
                run = start_run(
                    root=self.root,
                    experiment=self._experiment,
                    name=self.name,
                    params=self._params,
                    tags=self._tags,
                    state=self.scratch / "tracking.json",
                    details=functools.partial(tracked.details, self.name, dict(self._tags or {}), self._inputs),
                    curve_name=tracked.curve_name,
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
                    self._check_outputs()
                    self._keep_artifacts()
            except Exception as own:
                failed = own
        if line := disk_full(failed, self.scratch.parent):
            raise UserError(line) from failed
        if failed is None:
            self._print_end()
        elif failed is not error:
            raise failed

    def read(self, path: Path | str, what: str = "") -> None:
        """Prints what the stage read, and what was in it."""
        self.say("read", f"{shown_path(path):<42} {what or _size(Path(path))}")

    def say(self, verb: str, text: str) -> None:
        """Prints one line of the stage's report: `  <verb>  <text>`."""
        if distributed.is_first():
            print(f"  {verb:<7} {text}".rstrip(), flush=True)

    def alone(self) -> None:
        """Of several processes, lets the first one go on by itself; the others end here."""
        _go_on_alone()

    def fresh(self, name: str) -> Path:
        """Makes an empty folder in the scratch, for an output that is built anew after an interruption."""
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
        self.say("wrote", f"{shown_path(target):<42} {_size(target)}")

    def write_json(self, path: Path, content: Any) -> None:
        """Writes an output as JSON, in one step: the same content gives the same bytes (order is kept).

        Raises:
            ValueError: A number is NaN or infinite, which JSON does not have.
        """
        self._declared(path)
        write_text(path, to_json(content))
        self.say("wrote", f"{shown_path(path):<42} {_size(path)}")

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Keeps main figures for the end of the report: numbers, or rows of them ({"ted": {"em": 78.1}})."""
        self._figures |= figures

    def record(self, facts: Mapping[str, Any]) -> None:
        """Keeps facts that differ from run to run for `record_file(name)`, written once the stage has succeeded.

        Run id, seconds, peak memory, device and versions are added. Nothing else that is non-deterministic may be an
        output.
        """
        self._record = (self._record or {}) | facts

    def _declared(self, path: Path) -> None:
        _go_on_alone()
        if not any(path == output or output in path.parents for output in self._outputs):
            raise ValueError(f"{self.name} writes {path}, which is not among its outputs")

    def _check_outputs(self) -> None:
        missing = [str(path) for path in self._outputs if path != record_file(self.name) and not path.exists()]
        if missing:
            raise RuntimeError(f"{self.name} ended without writing {', '.join(missing)}")

    def _keep_artifacts(self) -> None:
        """Small outputs go to the run, under their paths in the repository."""
        for path in self._outputs:
            if path.is_file() and path != record_file(self.name) and path.stat().st_size <= tracked.ARTIFACT_BYTES:
                self.run.artifact(path, path.parent.as_posix())

    def _clean(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """Runs between the end of tracking and the release of the locks."""
        if kind is not None:
            return
        if self._record is not None:
            facts = {"stage": self.name, "run_id": self.run.run_id, "resumed": self.resumed}
            facts |= {"seconds": round(time.monotonic() - self._began, 3), **self._record}
            facts |= {**_peak_memory(), "device": _device(), "versions": _versions()}
            write_text(record_file(self.name), to_json(facts))
        shutil.rmtree(self.scratch)
        remove_leftovers(self.root / SCRATCH, self.name)

    def _print_end(self) -> None:
        for line in table(self._figures):
            print(f"  {line}")
        print(f"  done in {time.monotonic() - self._began:,.1f} s", flush=True)


def fingerprint(name: str, params: Mapping[str, Any], inputs: Sequence[Path], methods: Sequence[str] = ()) -> str:
    """Hashes all that a stage's result hangs on: 16 hex digits.

    That is its name, its params, the bytes of its inputs, the project's modules loaded so far (without tracking, and
    without the methods that are not run) and the versions of the libraries that calculate.

    Args:
        name: The stage's name.
        params: Any JSON content.
        inputs: Files and folders.
        methods: Names of the modules in distill/methods that count.
    """
    total = hashlib.blake2b(digest_size=8)
    versions = {name: version for name, version in _versions().items() if name in LIBRARIES}
    total.update(json.dumps([name, params, versions], sort_keys=True, default=str).encode())
    for path in inputs:
        total.update(f"\0{shown_path(path)}\0{tree_hash(Path(path))}".encode())
    for module, file in sorted((_code(methods) | (_task_code() if "task" in params else {})).items()):
        total.update(f"\0{module}\0{tree_hash(file)}".encode())
    return total.hexdigest()


def _code(methods: Sequence[str]) -> dict[str, Path]:
    """Module name -> source file, of the project's modules that count."""
    files = {}
    for name, module in list(sys.modules.items()):
        if name == "__main__" and (spec := getattr(module, "__spec__", None)):
            name = spec.name  # the script itself, started with `python -m`
        file = getattr(module, "__file__", None)
        if file and name.startswith(("distill.", "pipeline.")) and not name.startswith(_UNCOUNTED):
            files[name] = Path(file)
    # By name, loaded or not: which methods a process happens to load must not count.
    for name in [*methods, "base"] if methods else []:
        spec = importlib.util.find_spec(f"distill.methods.{name}")
        if spec is not None and spec.origin:
            files[spec.name] = Path(spec.origin)
    return files


def _task_code() -> dict[str, Path]:
    """The modules of tasks and metrics: stages load their task by name, after their scratch has got its name."""
    package = Path(checkpoints.__file__).parents[1]
    files = [file for part in ("tasks",) for file in (package / part).glob("*.py") if file.stat().st_size]
    return {f"distill.{file.parent.name}.{file.stem}": file for file in files}


def remove_leftovers(folder: Path, name: str) -> None:
    """Removes what interrupted runs left and nobody holds: this stage's scratch folders, and locks of no scratch."""
    own = re.compile(re.escape(_safe(name)) + r"-[0-9a-f]{16}")
    for scratch in [path for path in folder.glob("*") if own.fullmatch(path.name)]:
        remove_unheld(_lock(scratch), contents=scratch)
    for lock in folder.glob("*.lock"):
        if not (folder / lock.stem).is_dir():
            remove_unheld(lock)


def record_file(name: str) -> Path:
    """Where `Stage.record` writes: data/runs/distill_filtered-ted-1.json for distill_filtered@ted-1."""
    return RUNS / f"{_safe(name)}.json"


def to_json(content: Any) -> str:
    """JSON text as all of the project's files have it: two spaces, UTF-8, the order given, a newline at the end."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def table(figures: Mapping[str, Any]) -> list[str]:
    """Lays out figures as lines: `name  value`, and one row per name where the values are mappings."""
    rows = {name: row for name, row in figures.items() if isinstance(row, Mapping)}
    single = {name: value for name, value in figures.items() if name not in rows}
    width = max(map(len, figures), default=0)
    lines = [f"{name:<{width}}  {_number(value):>12}" for name, value in single.items()]
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    if columns:
        widths = [max(12, len(column)) for column in columns]
        cells = [columns, *([_number(row.get(column, "")) for column in columns] for row in rows.values())]
        for label, row in zip(["", *rows], cells, strict=True):
            pairs = zip(row, widths, strict=True)
            lines.append(f"{label:<{width}}  " + " ".join(f"{cell:>{size}}" for cell, size in pairs))
    return lines


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def _size(path: Path) -> str:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = float(sum(file.stat().st_size for file in files))
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    number = f"{size:.0f}" if unit == "bytes" else f"{size:.1f}"
    return f"{number} {unit}" + (f" in {len(files)} files" if path.is_dir() else "")


def _go_on_alone() -> None:
    first = distributed.is_first()
    distributed.leave()
    if not first:
        sys.exit(0)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]", "-", name)


def _lock(scratch: Path) -> Path:
    return scratch.with_name(f"{scratch.name}.lock")


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another stage uses it, or has just removed it
        folder.rmdir()


def _peak_memory() -> dict[str, float]:
    """The most that this process has held at once, in 10^6 bytes: in memory, and on the GPU where it used one."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = {"peak_memory_mb": round(largest * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)}  # Linux: in KiB
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peak["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return peak


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu {platform.machine()}, {os.cpu_count()} cores"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    return versions
