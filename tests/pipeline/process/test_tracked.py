"""What MLflow is told about stages of each kind, from params.yaml and the prepared data."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from distill import parameters
from distill.config.values import pick
from distill.tasks.registry import load_task, task_names
from pipeline.process import tracked
from pipeline.process.hashes import dvc_md5
from pipeline.stage import paths
from tests.helpers import micro

COUNTS = {"train": 3, "selection": 2, "validation": 4}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A repository with params.yaml and small prepared data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    (tmp_path / "params.yaml").write_text(micro.params())
    splits = {split: {"examples": rows, "features": 2 * rows} for split, rows in COUNTS.items()}
    for split, rows in COUNTS.items():
        folder = paths.PREPARED / split
        folder.mkdir(parents=True)
        table = pa.table({"id": [f"{split}-{i}" for i in range(rows)]})
        with pa.OSFile(str(folder / "examples.arrow"), "w") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    (paths.PREPARED / "meta.json").write_text(json.dumps({"splits": splits}))
    return tmp_path


def change(here: Path, **overrides) -> None:
    names = {name.replace("__", "."): value for name, value in overrides.items()}
    (here / "params.yaml").write_text(micro.params(names))


def test_an_evaluation_carries_what_its_model_was_made_with(here):
    params = parameters.load(paths.PARAMS)
    found = tracked.details("evaluate@ted-1", {"method": "ted", "seed": 1}, paths.params(), [paths.PREPARED])
    assert found.params == {**pick(params, ["distill", "ted"]), "seed": 1}
    assert found.tags == {"stage": "evaluate", "task": "qa", "split": "validation", "role": "student"}
    teacher = tracked.details("evaluate_teacher", {"method": "finetune", "role": "teacher"}, paths.params(), [])
    assert teacher.params == pick(params, ["teacher"]) and teacher.datasets == ()


def test_a_training_carries_nothing_more_than_its_own_parameters(here):
    found = tracked.details("distill@ted-1", {"method": "ted", "seed": 1}, paths.params(), [paths.PREPARED])
    assert found.params == {}
    assert (found.tags["stage"], found.tags["split"]) == ("distill", "train")


def test_datasets_are_the_splits_that_a_stage_reads(here):
    def read(name):
        details = tracked.details(name, {"role": "teacher"}, paths.params(), [paths.PREPARED])
        return {used.name: used for used in details.datasets}

    training, evaluation = read("finetune_teacher"), read("evaluate_teacher")
    assert {name: used.context for name, used in training.items()} == {
        "atlas/questions/train": "training",
        "atlas/questions/selection": "selection",
    }
    assert {name: used.context for name, used in evaluation.items()} == {"atlas/questions/validation": "validation"}
    assert read("summarize").keys() == evaluation.keys()
    used = evaluation["atlas/questions/validation"]
    assert used.counts == {"num_rows": 4, "features": 8} and used.columns == {"id": "string"}
    assert used.digest == dvc_md5(paths.PREPARED / "validation" / "examples.arrow")
    assert used.source == {"uri": "data/raw/atlas/validation.json"}
    assert read("predict_teacher").keys() == {"atlas/questions/train"}


def test_a_transfer_set_is_training_data_of_teacher_and_students(here):
    shutil.copytree(paths.PREPARED / "train", paths.PREPARED / "transfer")
    change(here, data__source="files", data__train="data/none", data__transfer="data/raw/mine/more.json",
           data__selection="data/raw/mine/chosen.json", teacher__train=False, features__tokenizer__path="t",
           teacher__model={"path": "t", "revision": None, "config": {}}, methods=["kd"],
           export__methods=[], compare__baseline="kd", controls__methods=[])  # fmt: skip
    for rows in (0, 3):
        splits = {split: {"examples": 1, "features": 1} for split in (*COUNTS, "transfer")}
        splits["train"]["examples"] = rows
        (paths.PREPARED / "meta.json").write_text(json.dumps({"splits": splits}))
        if rows:
            change(here, data__source="files", data__transfer="data/raw/mine/more.json")
        for stage, expected in [
            ("distill@kd-1", ["selection", "train", "transfer"]),
            ("predict_teacher", ["train", "transfer"]),
        ]:
            found = tracked.details(stage, {}, paths.params(), [paths.PREPARED]).datasets
            contexts = {one.name.rpartition("/")[2]: one.context for one in found}
            assert sorted(contexts) == [split for split in expected if rows or split != "train"]
            assert contexts["transfer"] == "training"
            assert next(one for one in found if one.context == "training" and "transfer" in one.name).source == {
                "uri": "data/raw/mine/more.json"
            }


def test_the_source_of_a_dataset_is_where_the_parameters_say(here):
    change(here, data__source="files", data__train="data/raw/mine/train.json")
    (train, _) = tracked.details("finetune_teacher", {}, paths.params(), [paths.PREPARED]).datasets
    assert (train.name, train.source) == ("mine/train", {"uri": "data/raw/mine/train.json"})
    change(here, data__source="hub", data__name="rajpurkar/squad_v2", data__revision="abc")
    (_, selection) = tracked.details("finetune_teacher", {}, paths.params(), [paths.PREPARED]).datasets
    assert (selection.name, selection.source_type) == ("rajpurkar/squad_v2/selection", "hugging_face")
    expected = {"path": "rajpurkar/squad_v2", "config_name": None, "revision": "abc", "split": "train"}
    assert selection.source == expected  # it is carved out of the training split


def test_a_selection_split_of_ones_own_and_further_splits_have_their_own_sources(here):
    for split in ("mismatched", "news"):
        shutil.copytree(paths.PREPARED / "validation", paths.PREPARED / split)
    splits = {split: {"examples": 1, "features": 1} for split in (*COUNTS, "mismatched", "news")}
    (paths.PREPARED / "meta.json").write_text(json.dumps({"splits": splits}))
    change(here, data__source="hub", data__name="glue", data__selection_split="dev", data__mismatched_split="other",
           data__extra={"news": "test"})  # fmt: skip

    def used(stage):
        found = tracked.details(stage, {"role": "teacher"}, paths.params(), [paths.PREPARED]).datasets
        return {one.name.rpartition("/")[2]: (one.context, one.source["split"]) for one in found}

    assert used("finetune_teacher")["selection"] == ("selection", "dev")
    assert used("evaluate_teacher") == {
        "validation": ("validation", "validation"),
        "mismatched": ("validation", "other"),
        "news": ("validation", "test"),
    }
    assert used("finetune_teacher").keys() == {"train", "selection"} and used("cost").keys() == {"validation"}


def test_the_parent_has_the_parameters_that_count(here, monkeypatch):
    first = tracked.parent(paths.params())
    assert first.name is None
    assert {"ted", "kd", "teacher", "data", "methods"} <= first.params.keys()
    assert not {"runtime", "tracking", "sections", "pkd"} & first.params.keys()
    change(here, runtime__threads=3, pkd__beta=7.0)  # of this machine, and of a method that is not run
    assert tracked.parent(paths.params()) == first
    change(here, ted__mse_alpha=7.0)
    assert tracked.parent(paths.params()) != first
    monkeypatch.setenv("DVC_EXP_NAME", "warm")
    assert tracked.parent(paths.params()).name == "warm"


def test_curves_are_grouped_by_split():
    names = ("loss", "learning_rate", "selection_f1", "selection_layer_2_f1")
    readable = ["train/loss", "train/learning_rate", "selection/f1", "selection/layer_2_f1"]
    assert [tracked.curve_name(name) for name in names] == readable


def test_the_view_has_the_main_score_of_every_task():
    assert {load_task(name, None).main_metric for name in task_names()} <= set(tracked.SCORES.metrics)
