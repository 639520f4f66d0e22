"""The project's files that a file imports, by its import statements: to compare them with what dvc.yaml declares."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.helpers.micro import ROOT


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of the modules, and of what is taken from them, that the code imports when it runs; not those for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"relative import: {ast.unparse(node)}"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imported(node)


@cache
def files_imported(file: Path, root: Path) -> frozenset[Path]:
    """The project's files that a file imports directly; empty ones do not count."""
    names = {name for name in imported(ast.parse(file.read_text())) if name.split(".")[0] in ("distill", "pipeline")}
    found = set()
    for name in names:
        path = root / ("src" if name.startswith("distill") else "") / name.replace(".", "/")
        if path.with_suffix(".py").is_file():
            found.add(path.with_suffix(".py"))
    return frozenset(found)


def closure(*files: str, root: Path = ROOT) -> set[str]:
    """All files of the project that importing the given ones imports, themselves included, relative to the root."""
    seen, todo = set(), [root / file for file in files]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += files_imported(file, root)
    return {file.relative_to(root).as_posix() for file in seen}
