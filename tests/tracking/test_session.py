"""What surrounds a run in MLflow: its parent, the data it has read, the saved view, the registered champion."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from distill.tracking import parent as tracking_parent
from distill.tracking import registry
from distill.tracking import run as tracking
from distill.tracking.records import Champion, Dataset, Details, Parent
from distill.tracking.run import Run, start_run
from distill.tracking.saved_view import View

SRC = str(Path(tracking.__file__).resolve().parents[2])
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy of MLflow

PARENT = Parent("warm", {"ted": {"mse_alpha": 100}, "seeds": [1, 2]}, {"stage": "pipeline"})
DATA = Dataset(
    name="atlas/questions/train",
    digest="0123456789abcdef0123456789abcdef",
    context="training",
    source_type="hugging_face",
    source={"path": "rajpurkar/squad_v2", "split": "train"},
    columns={"id": "string", "question": "string"},
    counts={"num_rows": 228, "features": 240},
)
WINNER = Champion("distill", "data/models/distill/ted/2", "a" * 32 + ".dir", 80.5, "qa f1 abc", {"method": "ted"})


@pytest.fixture(scope="module")
def root(tmp_path_factory, database) -> Path:
    """A root with a database that the tests of this file share, each in an experiment of its own."""
    folder = tmp_path_factory.mktemp("root")
    shutil.copy(database, folder)
    return folder


@pytest.fixture
def experiment(request) -> str:
    return request.node.name


def start(root: Path, experiment: str, name: str = "stage", **more) -> Run:
    settings = {"details": lambda: Details(parent=PARENT), "close_timeout": 120.0} | more
    return start_run(root=root, experiment=experiment, name=name, **settings)


def parents(client, experiment: str) -> list:
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], "tags.stage = 'pipeline'")


def test_stages_of_one_pipeline_share_a_parent(root, client, experiment, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "warm")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c" * 40)
    with start(root, experiment, "first") as first, start(root, experiment, "second") as second:
        pass
    (parent,) = parents(client, experiment)
    for run in (first, second):
        assert client.get_run(run.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.run_name == "warm" and parent.info.status == "FINISHED"
    assert parent.data.params == {"ted.mse_alpha": "100", "seeds": "[1, 2]"}
    assert {"git.commit": "c" * 40, "dvc.exp_name": "warm"}.items() <= parent.data.tags.items()


def test_another_name_commit_or_parameter_is_another_pipeline():
    key = tracking_parent.key_of(PARENT, "c")
    others = [(replace(PARENT, name=None), "c"), (PARENT, "d"), (replace(PARENT, params={"seeds": [1]}), "c")]
    assert key not in {tracking_parent.key_of(*other) for other in others}
    # Neither the order of the sections nor the parent's own tags count.
    same = Parent("warm", dict(reversed(PARENT.params.items())))
    assert tracking_parent.key_of(same, "c") == key


def test_a_parent_without_experiment_is_named_by_its_commit(root, client, experiment, monkeypatch):
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0123456789" * 4)
    with start(root, experiment, details=lambda: Details(parent=replace(PARENT, name=None))):
        pass
    assert [parent.info.run_name for parent in parents(client, experiment)] == ["workspace 0123456"]


def test_a_parent_ends_as_its_last_stage_and_runs_again_with_the_next(root, client, experiment):
    with pytest.raises(ValueError), start(root, experiment):
        raise ValueError
    assert [parent.info.status for parent in parents(client, experiment)] == ["FAILED"]
    with start(root, experiment):
        pass
    assert [parent.info.status for parent in parents(client, experiment)] == ["FINISHED"]


def test_what_a_killed_process_left_out_of_the_parent_is_added(root, client, experiment):
    """It was killed after it had made the run, before it sent the params."""
    number = client.create_experiment(experiment, artifact_location=(root / "mlartifacts").as_uri())
    made = client.create_run(
        number, tags={tracking_parent.KEY: tracking_parent.key_of(PARENT, ""), "stage": "pipeline"}
    )
    with start(root, experiment):
        pass
    (parent,) = parents(client, experiment)
    assert parent.info.run_id == made.info.run_id
    assert parent.data.params == {"ted.mse_alpha": "100", "seeds": "[1, 2]"}


def test_processes_that_start_together_make_one_parent(root, client, experiment, python):
    code = f"""
        from pathlib import Path
        from distill.tracking import run as tracking
        from distill.tracking.records import Details, Parent
        details = Details(parent=Parent("warm", {{"a": 1}}, {{"stage": "pipeline"}}))
        with tracking.start_run(root=Path({str(root)!r}), experiment={experiment!r}, name="stage",
                            details=lambda: details, close_timeout=120):
            pass
    """
    command = [str(python / "python"), "-c", "\n".join(line[8:] for line in code.splitlines())]
    env = os.environ | {"PYTHONPATH": SRC}
    together = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=280)[1] for process in together] == ["", "", ""]
    assert len(parents(client, experiment)) == 1


def test_only_a_shared_run_passes_its_results_on(root, client, experiment, tmp_path):
    table = tmp_path / "summary.json"
    table.write_text("{}")
    for name, shared in (("evaluate", False), ("summarize", True)):
        with start(root, experiment, name, shared=shared) as run:
            run.log({"curve": 1.0}, 3)
            run.log_final({f"{name}.f1": 80.5})
            run.tag(f"of.{name}", "x")
            run.artifact(table, name)
    (parent,) = parents(client, experiment)
    assert parent.data.metrics == {"summarize.f1": 80.5}
    assert "of.summarize" in parent.data.tags and "of.evaluate" not in parent.data.tags
    assert [item.path for item in client.list_artifacts(parent.info.run_id)] == ["summarize"]


def test_curves_get_their_readable_names(root, client, experiment):
    with start(root, experiment, curve_name=lambda name: f"train/{name}") as run:
        run.log({"kl": 2.0}, 1)
        run.log_final({"f1": 80.5})
    assert client.get_run(run.run_id).data.metrics == {"train/kl": 2.0, "f1": 80.5}


def test_datasets_are_inputs_that_mlflow_can_read_back(root, client, experiment):
    import mlflow.data

    for _ in range(2):  # the same data twice is one entity
        with start(root, experiment, details=lambda: Details(datasets=(DATA,))) as run:
            pass
    (used,) = client.get_run(run.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == (DATA.name, DATA.digest)
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
    assert json.loads(used.dataset.profile) == {"num_rows": 228, "features": 240}
    columns = json.loads(used.dataset.schema)["mlflow_colspec"]
    assert [(column["name"], column["type"]) for column in columns] == [("id", "string"), ("question", "string")]
    source = mlflow.data.get_source(used)
    assert (source.path, source.split) == ("rajpurkar/squad_v2", "train")


def test_own_params_and_tags_win_over_what_is_found_out(root, client, experiment):
    found = Details(params={"seed": 1, "task": "qa"}, tags={"role": "student", "task": "qa"})
    with start(root, experiment, params={"seed": 2}, tags={"role": "teacher"}, details=lambda: found) as run:
        pass
    data = client.get_run(run.run_id).data
    assert data.params == {"seed": "2", "task": "qa"}
    assert (data.tags["role"], data.tags["task"]) == ("teacher", "qa")


def test_details_that_fail_cost_one_line_and_no_run(root, client, experiment, capfd):
    def broken():
        raise KeyError("splits")

    with start(root, experiment, details=broken) as run:
        run.log_final({"f1": 80.5})
    assert client.get_run(run.run_id).data.metrics == {"f1": 80.5}
    (line,) = capfd.readouterr().err.splitlines()
    assert "without parent run and datasets (KeyError: 'splits')" in line


def test_a_view_is_saved_once_and_a_person_s_change_of_it_stays(root, client, experiment):
    view = View("scores", "Scores", "tags.stage = 'evaluate'", "method", ("seed",), ("f1",))
    key = "mlflow.sharedViewState.scores"
    with start(root, experiment, details=lambda: Details(view=view)):
        pass
    saved = json.loads(client.get_experiment_by_name(experiment).tags[key])
    assert saved["name"] == "Scores"
    assert json.loads(saved["state"])["selectedColumns"][-2:] == ["tags.`seed`", "metrics.`f1`"]
    client.set_experiment_tag(client.get_experiment_by_name(experiment).experiment_id, key, "theirs")
    with start(root, experiment, details=lambda: Details(view=view)):
        pass
    assert client.get_experiment_by_name(experiment).tags[key] == "theirs"


@pytest.mark.parametrize("name", ["..", ".", "../outside", "a/../../b", ".hidden"])
def test_artifacts_of_any_experiment_lie_in_a_folder_of_its_own(root, client, tmp_path, name):
    table = tmp_path / "table.csv"
    table.write_text("a\n")
    with start(root, name) as run:
        run.artifact(table)
    place = client.get_experiment_by_name(name).artifact_location
    assert Path(client.download_artifacts(run.run_id, "table.csv")).read_text() == "a\n"
    assert [folder.name for folder in (root / "mlartifacts").iterdir() if folder.as_uri() == place] != []


def test_a_champion_points_to_what_dvc_keeps(root, client, experiment, monkeypatch):
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c" * 40)
    champion = replace(WINNER, name=experiment)
    with start(root, experiment) as run:
        run.register(replace(champion, run_id=run.run_id))
    version = client.get_model_version_by_alias(experiment, "champion")
    assert version.source == "dvc:///data/models/distill/ted/2"
    expected = {"dvc.path": champion.path, "dvc.md5": champion.md5, "git.commit": "c" * 40, "method": "ted"}
    assert expected.items() <= version.tags.items()
    assert client.get_run(run.run_id).data.tags["registered"] == f"{experiment}/1"
    assert parents(client, experiment)[0].data.tags["registered"] == f"{experiment}/1"


def test_the_same_model_twice_is_one_version(client, experiment):
    champion = replace(WINNER, name=experiment)
    told = [registry.register(client, champion, {}) for _ in range(2)]
    assert told == [f"{experiment}/1"] * 2
    assert len(client.search_model_versions(f"name = '{experiment}'")) == 1


@pytest.mark.parametrize(
    ("change", "takes_over"),
    [
        ({"score": 81.0}, True),
        ({"score": 80.5}, True),  # as good, and newer
        ({"score": 79.0}, False),
        ({"score": 79.0, "judged_on": "qa f1 other"}, True),  # of other data: not to be compared
    ],
)
def test_the_alias_goes_to_the_better_of_two_that_were_judged_on_the_same(client, experiment, change, takes_over):
    name = "".join(letter for letter in experiment if letter.isalnum())
    first = replace(WINNER, name=name)
    registry.register(client, first, {})
    assert registry.register(client, replace(first, md5="b" * 32 + ".dir", **change), {}) == f"{name}/2"
    assert client.get_model_version_by_alias(name, "champion").version == (2 if takes_over else 1)


def test_a_name_that_mlflow_refuses_costs_one_line(root, client, experiment, capfd):
    with start(root, experiment) as run:
        run.register(replace(WINNER, name="a/b"))
        run.log_final({"f1": 80.5})
    kept = client.get_run(run.run_id)
    assert kept.info.status == "FINISHED" and kept.data.metrics == {"f1": 80.5}
    (line,) = capfd.readouterr().err.splitlines()
    assert "data/models/distill/ted/2 is not registered as a/b" in line
