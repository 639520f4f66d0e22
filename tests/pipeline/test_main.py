"""`python -m pipeline`: starts a stage with this checkout's code, and lists what there is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder, *words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def project(folder: Path, root: Path, probe: str) -> Path:
    """A copy of what starts a stage, with a stage of its own."""
    for part in ("pipeline", "src"):
        for file in (root / part).rglob("*.py"):
            target = folder / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    (folder / "dvc.yaml").write_text("stages:\n  probe:\n    cmd: python -m pipeline probe\n")
    (folder / "pipeline/probe.py").write_text(probe)
    return folder


def test_a_copy_of_the_repository_runs_its_own_code(tmp_path, root):
    """Even where PYTHONPATH or an editable install points at the original's src."""
    probe = "import distill.errors\ndef main():\n    print(distill.errors.__file__)\n"
    done = run(project(tmp_path, root, probe), "probe", PYTHONPATH=str(root / "src"))
    assert Path(done.stdout.strip()) == tmp_path / "src/distill/errors.py", done.stderr


def test_garbage_is_left_alone_while_a_stage_is_imported_and_no_longer(tmp_path, root):
    probe = (
        "import gc\nWHILE_IMPORTED = gc.isenabled()\n"
        "def main():\n    print(WHILE_IMPORTED, gc.isenabled(), gc.get_freeze_count() > 1000)\n"
    )
    done = run(project(tmp_path, root, probe), "probe")
    assert (done.stdout, done.stderr) == ("False True True\n", "")


def test_importing_the_package_changes_nothing(root):
    code = "import gc, sys; before = gc.get_threshold(), list(sys.path); import pipeline;"
    code += "assert before == (gc.get_threshold(), list(sys.path)) and gc.isenabled()"
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


@pytest.mark.parametrize("package", ["psutil", "pydantic", "torch"])
def test_an_interpreter_without_the_projects_packages_is_told_in_one_line(tmp_path, root, package):
    """As `.venv/bin/dvc repro` finds one where the environment is not activated."""
    probe = f"import sys\nsys.modules['{package}'] = None\nimport {package}\n\ndef main():\n    pass\n"
    folder = project(tmp_path, root, probe)
    if package == "psutil":  # missed before the stage is looked up
        (folder / "pipeline/launch/run.py").write_text("import sys\nsys.modules['psutil'] = None\nimport psutil\n")
    done = run(folder, "probe")
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"{sys.executable} has no package '{package}'" in line and "source .venv/bin/activate" in line


def test_a_module_of_the_project_that_is_missing_is_a_bug(tmp_path, root):
    done = run(project(tmp_path, root, "import distill.nothing\n\ndef main():\n    pass\n"), "probe")
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr


def test_without_a_stage_it_lists_them(root):
    for words in ((), ("distil",)):
        done = run(root, *words)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and "corpus, prepare, plan, finetune" in done.stderr
