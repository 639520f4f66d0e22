"""A method is one file, one section and one name in a list: a throw-away method runs through DVC with no more."""

import json
import os

import pytest
import yaml
from safetensors.torch import load_file

from distill.experiments import params_file
from tests.helpers import micro
from tests.helpers.project import executed

# Squared error of what the teacher supplies, through a linear map that trains with the student.
METHOD = '''"""mirror: squared error between {what} of student and teacher."""

from torch import Tensor, nn

from distill.config.params import Params
from distill.config.schema import Count, Section
from distill.methods.base import Method, Setup
from distill.models.forward import Outputs
from distill.signals.states import Reads
from distill.losses.terms import mse_tok
from distill.losses.weights import ScheduledWeight, Weight


class Config(Section):
    """Section `mirror`."""

    alpha: Weight
{config}

class Mirror(Method):
    """One squared error."""

    Config = Config
    needs = frozenset({{"{what}"}})
    layer_fields = {fields}
{reads}

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        self.map = nn.Linear({student}, {teacher})

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        """`mirror`."""
        mask = batch["attention_mask"].bool()
        return {{"mirror": mse_tok(self.map(student{of_student}), teacher{of_teacher}, mask)}}

    def weights(self) -> dict[str, ScheduledWeight]:
        """`alpha`."""
        return {{"mirror": self.config.alpha}}


METHOD = Mirror
'''
# A method that reads states says which, by a parameter of its own.
READS = '''
    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """The one layer that its parameter names."""
        return Reads.of("hidden", [params.sections["mirror"].layer])
'''
FORMS = {
    "logits": {
        "what": "logits",
        "student": 2,
        "teacher": 2,
        "of_student": ".logits",
        "of_teacher": ".logits",
        "fields": "()",
        "reads": "",
        "config": "",
    },
    "hidden": {
        "what": "hidden",
        "student": "setup.student.hidden_size",
        "teacher": "setup.teacher.hidden_size",
        "of_student": ".hidden[-1]",
        "of_teacher": ".hidden[self.config.layer]",
        "fields": '("layer",)',
        "reads": READS,
        "config": "    layer: Count\n",
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_one_file_one_section_and_one_name_are_enough(repo, python, form):
    """dvc.yaml is not edited, also for a method that reads hidden states of a layer that a parameter names."""
    (repo / "src/distill/methods/mirror.py").write_text(METHOD.format(**FORMS[form]))
    text = params_file.replace((repo / "params.yaml").read_text(), {("methods",): ["ft", "mirror"]})
    layer = "  layer: 1\n" if form == "hidden" else ""
    section = f"\nmirror:\n  alpha: {{value: 3, schedule: linear, warmup: 0.0}}\n{layer}"
    (repo / "params.yaml").write_text(text + section)
    env = {"PATH": f"{python}{os.pathsep}{micro.environment()['PATH']}"}
    micro.run(repo, "dvc", "repro", env=env)

    weights = load_file(repo / "data/models/distill/mirror/1/model.safetensors")
    assert set(weights) == set(load_file(repo / "data/models/student/model.safetensors"))
    header, first, *_ = (repo / "metrics/curves/mirror-1.csv").read_text().splitlines()
    assert "mirror" in header.split(",") and float(first.split(",")[header.split(",").index("mirror")]) > 0
    assert "f1" in json.loads((repo / "metrics/runs/mirror-1.json").read_text())
    assert "mirror" in json.loads((repo / "metrics/summary.json").read_text())
    locked = yaml.safe_load((repo / "dvc.lock").read_text())["stages"]["distill@mirror-1"]
    assert {"src/distill/methods/mirror.py", "data/signals/mirror"} <= {dep["path"] for dep in locked["deps"]}
    assert locked["params"]["params.yaml"]["mirror"]["alpha"] == {"value": 3, "schedule": "linear", "warmup": 0.0}
    assert micro.run(repo, "git", "diff", "--stat", "dvc.yaml").stdout == ""
    if form == "hidden":
        # Another layer is another student, and reruns nothing else: the states of all layers were kept.
        (repo / "params.yaml").write_text((text + section).replace("layer: 1", "layer: 2"))
        again = micro.run(repo, "dvc", "repro", env=env).stdout
        assert executed(again) == ["distill@mirror-1", "evaluate@mirror-1", "summarize"]
