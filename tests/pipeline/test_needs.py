"""A stage that nobody needs is over before any library that takes its time is imported."""

import subprocess
import sys

import pytest

from pipeline.stage import artifacts
from tests.helpers import micro


@pytest.mark.parametrize("script", ["assistant", "augment", "generator", "retrieve", "train_filters"])
def test_the_script_imports_neither_torch_nor_transformers(script):
    code = f"import sys; sys.path.insert(0, 'src'); import pipeline.{script}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=micro.ROOT, capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "datasets", "mlflow"} & set(done.stdout.split()) == set()


def test_every_artifact_says_who_needs_it(root):
    from distill.config.params import Group

    groups = set(Group.__args__)
    assert all(set(names) <= groups for names in artifacts.NEEDED_BY.values())
