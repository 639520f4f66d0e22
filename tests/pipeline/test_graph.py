"""dvc.yaml says the truth: about imports, parameters, inputs and outputs of every stage."""

import importlib
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from distill import parameters
from distill.config.params import Group
from distill.methods import registry
from pipeline import deps
from pipeline.stage import artifacts
from pipeline.stage import stage as stage_module

ROOT = Path(__file__).resolve().parents[2]


def raw_stages() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("name", raw_stages())
def test_code_dependencies_are_the_imports(name):
    stage = raw_stages()[name]
    declared = [dependency for dependency in stage["deps"] if deps.is_code(dependency)]
    assert declared == deps.order(deps.expected_code(stage)), f"dvc.yaml: {name}: run `make deps`"


def test_bringing_dvc_yaml_up_to_date_changes_nothing_but_code():
    text = (ROOT / "dvc.yaml").read_text()
    stale = text.replace("      - src/distill/training/trainer.py\n", "      - src/distill/gone.py\n")
    assert stale != text and deps.rewrite(stale) == text == deps.rewrite(text)


def test_the_closure_sees_imports_inside_functions_but_not_those_for_types(tmp_path):
    files = {
        "pipeline/stage/stage.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from distill import types\n"
        "def late():\n    from distill.data import late\n",
        "src/distill/types.py": "x = 1",
        "src/distill/data/__init__.py": "",
        "src/distill/data/late.py": "import distill.deeper, json",
        "src/distill/deeper.py": "from distill.tracking import run",
        "src/distill/tracking/run.py": "from distill import types",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert deps.closure("pipeline/stage/stage.py", root=tmp_path) == {
        "pipeline/stage/stage.py",
        "src/distill/data/late.py",
        "src/distill/deeper.py",
    }


def test_package_files_are_empty():
    """Or every stage would depend on what they import."""
    assert [file for file in (ROOT / "src").rglob("__init__.py") if file.stat().st_size] == []


def test_only_the_registry_imports_the_project_by_name():
    """The closure sees no import by name, but for methods and tasks."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "pipeline").glob("*.py")]
    found = {file.name for file in files if "import_module" in file.read_text() or "__import__" in file.read_text()}
    assert found <= {"registry.py", "loading.py"}  # loading.py: a module of transformers


def usual_groups() -> dict[str, list[str]]:
    """Every method, in its usual group."""
    names = registry.available()
    return {group: [name for name in names if registry.load(name).groups[0] == group] for group in get_args(Group)}


@pytest.fixture(scope="module")
def resolved(tmp_path_factory) -> dict[str, Any]:
    """The stages as DVC resolves them where every method is listed, by name."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("graph")
    Repo.init(str(folder), no_scm=True).close()
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"methods": usual_groups()}
    params["export"]["methods"] = ["kd"]
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with Repo(str(folder)) as repo:
        repo.check_graph(repo.index.stages)
        return {stage.name: stage for stage in repo.index.stages}


class Described(Exception):
    """Ends a stage's script where it has said what it reads and writes."""


def described(cmd: str, monkeypatch) -> dict[str, Any]:
    """What the script of `cmd` passes to `Stage`."""

    def stop(name: str, **values: Any) -> None:
        raise Described({"name": name, **values})

    # A script may leave its stage to a module that it imports only where the artifact is needed.
    for file in (ROOT / "pipeline").glob("*.py"):
        module = importlib.import_module(f"pipeline.{file.stem}")
        if hasattr(module, "Stage") and module is not stage_module:
            monkeypatch.setattr(module, "Stage", stop)
    module = importlib.import_module(f"pipeline.{deps.script_of(cmd)}")
    monkeypatch.setattr(artifacts, "needed", lambda artifact: True)
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
        inputs = {
            dep.def_path for dep in stage.deps if not getattr(dep, "params", None) and not deps.is_code(dep.def_path)
        }
        own = {
            "name": script["name"],
            # The seed of a distilled student is a word of the command, which DVC compares by itself.
            "params": set(script["params"]) - {"seed"},
            "inputs": {path.as_posix() for path in script.get("inputs", [])},
            "outputs": {path.as_posix() for path in script["outputs"]},
        }
        if name == "prepare":  # reads files either of the corpus or the user's own, and depends on both
            inputs -= {"data/raw/atlas", "data/none"}
        declared = {"name": name, "params": params, "inputs": inputs, "outputs": {out.def_path for out in stage.outs}}
        problems += [
            f"{name}: {key}: dvc.yaml {declared[key]}, script {own[key]}" for key in own if own[key] != declared[key]
        ]
    assert not problems, "\n".join(problems)


def test_all_dependencies_on_code_exist(resolved):
    names = {dep.def_path for stage in resolved.values() for dep in stage.deps if deps.is_code(dep.def_path)}
    assert sorted(name for name in names if not (ROOT / name).is_file()) == []


def test_every_group_has_its_stages_and_methods_are_in_their_group(resolved):
    stages = raw_stages()
    for script in ("distill", "evaluate"):
        groups = {
            deps.group_of(stage)
            for stage in stages.values()
            if "matrix" in stage and deps.script_of(stage["cmd"]) == script
        }
        assert (
            groups == set(get_args(Group)) == {g for name in registry.available() for g in registry.load(name).groups}
        )
    for group, members in usual_groups().items():
        for name in members:
            assert {f"{stage}_{group}@{name}-1" for stage in ("distill", "evaluate")} <= set(resolved)
    for group, members in parameters.load(ROOT / "params.yaml").methods.items():
        assert all(group in registry.load(name).groups for name in members)


@pytest.mark.parametrize("empty", get_args(Group))
def test_a_group_may_be_empty(resolved, tmp_path, empty):
    from dvc.repo import Repo

    Repo.init(str(tmp_path), no_scm=True).close()
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"methods": usual_groups(), "seeds": [1]}
    of_group = ("distill", "evaluate", *(["train"] if empty == "generations" else []))
    gone = {f"{stage}_{empty}@{name}-1" for name in params["methods"][empty] for stage in of_group}
    params["methods"][empty] = []
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with Repo(str(tmp_path)) as repo:
        stages = {stage.name for stage in repo.index.stages}
    # Nothing is exported by default.
    assert stages == {name for name in resolved if not name.startswith("export@")} - gone


def test_git_ignores_what_dvc_keeps_and_keeps_what_dvc_does_not(resolved, tmp_path):
    """An output in neither is lost, one in both makes DVC refuse to work. metrics/ is Git's, but for the report."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name in (".gitignore", "data/.gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    outs = {out.def_path: out.use_cache for stage in resolved.values() for out in stage.outs}
    check = subprocess.run(
        ["git", "-C", tmp_path, "check-ignore", "--stdin"], input="\n".join(outs), capture_output=True, text=True
    )
    assert set(check.stdout.split()) == {name for name, cached in outs.items() if cached}
    assert all(name.startswith(("data/", "metrics/report.")) == cached for name, cached in outs.items())
