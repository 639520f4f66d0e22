"""Earlier summaries in Git's history: which count as a look at the same results."""

import json
import subprocess

import pytest
import yaml

from pipeline.stage import paths
from pipeline.summary import looks
from tests.helpers import micro

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]


def summary(seeds, *methods):
    return {"teacher": {"f1": 90.0, "seeds": []}} | {name: {"f1": 80.0, "seeds": seeds} for name in methods}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project in a folder of a repository, so that paths are not those from the repository's root."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "inner"
    (folder / "metrics").mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "params.yaml").write_text(micro.params())
    return folder


def commit(project, content, **changes):
    if not (project.parent / ".git").exists():
        subprocess.run([*GIT, "init", "-q", str(project.parent)], check=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (project / "metrics" / "summary.json").write_text(text)
    if changes:
        params = yaml.safe_load((project / "params.yaml").read_text())
        params["data"] |= changes
        (project / "params.yaml").write_text(yaml.safe_dump(params))
    subprocess.run([*GIT, "add", "."], check=True)
    subprocess.run([*GIT, "commit", "-qm", "run"], check=True)


def history(seeds, *methods):
    return looks.history(paths.params(pinned=False), summary(seeds, *methods))


def test_seeds_that_were_added_and_methods_that_went(project):
    commit(project, summary([1], "ft", "kd", "pkd"))
    commit(project, summary([1, 2], "ft", "kd"))
    commit(project, summary([1, 2, 3], "ft", "kd"))  # this one: no earlier look
    assert history([1, 2, 3], "ft", "kd") == {"summaries": 2, "seeds": [[1], [1, 2]], "methods": ["pkd"]}


def test_other_seeds_and_no_results_are_no_look_at_these(project):
    commit(project, summary([7], "ft"))
    commit(project, "{")
    commit(project, "[]")
    assert history([1, 2], "ft") == {"summaries": 0, "seeds": [], "methods": []}


def test_results_on_other_data_do_not_count(project):
    commit(project, summary([1], "ft", "pkd"), embedded="questions", validation="data/raw/other.json")
    (project / "params.yaml").write_text(micro.params())
    commit(project, summary([1], "ft"))
    assert history([1, 2], "ft") == {"summaries": 1, "seeds": [[1]], "methods": []}


def test_without_git_nothing_is_known(project):
    assert history([1], "ft") is None
    subprocess.run([*GIT, "init", "-q"], check=True)
    assert history([1], "ft") is None  # no commit


def test_an_experiment_begins_at_its_baseline(project, monkeypatch):
    commit(project, summary([1], "ft"))
    first = subprocess.run([*GIT, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    commit(project, summary([1, 2], "ft"))
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", first)
    assert history([1, 2, 3], "ft")["seeds"] == [[1]]
