"""Stage inputs: bad values end a run before anything is deleted, and folders that were replaced are other inputs."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import yaml

from distill.config.references import ROLES
from distill.experiments import params_file
from pipeline import inputs
from tests.helpers import micro
from tests.helpers.project import OFF, executed

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    """A repository that has run nothing."""
    return micro.repo(tmp_path / "repo")


def change(repo: Path, **changes: object) -> None:
    file = repo / "params.yaml"
    names = {tuple(name.replace("__", ".").split(".")): value for name, value in changes.items()}
    file.write_text(params_file.replace(file.read_text(), names))


def model(folder: Path, text: str = "1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(text)
    return folder


def entries(repo: Path) -> dict[str, dict]:
    """Parameter → what it stands for, of all roles."""
    return {
        field: entry
        for role in ROLES
        for field, entry in json.loads((repo / f"data/inputs/{role}.json").read_text()).items()
    }


def test_content_of_folders_is_written_down_by_role(folder, stages, tmp_path):
    stages.run(folder, "inputs")
    assert entries(folder) == {}
    mine = model(tmp_path / "mine")
    change(folder, teacher__model__path=str(mine), features__tokenizer__path=str(mine))
    done = stages.run(folder, "inputs")
    before = entries(folder)
    assert set(before) == {"features.tokenizer.path", "teacher.model.path"}
    assert f"teacher.model.path: {mine} (content {before['teacher.model.path']['content'][:10]})" in done.out
    (mine / "config.json").touch()
    stages.run(folder, "inputs")
    assert entries(folder) == before
    status = (mine / "config.json").stat()
    (mine / "config.json").write_text("2")  # as long and as old as before
    import os

    os.utime(mine / "config.json", ns=(status.st_atime_ns, status.st_mtime_ns))
    stages.run(folder, "inputs")
    assert entries(folder)["teacher.model.path"]["content"] != before["teacher.model.path"]["content"]


def test_a_folder_that_is_not_on_this_machine_is_as_it_was(folder, stages, tmp_path):
    mine = model(tmp_path / "mine")
    change(folder, features__tokenizer__path=str(mine))
    stages.run(folder, "inputs")
    before = entries(folder)
    shutil.rmtree(mine)
    assert "which is not on this machine" in stages.run(folder, "inputs").out
    assert entries(folder) == before
    change(folder, features__tokenizer__path=str(tmp_path / "other"))
    refused = stages.run(folder, "inputs", check=False)
    assert refused.code == 2 and "features.tokenizer.path" in refused.err and refused.err.count("\n") == 1
    assert entries(folder) == before


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"data__source": "files", "data__train": "data/raw/atlas/mine.json"}, "data/raw/atlas/mine.json"),
        ({"features__tokenizer__path": "data/models/teacher"}, "data/models/teacher/config.json"),
        ({"features__tokenizer__path": "data/models"}, "data/models/config.json"),
        ({"retrieve__pool": "metrics/runs/../report.html"}, "metrics/report.html"),
        ({"features__tokenizer__path": "data/signals/kd/x"}, "data/signals/kd/x/config.json"),
    ],
)
def test_own_files_among_outputs_are_refused_before_dvc_deletes_them(folder, stages, changes, path):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text("{}")
    change(folder, **changes)
    refused = stages.run(folder, "inputs", check=False)
    assert refused.code == 2 and "which DVC deletes" in refused.err and refused.err.count("\n") == 1
    assert not (folder / "data/inputs").exists()


def test_a_score_that_the_task_does_not_have_is_refused_before_anything_runs(folder, stages):
    (folder / "params.yaml").write_text(micro.params({"evaluate.metric": "accuracy"}))
    done = stages.run(folder, "inputs", check=False)
    assert (done.code, done.err) == (
        2,
        "error: params.yaml: evaluate.metric: 'accuracy': task qa is judged by one of f1, em: choose one, or null for"
        " the first\n",
    )


def test_the_corpus_may_be_read_as_files(folder, stages):
    files = {f"data__{split}": f"data/raw/atlas/{split}.json" for split in ("train", "validation")}
    stages.run(folder, "corpus", setup="", check=False)
    (folder / "data/raw/atlas").mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        (folder / f"data/raw/atlas/{split}.json").write_text("{}")
    change(folder, data__source="files", **files)
    stages.run(folder, "inputs")


def test_what_a_copy_of_the_workspace_lacks_is_told_with_its_fix(folder, stages, tmp_path):
    """`dvc exp run --temp` and `--queue` run in a copy with what Git and DVC track."""
    for field, name in {"features__tokenizer__path": "mine", "data__train": "mine.json"}.items():
        model(folder / "mine")
        (folder / "mine.json").write_text("{}")
        copy = shutil.copytree(folder, tmp_path / field, ignore=shutil.ignore_patterns("mine*"))
        change(copy, **({"data__source": "files"} if "data" in field else {}) | {field: name})
        refused = stages.run(copy, "inputs", env={"DVC_ROOT": str(folder)}, check=False)
        assert refused.code == 2 and f"`dvc add {name}`" in refused.err and refused.err.count("\n") == 1


def test_hub_ids_are_written_down_with_their_commit(folder, stages):
    commit = "0123456789abcdef0123456789abcdef01234567"
    change(folder, features__tokenizer__path="user/model", features__tokenizer__revision=commit)
    assert "commit 0123456789 of the hub" in stages.run(folder, "inputs").out
    assert entries(folder) == {"features.tokenizer.path": {"name": "user/model", "commit": commit}}


def test_files_of_students_that_are_not_listed_go(folder, stages):
    names = ["data/predictions/lwd-1.json", "data/predictions/kd-2.examples.csv", "data/runs/distill-lwd-1.json"]
    names += ["data/samples/lwd-1.json", "data/samples/.gitkeep", "data/samples/kd-1.json"]
    names += ["data/runs/evaluate-kd-1.json", "data/runs/predict_teacher.json", "metrics/curves/filters-teacher.csv"]
    names += [
        "metrics/curves/kd-1.csv",
        "metrics/runs/kd-1.json",
        "metrics/runs/teacher.json",
        "metrics/runs/lwd-1.json",
    ]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    (folder / "metrics/runs/notes-of-mine.txt").write_text("")
    change(folder, methods=["ft", "kd"], seeds=[1])
    assert "removed 5 files" in stages.run(folder, "inputs").out
    assert [name for name in names if not (folder / name).exists()] == [*names[:4], names[-1]]
    assert (folder / "metrics/runs/notes-of-mine.txt").exists()
    assert "removed" not in stages.run(folder, "inputs").out


EVIL = ["1; touch pwned #", -1, "../../../../important"]


@pytest.mark.integration
@pytest.mark.parametrize("seed", EVIL)
def test_dvc_repro_refuses_bad_values_before_it_runs_or_deletes_anything(folder, python, seed):
    kept = folder / "metrics/curves/kd-1.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("step,loss\n")
    values = yaml.safe_load((folder / "params.yaml").read_text()) | {"seeds": [1, seed]}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    refused = micro.run(folder, "dvc", "repro", env=path(python), check=False)
    # DVC itself refuses outputs that two stages have.
    message = "overlapping output" if str(seed).startswith("..") else "error: params.yaml: seeds.1"
    assert refused.returncode and "Running stage 'corpus'" not in refused.stdout and message in refused.stderr
    assert kept.exists() and not list(folder.rglob("pwned")) and not (folder / "data/raw/atlas").exists()


def path(python: Path) -> dict[str, str]:
    return OFF | micro.with_programs(python)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, python) -> Path:
    """A repository with a tokenizer and questions of its own, which DVC has prepared."""
    from distill.data.loading import tokenizer as tokenizers

    repo = micro.repo(tmp_path_factory.mktemp("own") / "repo")
    micro.run(repo, "dvc", "repro", "corpus", env=path(python))
    shutil.copytree(repo / "data/raw/atlas", repo / "data/raw/mine")
    texts = json.dumps(json.loads((repo / "data/raw/mine/train.json").read_text()))
    tokenizers.train([texts], 300, lowercase=True).save_pretrained(repo / "tokenizer")
    files = {f"data__{split}": f"data/raw/mine/{split}.json" for split in ("train", "validation")}
    change(repo, features__tokenizer__path="tokenizer", data__source="files", **files)
    assert "prepare" in executed(micro.run(repo, "dvc", "repro", "prepare", env=path(python)).stdout)
    return repo


def repro(repo, python, check=True):
    return micro.run(repo, "dvc", "repro", "prepare", env=path(python), check=check)


@pytest.mark.integration
def test_a_replaced_folder_is_another_input_for_dvc(prepared, python):
    assert executed(repro(prepared, python).stdout) == []
    file = prepared / "tokenizer/tokenizer.json"
    before = file.read_bytes()
    from distill.data.loading import tokenizer as tokenizers

    tokenizers.train(["other words than before"], 200, lowercase=True).save_pretrained(prepared / "tokenizer")
    assert executed(repro(prepared, python).stdout) == ["prepare"]
    file.write_bytes(before)
    tokenizers.load(str(prepared / "tokenizer"), None).save_pretrained(prepared / "tokenizer")
    again = repro(prepared, python).stdout
    assert "Stage 'prepare' is cached" in again or executed(again) == ["prepare"]


# A parameter, and what no dependency of the stage names; `stage/test_unchanged.py` has a dependency's files.
@pytest.mark.parametrize(
    "what", ["parameter", "folder", *(pytest.param(what, marks=pytest.mark.exhaustive) for what in ("data", "code"))]
)
@pytest.mark.integration
def test_what_is_edited_while_a_stage_runs_is_never_recorded(prepared, python, tmp_path, what):
    repo = shutil.copytree(prepared, tmp_path / "repo", symlinks=True)
    change(repo, data__seed=99)  # something to do
    lock = (repo / "dvc.lock").read_text()
    edited = {
        "parameter": "params.yaml",
        "data": "data/raw/mine/train.json",
        "code": "src/distill/data/sources/splits.py",
        "folder": "tokenizer/tokenizer_config.json",
    }[what]
    original = (repo / edited).read_text()
    text = original.replace("seed: 99", "seed: 100") if what == "parameter" else f"{original}\n"
    assert text != original

    def edit() -> None:
        while not list(repo.glob(".scratch/prepare-*/")):
            time.sleep(0.001)
        (repo / edited).write_text(text)

    thread = threading.Thread(target=edit, daemon=True)
    thread.start()
    refused = repro(repo, python, check=False)
    thread.join(60)
    assert refused.returncode and "changed while prepare ran" in refused.stderr
    entry = yaml.safe_load((repo / "dvc.lock").read_text())["stages"]["prepare"]
    assert entry == yaml.safe_load(lock)["stages"]["prepare"]
    (repo / edited).write_text(original)
    assert executed(repro(repo, python).stdout) == ["prepare"]


def test_untracked_is_silent_outside_of_a_copy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert inputs.untracked("data.name", "mine") is None
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert inputs.untracked("data.name", "mine") is None
