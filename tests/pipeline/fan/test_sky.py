"""SkyPilot: task files by its own schema, and its program's answers."""

import json
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

from distill.errors import UserError
from pipeline.fan.backends import sky
from pipeline.fan.backends.base import Submission
from pipeline.fan.backends.sky import Sky


@pytest.fixture
def job(tmp_path):
    file = tmp_path / "students-kd-1-3f2a81.json"
    file.write_text("{}")
    file.with_suffix(".bundle").write_bytes(b"bundle")
    return Submission("students-kd-1-3f2a81", file, 0, tmp_path / "log")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A `sky` that writes down its words, and answers `jobs queue` with a file."""
    (tmp_path / "queue").write_text("[]")
    text = f"""\
        #!/bin/sh
        echo "$@" >> {tmp_path}/asked
        case "$1 $2" in "jobs queue") cat {tmp_path}/queue;; esac
        test ! -e {tmp_path}/broken || {{ echo; echo "No cloud is enabled." >&2; exit 1; }}
        """
    (tmp_path / "sky").write_text(textwrap.dedent(text))
    (tmp_path / "sky").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sky, "_LOOK_SECONDS", -1.0)
    return tmp_path


def test_a_job_is_launched_followed_and_cancelled(program, job):
    backend = Sky("run", "$HOME/fan/run", 1, {"infra": "aws"}, "make env")
    handle = backend.submit(job)
    launched = (program / "asked").read_text().splitlines()[-1]
    assert launched == f"jobs launch --yes --detach-run --name {handle} {job.file.with_suffix('.yaml')}"
    content = yaml.safe_load(job.file.with_suffix(".yaml").read_text())
    assert content["resources"]["use_spot"] is True and content["resources"]["infra"] == "aws"
    assert content["file_mounts"] == {
        f"~/fan/jobs/{job.name}{end}": str(job.file.with_suffix(end)) for end in (".json", ".bundle")
    }
    assert "\nmake env\n" in content["run"] and content["run"].endswith('exec python -m pipeline.fan.node "$job"')
    for status, word, code in (
        ("STARTING", "waiting", None),
        ("RUNNING", "running", None),
        ("RECOVERING", "waiting", None),
        ("SUCCEEDED", "ended", 0),
        ("FAILED", "ended", 2),
        ("FAILED_NO_RESOURCE", "ended", None),
    ):
        (program / "queue").write_text(json.dumps([{"job_name": handle, "status": status}]))
        assert (backend.state(handle).word, backend.state(handle).code) == (word, code), status
    backend.cancel(handle)
    assert (program / "asked").read_text().splitlines()[-1] == f"jobs cancel --yes --name {handle}"


def test_faults_are_one_line(program, job, monkeypatch):
    backend = Sky("run", "$HOME/fan/run", 0, {})
    (program / "broken").touch()
    with pytest.raises(UserError, match="sky jobs launch: No cloud is enabled."):
        backend.submit(job)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="no program sky: pip install"):
        Sky("run", "$HOME/fan/run", 0, {})


def test_skypilot_itself_takes_the_task_files(tmp_path, job):
    """Its own check of a task, by the Python that its program `sky` runs in."""
    found = shutil.which("sky")
    if found is None:
        pytest.skip("needs SkyPilot's program sky on the PATH")
    python = Path(found).resolve().read_text().splitlines()[0].removeprefix("#!")
    script = "import sys, sky; print([str(r.use_spot) for r in sky.Task.from_yaml(sys.argv[1]).resources])"
    for gpus, options in ((0, {"infra": "aws", "cpus": "4+"}), (1, {"disk_size": 200}), (1, {"accelerators": "L4:1"})):
        content = sky.task(job, "1a2b3c", "$HOME/fan/1a2b3c", gpus, options, "make env")
        file = tmp_path / "task.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        done = subprocess.run([python, "-c", script, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "True" in done.stdout, done.stderr
