"""Methods and tasks by name: one file each."""

import ast
import inspect
from typing import get_args

import pytest

from distill.config import reading
from distill.config.schema import Section
from distill.errors import UserError
from distill.methods import registry, requirements
from distill.methods.base import Method, Source
from distill.tasks.registry import load_task, task_names

NEEDS = {"logits", "cls", "hidden", "attention", "qkv", "model"}


def test_every_file_in_methods_is_a_method(root):
    names = {path.stem for path in (root / "src/distill/methods").glob("*.py")} - set(registry.NOT_METHODS)
    assert registry.available() == sorted(names)
    assert {"ft", "kd", "lwd", "ted"} <= names


@pytest.mark.parametrize("name", registry.available())
def test_every_method_says_what_it_is(name):
    method = registry.load(name)
    assert issubclass(method, Method) and issubclass(method.Config, Section)
    assert set(method.artifacts) < set(requirements.ARTIFACTS) and isinstance(method.copies, bool)
    assert set(method.layer_fields) <= set(method.Config.model_fields)
    assert not method.copies or method.taught_by == "teacher", (
        "copies are rows that only the teacher can be asked about"
    )
    assert method.needs <= NEEDS and method.taught_by in get_args(Source)
    module = inspect.getmodule(method)
    assert module.__name__ == f"distill.methods.{name}" and module.__doc__.startswith(f"{name}: ")
    assert method.__doc__ and method.terms.__doc__ and method.weights.__doc__


@pytest.mark.parametrize("name", registry.available())
def test_every_method_has_a_section_that_is_valid(root, name):
    """Every value stands in params.yaml; a class that overrides a hook says in its own words what it does."""
    method = registry.load(name)
    section = reading.parse((root / "tests/params.yaml").read_text(), "params.yaml")[name]
    method.Config.model_validate(section)
    assert not [field for field, info in method.Config.model_fields.items() if not info.is_required()]
    assert all(
        getattr(method, hook).__doc__ for hook in ("compute", "phases", "learning_rates") if hook in vars(method)
    )


@pytest.mark.parametrize("name", registry.available())
def test_methods_do_not_know_each_other(root, name):
    tree = ast.parse((root / f"src/distill/methods/{name}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    shared = ("distill.methods.base", "distill.methods.shared")
    assert not [name for name in imported if name.startswith("distill.methods") and not name.startswith(shared)]


def test_the_registry_imports_no_method(root):
    tree = ast.parse((root / "src/distill/methods/registry.py").read_text())
    run = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not [node for node in run if "methods" in ast.unparse(node)]


def test_an_unknown_method_is_an_error_that_lists_the_known():
    with pytest.raises(UserError, match="no method 'kdd': known are .*ft, .*kd, .*lwd"):
        registry.load("kdd")
    for name in ("base", "__init__", "../registry"):
        with pytest.raises(UserError):
            registry.load(name)


def test_tasks():
    assert task_names() == [
        "classification",
        "multi_label",
        "qa",
        "ranking",
        "regression",
        "token_classification",
    ]
    classes = {"classification": ["a", "b"], "multi_label": ["a", "b"], "token_classification": ["O", "B-a"]}
    for name in task_names():
        task = load_task(name, labels=classes.get(name, []))
        assert task.name == name and task.main_metric in task.shown
    assert load_task("classification", "f1", ["a", "b"]).main_metric == "f1"
