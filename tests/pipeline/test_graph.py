"""dvc.yaml says the truth: about imports, parameters, inputs and outputs of every stage."""

import ast
import importlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill import config, registry

ROOT = Path(__file__).resolve().parents[2]
# Tracking changes no result. The package file of `pipeline` only sets the import path.
NO_DEPENDENCY = {"src/distill/tracking.py", "src/distill/tracking_client.py", "pipeline/__init__.py"}
# The typed loader reads the `Config` of every method, which changes no other method's result: only the stage that
# builds a method depends on its module.
BUILDS_METHOD = "distill"


def raw_stages() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def script_of(cmd: str) -> str:
    """`python -m pipeline.distill ted 1` -> `distill`."""
    python, flag, module = cmd.split()[:3]
    assert (python, flag) == ("python", "-m") and module.startswith("pipeline."), cmd
    return module.removeprefix("pipeline.")


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of the modules (and of what is taken from them) that the code imports when it runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import: {ast.unparse(node)}"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imported(node)


def source_of(module: str) -> Path | None:
    path = ROOT / ("src" if module.startswith("distill") else "") / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def closure(*roots: str) -> set[str]:
    """All files of the project that importing the given ones imports, themselves included; empty ones do not count."""
    found, todo = set(), [ROOT / root for root in roots]
    while todo:
        file = todo.pop()
        name = file.relative_to(ROOT).as_posix()
        if name in found or name in NO_DEPENDENCY:
            continue
        found.add(name)
        modules = [
            name for name in imported(ast.parse(file.read_text())) if name.split(".")[0] in ("distill", "pipeline")
        ]
        todo += [source for module in modules if (source := source_of(module)) and source.stat().st_size]
    return found


def loads_task(file: str) -> bool:
    return "load_task" in {
        node.func.attr
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def group_of(stage: dict[str, Any]) -> str:
    """The group of a matrix stage: `${methods.hidden}` -> `hidden`."""
    return stage["matrix"]["method"].removeprefix("${methods.").removesuffix("}")


def expected_code(stage: dict[str, Any]) -> set[str]:
    """The code that a stage depends on, as dvc.yaml has to spell it."""
    script = script_of(stage["cmd"])
    code = closure(f"pipeline/{script}.py")
    if any(loads_task(file) for file in code if file.startswith("pipeline/")):
        task = f"src/distill/tasks/{yaml.safe_load((ROOT / 'params.yaml').read_text())['task']}.py"
        code = (code | closure(task)) - {task} | {"src/distill/tasks/${task}.py"}
    if script == BUILDS_METHOD:
        for name in registry.available():
            module = f"src/distill/methods/{name}.py"
            if registry.load(name).group == group_of(stage):
                code |= closure(module) - {module}
        code.add("src/distill/methods/${item.method}.py")
    return code


def is_code(dependency: str) -> bool:
    return dependency.startswith(("src/", "pipeline/"))


def difference(declared: list[str], expected: set[str]) -> str:
    assert len(set(declared)) == len(declared), f"listed twice: {sorted(x for x in declared if declared.count(x) > 1)}"
    lines = [f"add    - {name}" for name in sorted(expected - set(declared))]
    lines += [f"remove - {name}" for name in sorted(set(declared) - expected)]
    return "\n".join(lines)


@pytest.mark.parametrize("name", raw_stages())
def test_code_dependencies_are_the_imports(name):
    stage = raw_stages()[name]
    declared = [dependency for dependency in stage["deps"] if is_code(dependency)]
    wrong = difference(declared, expected_code(stage))
    assert not wrong, f"dvc.yaml: {name}: deps:\n{wrong}"


def test_the_closure_sees_imports_inside_functions_but_not_those_for_types(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    files = {
        "pipeline/stage.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from distill import types\n"
        "def late():\n    from distill.data import late\n",
        "src/distill/types.py": "x = 1",
        "src/distill/data/__init__.py": "",
        "src/distill/data/late.py": "import distill.deeper, json",
        "src/distill/deeper.py": "from distill import tracking",
        "src/distill/tracking.py": "from distill import types",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert closure("pipeline/stage.py") == {"pipeline/stage.py", "src/distill/data/late.py", "src/distill/deeper.py"}


def test_package_files_are_empty():
    """Or every stage would depend on what they import."""
    assert [file for file in (ROOT / "src").rglob("__init__.py") if file.stat().st_size] == []


def test_only_the_registry_imports_the_project_by_name():
    """The closure sees no import by name, but for methods and tasks."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "pipeline").glob("*.py")]
    found = {file.name for file in files if "import_module" in file.read_text() or "__import__" in file.read_text()}
    assert found <= {"registry.py", "models.py"}  # models.py: a module of transformers


@pytest.fixture(scope="module")
def resolved(tmp_path_factory) -> dict[str, Any]:
    """The stages as DVC resolves them with the project's params.yaml, by name."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("graph")
    Repo.init(str(folder), no_scm=True).close()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    with Repo(str(folder)) as repo:
        repo.check_graph(repo.index.stages)
        return {stage.name: stage for stage in repo.index.stages}


class Described(Exception):
    """Ends a stage's script where it has said what it reads and writes."""


def described(cmd: str, monkeypatch) -> dict[str, Any]:
    """What the script of `cmd` passes to `Stage`."""

    def stop(name: str, **values: Any) -> None:
        raise Described({"name": name, **values})

    module = importlib.import_module(f"pipeline.{script_of(cmd)}")
    monkeypatch.setattr(module, "Stage", stop)
    with pytest.raises(Described) as caught:
        module.main(*cmd.split()[3:])
    return caught.value.args[0]


def test_stages_do_what_they_declare(resolved, monkeypatch):
    """Name, parameters, inputs and outputs: the script's and dvc.yaml's are the same."""
    monkeypatch.chdir(ROOT)
    problems = []
    for name, stage in resolved.items():
        script = described(stage.cmd, monkeypatch)
        params = {key for dep in stage.deps for key in getattr(dep, "params", [])}
        inputs = {dep.def_path for dep in stage.deps if not getattr(dep, "params", None) and not is_code(dep.def_path)}
        own = {
            "name": script["name"],
            # The seed of a distilled student is a word of the command, which DVC compares by itself.
            "params": set(script["params"]) - {"seed"},
            "inputs": {path.as_posix() for path in script.get("inputs", [])},
            "outputs": {path.as_posix() for path in script["outputs"]},
        }
        if name == "prepare":  # reads two files, either in the corpus or the user's own; depends on both
            inputs -= {"data/raw/atlas"}
        declared = {"name": name, "params": params, "inputs": inputs, "outputs": {out.def_path for out in stage.outs}}
        problems += [
            f"{name}: {key}: dvc.yaml {declared[key]}, script {own[key]}" for key in own if own[key] != declared[key]
        ]
    assert not problems, "\n".join(problems)


def test_all_dependencies_on_code_exist(resolved):
    names = {dep.def_path for stage in resolved.values() for dep in stage.deps if is_code(dep.def_path)}
    assert sorted(name for name in names if not (ROOT / name).is_file()) == []


def test_every_group_has_its_stages_and_methods_are_in_their_group(resolved):
    params = config.load(ROOT / "params.yaml")
    stages = raw_stages()
    for script in ("distill", "evaluate"):
        groups = {
            group_of(stage) for stage in stages.values() if "matrix" in stage and script_of(stage["cmd"]) == script
        }
        assert groups == {registry.load(name).group for name in registry.available()}
    for group, members in params.methods.items():
        for name in members:
            assert registry.load(name).group == group
            for seed in params.seeds:
                assert {f"{stage}_{group}@{name}-{seed}" for stage in ("distill", "evaluate")} <= set(resolved)


@pytest.mark.parametrize("empty", ["logits", "hidden", "filtered"])
def test_a_group_may_be_empty(resolved, tmp_path, empty):
    from dvc.repo import Repo

    Repo.init(str(tmp_path), no_scm=True).close()
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    gone = {f"{stage}_{empty}@{name}-1" for name in params["methods"][empty] for stage in ("distill", "evaluate")}
    params["methods"][empty], params["seeds"] = [], [1]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with Repo(str(tmp_path)) as repo:
        assert {stage.name for stage in repo.index.stages} == set(resolved) - gone


def test_git_ignores_what_dvc_keeps_and_keeps_what_dvc_does_not(resolved, tmp_path):
    """data/ belongs to DVC, metrics/ to Git: an output in neither is lost, one in both makes DVC refuse to work."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name in (".gitignore", "data/.gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    outs = {out.def_path: out.use_cache for stage in resolved.values() for out in stage.outs}
    check = subprocess.run(
        ["git", "-C", tmp_path, "check-ignore", "--stdin"], input="\n".join(outs), capture_output=True, text=True
    )
    assert set(check.stdout.split()) == {name for name, cached in outs.items() if cached}
    assert all(name.startswith("data/") == cached for name, cached in outs.items())
