"""A slim install: serving and files need nothing but what `requirements.SERVING` brings."""

import json
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from distill.inference.requirements import SERVING
from tests.helpers import exported, micro

# What the requirements do not bring is not found: as if it were not installed.
CODE = """
import json, sys
from importlib.machinery import PathFinder

missing = set(json.loads(sys.argv[1]))

class Slim(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in missing else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Slim
from distill import serve
from distill.inference import classify
classify.main(["--input", sys.argv[3], "--output", sys.argv[4], "--model", sys.argv[2]])
print("answered")
"""


def others(names: tuple[str, ...]) -> list[str]:
    """Modules that are installed here, and neither by these distributions nor by what they require."""
    brought, todo = set(), list(names)
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in brought:
            brought.add(name)
            needed = map(Requirement, metadata.requires(name) or ())
            todo += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    installed = metadata.packages_distributions()
    return [
        name for name, of in installed.items() if name != "distill" and not brought & set(map(canonicalize_name, of))
    ]


def test_serving_and_files_run_without_the_training_stack(tmp_path):
    folder, missing = exported.classifier(tmp_path / "export", ["no", "yes"]), others(SERVING)
    assert {"torch", "dvc", "mlflow", "datasets", "pandas", "onnx"} <= set(missing)
    (tmp_path / "in.csv").write_text("text\nw1\n")
    words = [json.dumps(missing), folder, str(tmp_path / "in.csv"), str(tmp_path / "out.parquet")]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words],
        capture_output=True,
        text=True,
        env=micro.environment(PYTHONPATH="src"),
        cwd=micro.ROOT,
    )
    assert done.stdout.split() == ["answered"], done.stderr


def test_the_documented_command_installs_them():
    page = (micro.ROOT / "docs/taking-it-away.md").read_text()
    assert f"pip install -c constraints.txt {' '.join(SERVING)}\n" in page
