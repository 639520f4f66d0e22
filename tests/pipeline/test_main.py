"""`python -m pipeline`: starts a stage with this checkout's code, and lists what there is."""

import os
import subprocess
import sys
from pathlib import Path


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


def test_without_a_stage_it_lists_them(root):
    for words in ((), ("distil",)):
        done = run(root, *words)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and "corpus, prepare, plan, finetune" in done.stderr
