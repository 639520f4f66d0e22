"""A teacher that is ready: no update, its head's rows by name, scored and used like any other."""

import csv
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from distill.data.loading.prepared import Prepared
from tests.helpers import micro

pytestmark = pytest.mark.slow

SENTENCES = {"task": "classification", "data.embedded": "sentences", "methods": ["ft", "kd"]}
READY = SENTENCES | {
    "features.tokenizer.path": "checkpoint",
    "teacher.model.path": "checkpoint",
    "teacher.model.config": {},
    "teacher.train": False,
}


@pytest.fixture(scope="module")
def made(stages, tmp_path_factory):
    """A repository with a checkpoint of this task, whose rows stand in the opposite order; and the classes."""
    repo = micro.repo(tmp_path_factory.mktemp("ready") / "repo", SENTENCES)
    stages.run_all(repo, (("inputs",), ("corpus",), ("prepare",), ("finetune", "teacher")))
    classes = Prepared(repo / "data/prepared").meta["labels"]
    shutil.copytree(repo / "data/models/teacher", repo / "checkpoint")
    path = repo / "checkpoint/config.json"
    content = json.loads(path.read_text())
    names = dict(enumerate(reversed(classes)))
    path.write_text(json.dumps(content | {"id2label": names, "label2id": {v: k for k, v in names.items()}}))
    (repo / "params.yaml").write_text(micro.params(READY))
    stages.run_all(repo, (("inputs",), ("prepare",)))
    return repo, classes


def test_it_is_taken_as_it_is_scored_and_its_training_cost_nothing(made, stages, tmp_path):
    repo, classes = shutil.copytree(made[0], tmp_path / "repo"), made[1]
    done = stages.run(repo, "finetune", "teacher")
    assert "checkpoint as it is (teacher.train is false)" in done.out and "put in the data's order" in done.out
    before, after = (load_file(repo / folder / "model.safetensors") for folder in ("checkpoint", "data/models/teacher"))
    different = {name for name in before if not torch.equal(before[name], after[name])}
    assert different and all(torch.equal(before[name].flip(0), after[name]) for name in different)
    config = json.loads((repo / "data/models/teacher/config.json").read_text())
    assert list(config["id2label"].values()) == classes
    assert "accuracy" in json.loads((repo / "metrics/selection/teacher.json").read_text())
    assert list(csv.reader((repo / "metrics/curves/teacher.csv").open())) == [["step", "loss"]]
    record = json.loads((repo / "data/runs/finetune_teacher.json").read_text())
    assert (record["updates"], record["seconds"], record["trained"]) == (0, 0.0, False)
    stages.run(repo, "evaluate_teacher")
    scores = json.loads((repo / "metrics/runs/teacher.json").read_text())
    assert scores["selection_accuracy"] == json.loads((repo / "metrics/selection/teacher.json").read_text())["accuracy"]


def test_prepare_refuses_names_that_are_not_the_data_s(made, stages, tmp_path):
    repo, classes = shutil.copytree(made[0], tmp_path / "repo"), made[1]
    labels = [*classes[:-1], "something else"]
    (repo / "params.yaml").write_text(micro.params(READY | {"teacher.labels": labels}))
    done = stages.run(repo, "prepare", check=False)
    assert done.code == 2 and "teacher.labels: 'something else' is no class of the data" in done.out + done.err
