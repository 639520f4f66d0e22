"""Methods and tasks by name: one file each."""

import ast
import inspect

import pytest

from distill import registry
from distill.errors import UserError
from distill.methods.base import Method
from distill.sections import Section


def test_every_file_in_methods_is_a_method(root):
    names = {path.stem for path in (root / "src/distill/methods").glob("*.py")} - {"__init__", "base"}
    assert registry.available() == sorted(names)
    assert {"ft", "kd", "lwd", "ted"} <= names


@pytest.mark.parametrize("name", registry.available())
def test_every_method_says_what_it_is(name):
    method = registry.load(name)
    assert issubclass(method, Method) and issubclass(method.Config, Section)
    assert method.group in ("logits", "hidden", "filtered")
    assert method.needs <= {"logits", "hidden"}
    assert method.group != "logits" or "hidden" not in method.needs
    module = inspect.getmodule(method)
    assert module.__name__ == f"distill.methods.{name}" and module.__doc__.startswith(f"{name}: ")
    assert method.__doc__ and method.terms.__doc__ and method.weights.__doc__


@pytest.mark.parametrize("name", registry.available())
def test_methods_do_not_know_each_other(root, name):
    tree = ast.parse((root / f"src/distill/methods/{name}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {module for module in imported if module.startswith("distill.methods")} - {"distill.methods.base"}


def test_the_registry_imports_no_method(root):
    tree = ast.parse((root / "src/distill/registry.py").read_text())
    run = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not [node for node in run if "methods" in ast.unparse(node) or "tasks" in ast.unparse(node)]


def test_an_unknown_method_is_an_error_that_lists_the_known():
    with pytest.raises(UserError, match="no method 'kdd': known are .*ft, kd, lwd"):
        registry.load("kdd")
    for name in ("base", "__init__", "../registry"):
        with pytest.raises(UserError):
            registry.load(name)


def test_tasks():
    task = registry.load_task("qa")
    assert task.name == "qa" and task.main_metric in task.shown
