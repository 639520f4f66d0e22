"""dvc.yaml says the truth: about the code, parameters, inputs and outputs of every stage."""

import functools
import re
import shlex
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from distill.config import reading
from distill.methods import registry
from distill.tasks.registry import task_names
from pipeline.stage import definition
from pipeline.stage.definition import COMMAND, define
from tests.helpers import imports, micro

ROOT = micro.ROOT
# What changes no result, and so is no dependency: tracking, and what a process does around its stage. The registry
# loads methods by name, and an error only ends a stage.
WITHOUT_EFFECT = ("pipeline/launch", "pipeline/process", "src/distill/tracking", "src/distill/methods/registry.py")
WITHOUT_EFFECT += ("src/distill/errors.py", "src/distill/provenance.py")
# Loaded by name, so that no import statement shows it.
TASKS = sorted(f"src/distill/tasks/{name}.py" for name in task_names())


@functools.cache
def entries() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def script(entry: dict[str, Any]) -> str:
    return entry["cmd"].removeprefix(COMMAND).split()[0]


def is_code(path: str) -> bool:
    return path.startswith(("src/", "pipeline/"))


def is_below(path: str, folders) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def imported(entry: dict[str, Any], method: str = "ted") -> set[str]:
    """The project's files that a stage's code imports and that its result may hang on."""
    start = [f"pipeline/{script(entry)}.py"]
    start += TASKS if "src/distill/tasks/registry.py" in imports.closure(*start) else []
    if script(entry) == "distill":
        start.append(f"src/distill/methods/{method}.py")
    elif script(entry) in ("inputs", "plan", "summarize"):
        start += [f"src/distill/methods/{name}.py" for name in registry.available()]
    files = {file for file in imports.closure(*start) if not is_below(file, WITHOUT_EFFECT)}
    # The file of a listed name, a dependency, has the hash of its method's code.
    return files - {f"src/distill/methods/{method}.py"} if script(entry) == "distill" else files


@pytest.mark.parametrize("name", entries())
def test_what_a_stage_imports_is_among_its_dependencies(name):
    entry = entries()[name]
    for method in registry.available() if name == "distill" else ("ted",):
        declared = [dep for dep in entry["deps"] if is_code(dep)]
        missing = sorted(file for file in imported(entry, method) if not is_below(file, declared))
        assert not missing, f"dvc.yaml: {name}: add {', '.join(missing)}"


@pytest.mark.parametrize("name", entries())
def test_no_dependency_on_code_is_in_vain(name):
    entry = entries()[name]
    files = imported(entry)
    declared = [dep for dep in entry["deps"] if is_code(dep)]
    assert sorted(dep for dep in declared if not any(is_below(file, [dep]) for file in files)) == []
    assert not [dep for dep in declared if not (ROOT / dep).exists()]


def test_the_file_can_be_read_by_a_person():
    """Written by hand, in the order in which the data goes: nobody reads what a stage makes before it is made."""
    text = (ROOT / "dvc.yaml").read_text()
    assert len(text.splitlines()) <= 450 and max(map(len, text.splitlines())) <= 120
    made: list[str] = []
    for name, entry in entries().items():
        listed = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
        outs = [out if isinstance(out, str) else next(iter(out)) for out in listed]
        for dep in entry["deps"]:
            plain = dep.split("${item", 1)[0].rstrip("/")
            if plain.startswith(("data/", "metrics/")):
                beginning = any(plain.startswith(out) for out in made if out.endswith("-"))
                known = is_below(plain, made) or any(is_below(out, [plain]) for out in made) or beginning
                assert known, f"{name}: {dep}"
        made += [out.split("${item", 1)[0].rstrip("/") for out in outs]
    assert [name for name, entry in entries().items() if not entry.get("desc")] == []


def test_package_files_are_empty():
    """Or every stage would depend on what they import."""
    files = [file for folder in ("src", "pipeline") for file in (ROOT / folder).rglob("__init__.py")]
    assert files and [file for file in files if file.stat().st_size] == []


def test_only_what_loads_by_name_imports_by_name():
    """The closure of imports sees no import by name."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]
    by_name = {file.relative_to(ROOT).as_posix() for file in files if "import_module" in file.read_text()}
    allowed = {f"src/distill/{room}/registry.py" for room in ("methods", "tasks")}
    # A module of transformers; a stage's script; the package of an engine.
    others = {"src/distill/models/loading.py", "pipeline/__main__.py", "pipeline/fan/backends/base.py"}
    assert by_name <= allowed | others


# Every stage of dvc.yaml is there with these, and every method.
EVERYTHING = {
    "methods": registry.available(),
    "seeds": [1, 2],
    "compare.baseline_seeds": [7],
    "confirm.methods": ["ft", "kd"],
    "confirm.seeds": [8],
    "controls.methods": ["kd"],
    "controls.times": ["own", "total"],
    "export.methods": ["kd"],
}


@pytest.fixture(scope="module")
def resolved(tmp_path_factory) -> dict[str, Any]:
    """The stages as DVC resolves them where every method is listed, by name."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("graph")
    Repo.init(str(folder), no_scm=True).close()
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    (folder / "params.yaml").write_text(micro.params(EVERYTHING))
    with Repo(str(folder)) as repo:
        repo.check_graph(repo.index.stages)
        return {stage.name: stage for stage in repo.index.stages}


def test_a_stage_reads_its_entry_as_dvc_does(resolved, tmp_path, monkeypatch):
    """Name, parameters, dependencies and outputs, templates filled in."""
    (tmp_path / "params.yaml").write_text(micro.params(EVERYTHING))
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    monkeypatch.chdir(tmp_path)
    for name, stage in resolved.items():
        entry = define(*stage.cmd.removeprefix(COMMAND).split())
        assert entry.name == name
        assert set(entry.declared) == {key for dep in stage.deps for key in getattr(dep, "params", [])}
        assert {path.as_posix() for path in entry.deps} == {
            dep.def_path for dep in stage.deps if not getattr(dep, "params", None)
        }
        assert {path.as_posix() for path in entry.outs} == {out.def_path for out in stage.outs}


def test_every_script_is_a_stage_and_every_stage_a_script():
    files = {file.stem for file in (ROOT / "pipeline").glob("*.py")} - {"__init__", "__main__"}
    assert files == set(definition.scripts()) == {script(entry) for entry in entries().values()}


def test_there_is_one_matrix_of_students_and_one_of_scores(resolved):
    for stage in ("distill", "evaluate"):
        names = {name for name in resolved if name.startswith(f"{stage}@")}
        assert names == {f"{stage}@{method}-{seed}" for method in registry.available() for seed in (1, 2)}
        more = {name for name in resolved if name.startswith(f"{stage}_") and "@" in name}
        controls = {f"evaluate_control@{time}-kd-{seed}" for time in ("own", "total") for seed in (1, 2)}
        expected = {f"{stage}_baseline@ft-7", f"{stage}_confirm@ft-8", f"{stage}_confirm@kd-8"}
        assert more == (expected | controls if stage == "evaluate" else expected)


def test_parameters_that_stages_declare_are_in_the_file(resolved):
    raw = reading.parse((ROOT / "tests/params.yaml").read_text(), "params.yaml")
    names = {key for stage in resolved.values() for dep in stage.deps for key in getattr(dep, "params", [])}
    for name in names:
        value = raw
        for part in name.split("."):
            value = value[part]


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
    kept = {name for name, cached in outs.items() if not cached}
    assert all(name.startswith(("data/inputs/", "metrics/")) and "report" not in name for name in kept)
    assert all(name.startswith(("data/", "metrics/report.")) for name in set(outs) - kept)


EVIL = ["1; touch pwned #", "$(touch pwned)", "`touch pwned`", "x' | touch pwned '", 'a" && touch pwned "', "a b\nc"]


def test_no_command_of_the_file_runs_what_params_say(tmp_path):
    """Only matrix items are put into commands, as a whole: DVC quotes them for the shell."""
    from dvc.repo import Repo

    used = {name for entry in entries().values() for name in re.findall(r"\$\{([\w.]+)\}", entry["cmd"])}
    assert used == {"item"}
    Repo.init(str(tmp_path), no_scm=True).close()
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    raw = reading.parse(micro.params(), "params.yaml") | {"methods": EVIL, "seeds": EVIL}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw | {name: {} for name in EVIL}))
    with Repo(str(tmp_path)) as repo:
        commands = [shlex.split(stage.cmd) for stage in repo.index.stages if "@" in stage.addressing]
    words = {tuple(definition.plain(command[4:])) for command in commands}
    assert words == {(method, seed) for method in EVIL for seed in EVIL}
    assert {command[3] for command in commands} == {"distill", "evaluate"} and {len(c) for c in commands} == {8}


def test_no_training_depends_on_the_data_that_scores_are_reported_on(resolved):
    """But stage retrieve, which leaves their texts out."""
    readers = {
        name.split("@")[0]
        for name, stage in resolved.items()
        if "data/reported" in {dep.def_path for dep in stage.deps}
    }
    scoring = {"evaluate", "cost", "summarize", "export"}
    assert {name for name in readers if not name.startswith("evaluate_")} == scoring | {"retrieve"}
