"""Write the code that every stage depends on into dvc.yaml, from the import statements: `make deps`.

`python -m pipeline.deps --check` changes nothing and says what is wrong. DVC can neither share nor template lists of
dependencies, so dvc.yaml spells them out; nobody should have to.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from distill.methods import registry
from distill.methods.base import Method
from distill.signals.states import GROUPS
from distill.tasks.registry import task_names

ROOT = Path(__file__).resolve().parents[1]
# Tracking changes no result, nor does who starts a stage. The package file of `pipeline` only sets the import path.
NO_DEPENDENCY = {
    "src/distill/tracking/run.py",
    "src/distill/tracking/batches.py",
    "src/distill/tracking/session.py",
    "src/distill/tracking/records.py",
    "src/distill/tracking/names.py",
    "src/distill/tracking/parent.py",
    "src/distill/tracking/registry.py",
    "src/distill/tracking/store.py",
    "src/distill/tracking/saved_view.py",
    "pipeline/__init__.py",
    "pipeline/stage/launch.py",
    "pipeline/stage/tracked.py",
}
# The typed loader reads the `Config` of every method, which changes no other method's result: only stages that build a
# method depend on its module.
METHOD, TASK = "src/distill/methods/${item.method}.py", "src/distill/tasks/${task}.py"


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of the modules (and of what is taken from them) that the code imports when it runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"relative import: {ast.unparse(node)}")
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imported(node)


@cache
def own_modules(code: str) -> list[str]:
    """The project's modules among those that the code imports; many stages share a file, and reading it takes time."""
    return [name for name in imported(ast.parse(code)) if name.split(".")[0] in ("distill", "pipeline")]


def source_of(module: str, root: Path) -> Path | None:
    """The project's file of a module; None where it has none."""
    path = root / ("src" if module.startswith("distill") else "") / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def closure(*files: str, root: Path = ROOT) -> set[str]:
    """All files of the project that importing the given ones imports, themselves included; empty ones do not count."""
    found, todo = set(), [root / file for file in files]
    while todo:
        file = todo.pop()
        name = file.relative_to(root).as_posix()
        if name in found or name in NO_DEPENDENCY:
            continue
        found.add(name)
        # Templates, styles and scripts lie beside the module that fills them.
        beside = [path for path in file.parent.iterdir() if path.suffix in (".j2", ".css", ".js")]
        found |= {path.relative_to(root).as_posix() for path in beside}
        todo += [
            source
            for name in own_modules(file.read_text())
            if (source := source_of(name, root)) and source.stat().st_size
        ]
    return found


def script_of(cmd: str) -> str:
    """`python -m pipeline.distill ted 1` → `distill`."""
    python, flag, module = cmd.split()[:3]
    if (python, flag) != ("python", "-m") or not module.startswith("pipeline."):
        raise ValueError(f"dvc.yaml: cmd: {cmd}: expected python -m pipeline.<script>")
    return module.removeprefix("pipeline.")


def group_of(stage: dict[str, Any]) -> str:
    """The group of a matrix stage: `${methods.hidden}` → `hidden`."""
    return stage["matrix"]["method"].removeprefix("${methods.").removesuffix("}")


def calls(file: str, name: str) -> bool:
    """Whether the file calls a function of this name of some module."""
    tree = ast.parse((ROOT / file).read_text())
    return name in {
        n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
    }


def checks_pairs(method: type[Method]) -> bool:
    """Whether the method has something to say about the models that it brings together."""
    return method.fits.__func__ is not Method.fits.__func__


def expected_code(stage: dict[str, Any]) -> set[str]:
    """The code that a stage depends on, as dvc.yaml has to spell it."""
    code = closure(f"pipeline/{script_of(stage['cmd'])}.py")
    scripts = [file for file in code if file.startswith("pipeline/")]
    if any(calls(file, "load_task") for file in scripts):
        tasks = {f"src/distill/tasks/{name}.py" for name in task_names()}
        code = (code | closure(*tasks)) - tasks | {TASK}
    if "matrix" not in stage and any(calls(file, "reads") for file in scripts):
        loaded = {name: registry.load(name) for name in registry.available()}
        asked = [name for name, method in loaded.items() if set(method.groups) & set(GROUPS) or checks_pairs(method)]
        code |= closure(*(f"src/distill/methods/{name}.py" for name in asked))
    if "matrix" in stage and any("build_method" in (ROOT / file).read_text() for file in scripts):
        for name in registry.available():
            module = f"src/distill/methods/{name}.py"
            if group_of(stage) in registry.load(name).groups:
                code |= closure(module) - {module}
        code.add(METHOD)
    return code


def is_code(dependency: str) -> bool:
    """Whether an entry of `deps` is a file of the project's code."""
    return dependency.startswith(("src/", "pipeline/"))


def order(code: set[str]) -> list[str]:
    """As dvc.yaml has it: sorted, the method's own file last."""
    return sorted(code, key=lambda name: (name == METHOD, name))


def rewrite(text: str) -> str:
    """dvc.yaml with the code of every list of dependencies brought up to date; everything else stays as it is."""
    stages = yaml.safe_load(text)["stages"]
    lines, stage, at, out = text.splitlines(), None, None, []
    kept: list[str] = []

    def close() -> None:
        if at is not None:
            out.extend(kept + [f"      - {name}" for name in order(expected_code(stages[stage]))])

    for line in lines:
        if found := re.fullmatch(r"  (\w+):.*", line):
            stage = found[1]
        if at is not None:
            if item := re.fullmatch(r"      - (\S+)", line):
                kept += [] if is_code(item[1]) else [line]
                continue
            close()
            at, kept = None, []
        out.append(line)
        if line == "    deps:":
            at = stage
    close()
    return "\n".join(out) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run the command; exit status 1 where `--check` finds dvc.yaml out of date."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.deps", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(argv)
    file = ROOT / "dvc.yaml"
    before = file.read_text()
    after = rewrite(before)
    if options.check or before == after:
        print("dvc.yaml: " + ("up to date" if before == after else "out of date: run `make deps`"))
        return int(before != after)
    file.write_text(after)
    print("dvc.yaml: brought up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
