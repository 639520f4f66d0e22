"""Token classification through all stages, with texts of several windows: from the corpus to an exported tagger."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.inference import tag
from distill.inference.model import load
from distill.tasks import entities
from tests.helpers import micro

pytestmark = pytest.mark.slow

SETTINGS = {
    "task": "token_classification",
    "data.embedded": "entities",
    "data.text": "text",
    "data.label": "entities",
    "data.id": "id",
    "data.selection_fraction": 0.2,
    "atlas.text_train": 120,
    "atlas.text_validation": 30,
    "features.max_length": 24,
    "features.doc_stride": 8,
    "methods": ["ft", "kd", "ted", "knn", "mate"],
    "training.max_steps": 4,
    "teacher.max_steps": 60,
    "teacher.learning_rate": 0.01,
    "distill.class_weights": "balanced",
    "export.methods": ["kd"],
    "compare.resamples": 100,
    "cost.seconds": 0.01,
    "cost.batch_sizes": [1],
}


def read(repo: Path, name: str):
    return json.loads((repo / name).read_text())


@pytest.fixture(scope="module")
def ran(tmp_path_factory, stages) -> Path:
    """A repository in which everything has run; not to be changed."""
    repo = micro.repo(tmp_path_factory.mktemp("entities") / "repo", SETTINGS)
    for words in micro.BASE:
        stages.run(repo, *words)
    stages.run(repo, "evaluate_teacher")
    stages.run(repo, "evaluate", "student")
    for method in SETTINGS["methods"]:
        stages.run(repo, "distill", method, "1")
        stages.run(repo, "evaluate", method, "1")
    for words in (("cost",), ("summarize",), ("export", "kd", "1")):
        stages.run(repo, *words)
    return repo


def test_x(ran):
    import shutil

    shutil.rmtree("/tmp/w/t1_ran", ignore_errors=True)
    shutil.copytree(ran, "/tmp/w/t1_ran")
