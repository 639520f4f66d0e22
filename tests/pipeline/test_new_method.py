"""A method is one file, one section and one name in a list: a throw-away method runs through DVC with no more."""

import json
import os

import pytest
import yaml
from safetensors.torch import load_file

from distill.experiments import params_file
from tests.helpers import micro

# Squared error of what the teacher supplies, through a linear map that trains with the student.
METHOD = '''"""mirror: squared error between {what} of student and teacher."""

from torch import Tensor, nn

from distill.config.schema import Section
from distill.methods.base import Method, Setup
from distill.models.forward import Outputs
from distill.losses.terms import mse_tok
from distill.losses.weights import ScheduledWeight, Weight


class Config(Section):
    """Section `mirror`."""

    alpha: Weight


class Mirror(Method):
    """One squared error."""

    Config = Config
    groups = ("{group}",)
    needs = frozenset({{"{what}"}})

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        self.map = nn.Linear({student}, {teacher})

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        """`mirror`."""
        mask = batch["attention_mask"].bool()
        return {{"mirror": mse_tok(self.map(student.{what}{last}), teacher.{what}{last}, mask)}}

    def weights(self) -> dict[str, ScheduledWeight]:
        """`alpha`."""
        return {{"mirror": self.config.alpha}}


METHOD = Mirror
'''
FORMS = {
    "logits": {"what": "logits", "student": 2, "teacher": 2, "last": ""},
    "hidden": {
        "what": "hidden",
        "student": "setup.student.hidden_size",
        "teacher": "setup.teacher.hidden_size",
        "last": "[-1]",
    },
}


@pytest.mark.parametrize("group", ["logits", "hidden"])
def test_one_file_one_section_and_one_name_are_enough(repo, python, group):
    (repo / "src/distill/methods/mirror.py").write_text(METHOD.format(group=group, **FORMS[group]))
    text = params_file.replace((repo / "params.yaml").read_text(), {("methods", group): ["mirror"]})
    (repo / "params.yaml").write_text(text + "\nmirror:\n  alpha: {value: 3, schedule: linear, warmup: 0.0}\n")
    states = ["plan", "predict_teacher"] if group == "hidden" else []  # for the view of its states
    stages = [*states, f"distill_{group}@mirror-1", f"evaluate_{group}@mirror-1"]
    path = f"{python}{os.pathsep}{micro.environment()['PATH']}"
    micro.run(repo, "dvc", "repro", "-s", *stages, env={"PATH": path})

    weights = load_file(repo / "data/models/distill/mirror/1/model.safetensors")
    assert set(weights) == set(load_file(repo / "data/models/student/model.safetensors"))
    header, first, *_ = (repo / "metrics/curves/mirror-1.csv").read_text().splitlines()
    assert "mirror" in header.split(",") and float(first.split(",")[header.split(",").index("mirror")]) > 0
    assert "f1" in json.loads((repo / "metrics/runs/mirror-1.json").read_text())
    locked = yaml.safe_load((repo / "dvc.lock").read_text())["stages"][f"distill_{group}@mirror-1"]
    assert "src/distill/methods/mirror.py" in {dep["path"] for dep in locked["deps"]}
    assert locked["params"]["params.yaml"]["mirror"] == {"alpha": {"value": 3, "schedule": "linear", "warmup": 0.0}}
