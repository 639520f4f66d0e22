"""MLflow in each of DVC's modes: a run in the project's own database for each stage that was executed, and no other."""

import csv
import io
import json
from pathlib import Path

import pytest

from pipeline.process import tracked

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1200)]

# They train and score nothing.
UNTRACKED = {"inputs", "corpus", "prepare", "plan", "signals"}
# No listed method needs what these make: they write an empty artifact and log nothing.
UNTRACKED |= {"train_assistants", "train_generator", "retrieve", "augment"}
# Fixture -> the parameter that the experiment has changed, as MLflow shows it: stage, name, value. DVC's queue runs an
# experiment in a copy as `--temp` does, from another process: `test_sweep.py` has a queue of a small stage.
MODES = {
    "first": None,
    "raised": ("distill@ted-1", "ted.mse_alpha", "100.0"),
    "cooler": ("distill@kd-1", "kd.temperature", "4.0"),
    "twice": ("distill@kd-2", "seed", "2"),
}
TERMS = {"kd": {"task", "kl"}, "ted": {"task", "kl", "mse"}}


@pytest.fixture(scope="module")
def client(project):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{project.repo / 'mlflow.db'}")


def all_runs(client) -> list:
    experiment = client.get_experiment_by_name("distill")
    return client.search_runs([experiment.experiment_id], max_results=1000)


@pytest.fixture(params=[*list(MODES)[:-1], pytest.param("twice", marks=pytest.mark.exhaustive)])
def mode(request, project, client):
    """(what was run, the change, its MLflow runs by name)."""
    ran = project.first if request.param == "first" else request.getfixturevalue(request.param)
    runs = [run for run in all_runs(client) if run.data.tags.get("dvc.exp_name") == ran.experiment]
    runs = [run for run in runs if run.data.tags["stage"] != "pipeline"]
    assert len({run.info.run_name for run in runs}) == len(runs), "a stage was logged twice"
    return ran, MODES[request.param], {run.info.run_name: run for run in runs}


def points(client, run, metric: str) -> dict[int, float]:
    return {point.step: point.value for point in client.get_metric_history(run.info.run_id, metric)}


def curves_file(stage: str) -> str | None:
    """The curves that a stage writes."""
    kind, _, name = stage.partition("@")
    if kind.startswith("distill"):
        return f"metrics/curves/{name}.csv"
    if kind.startswith("finetune"):
        return f"metrics/curves/{kind.removeprefix('finetune_')}.csv"
    if kind.startswith("train"):
        return f"metrics/curves/filters-{kind.split('_')[1]}.csv"
    return None


def test_executed_stages_and_no_others_have_a_run(mode, project):
    ran, changed, runs = mode
    assert set(runs) == set(ran.stages) - UNTRACKED
    baseline = project.git("rev-parse", "HEAD").strip()
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        tags = run.data.tags
        assert tags["dvc.stage"] == name
        # The first `dvc repro` ran before its results were committed.
        commit = baseline if ran.experiment else project.git("rev-parse", "HEAD^").strip()
        assert tags["git.commit"] == tags["mlflow.source.git.commit"] == commit
        if "@" in name:
            method, seed = name.split("@")[1].split("-")
            assert (tags["method"], tags["seed"]) == (method, seed)
    if changed:
        stage, parameter, value = changed
        assert runs[stage].data.params[parameter] == value


def test_parameters_are_those_that_the_stage_depends_on(mode, project):
    ran, _, runs = mode
    lock = project.lock(ran)
    for name, run in runs.items():
        sections = {key.split(".")[0] for key in lock[name]["params"]["params.yaml"]}
        if name.startswith("evaluate"):  # for people who compare: what the model was made with
            method = run.data.tags["method"]
            sections |= {run.data.tags["role"]} if method == "finetune" else {"distill", method}
        logged = {key.split(".")[0] for key in run.data.params}
        assert logged - {"seed"} == sections - {"seed"}


def test_curves_are_logged_term_by_term(mode, project, client):
    ran, _, runs = mode
    for name, run in runs.items():
        if not (file := curves_file(name)):
            continue
        rows = list(csv.DictReader(io.StringIO(project.show(ran, file))))
        assert len(rows) == 4
        columns = set(rows[0]) - {"step"}
        assert columns >= {"loss", "learning_rate"} | (
            TERMS[name.split("@")[1].split("-")[0]] if "@" in name else set()
        )
        for column in columns:
            logged = points(client, run, tracked.curve_name(column))
            written = {int(row["step"]): float(row[column]) for row in rows}
            assert logged == pytest.approx(written, rel=1e-5), f"{name}: {column}"


def test_scores_are_those_of_the_metrics_files(mode, project):
    ran, _, runs = mode
    for name, run in runs.items():
        if not name.startswith("evaluate"):
            continue
        label = name.split("@")[1] if "@" in name else name.removeprefix("evaluate_")
        scores = json.loads(project.show(ran, f"metrics/runs/{label}.json"))
        assert {"em", "f1"} <= set(scores)
        assert {key: run.data.metrics[key] for key in scores} == pytest.approx(scores, rel=1e-5)
        copy = Path(run.info.artifact_uri.removeprefix("file://")) / "metrics" / "runs" / f"{label}.json"
        assert json.loads(copy.read_text()) == scores


def test_runs_link_the_artifact_that_dvc_keeps(mode, project):
    ran, _, runs = mode
    linked = {name for name in runs if name.startswith(("finetune", "train", "distill", "evaluate"))}
    assert linked
    for name in linked:
        tags = runs[name].data.tags
        path, md5 = tags["artifact.path"], tags["artifact.md5"]
        assert md5 == project.md5(ran, name, path)
        assert (project.repo / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).is_file()


def test_the_runs_of_a_pipeline_have_one_parent(mode, project, client):
    """Named by its experiment, with all parameters and the figures of the summary; a copy or a queue makes no other."""
    ran, changed, runs = mode
    (number,) = {run.data.tags["mlflow.parentRunId"] for run in runs.values()}
    parent = client.get_run(number)
    commit = parent.data.tags["git.commit"]
    assert commit == runs["summarize"].data.tags["git.commit"]
    assert parent.info.run_name == (ran.experiment or f"workspace {commit[:7]}")
    assert parent.info.status == "FINISHED"
    assert {"teacher.learning_rate", "ted.mse_alpha", "seeds"} <= parent.data.params.keys()
    if changed and "." in changed[1]:
        assert parent.data.params[changed[1]] == changed[2]
    summary = json.loads(project.show(ran, "metrics/summary.json"))
    expected = {f"{name}.f1": row["f1"] for name, row in summary.items()}
    assert {name: parent.data.metrics[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert {item.dataset.name for item in parent.inputs.dataset_inputs} == {"atlas/questions/validation"}
    copy = Path(parent.info.artifact_uri.removeprefix("file://")) / "metrics" / "summary.json"
    assert json.loads(copy.read_text()) == summary


def test_each_pipeline_has_a_parent_of_its_own(project, raised, cooler, client):
    runs = all_runs(client)
    names = [run.data.tags.get("dvc.exp_name") for run in runs if run.data.tags["stage"] == "pipeline"]
    assert {None, "raised", "cooler"} <= set(names)  # and others where they have been run
    assert sorted(names, key=str) == sorted({run.data.tags.get("dvc.exp_name") for run in runs}, key=str)


def test_runs_name_the_data_that_they_have_read(mode):
    *_, runs = mode
    for name, run in runs.items():
        if name.startswith(("finetune", "distill", "evaluate")):
            used = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
            split = "validation" if name.startswith("evaluate") else "selection"
            assert set(used) == ({split} if split == "validation" else {split, "training"})
            assert used[split].name == f"atlas/questions/{split}"
            assert json.loads(used[split].profile)["num_rows"] > 0


def test_everything_lies_at_the_root_of_the_project(mode, project):
    *_, runs = mode
    for run in runs.values():
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        assert folder.is_relative_to(project.repo / "mlartifacts" / "distill")


def test_the_summary_links_the_runs_of_all_stages(mode, project, client):
    """Also of those that this mode has not run: restored or unchanged ones keep the run that made them."""
    ran, _, runs = mode
    tags = runs["summarize"].data.tags
    linked = {key.removeprefix("run."): value for key, value in tags.items() if key.startswith("run.")}
    lock = project.lock(ran)
    tracked = set(lock) - UNTRACKED - {"summarize"}
    assert set(linked) == {name.replace("@", "-") for name in tracked}
    for name in tracked:
        expected = (
            runs[name].info.run_id if name in runs else client.get_run(linked[name.replace("@", "-")]).info.run_id
        )
        assert linked[name.replace("@", "-")] == expected
        assert client.get_run(expected).info.run_name == name


def test_nothing_is_logged_for_what_is_skipped_or_restored(project, raised, client):
    """`dvc repro` with the first values after an experiment: their results come from DVC's cache."""
    assert "is cached" in raised.undone and "didn't change" in raised.undone
    outside = [run for run in all_runs(client) if "dvc.exp_name" not in run.data.tags]
    names = [run.info.run_name for run in outside if run.data.tags["stage"] != "pipeline"]
    assert sorted(names) == sorted(set(project.first.stages) - UNTRACKED)


@pytest.mark.exhaustive
def test_nor_where_an_experiment_is_run_again(project, raised, client):
    before = {run.info.run_id for run in all_runs(client)}
    project.workspace("again", "ted.mse_alpha=100")
    project.restore()
    assert {run.info.run_id for run in all_runs(client)} == before
