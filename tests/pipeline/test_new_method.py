"""A method is one file, one section and one name in a list: a throw-away method runs through DVC with no more."""

import json
import os
from pathlib import Path

import yaml
from safetensors.torch import load_file

from distill.experiments import params_file
from tests.helpers import micro
from tests.helpers.project import executed

# Squared error of what the teacher supplies, through a linear map that trains with the student.
METHOD = '''"""{name}: squared error between {what} of student and teacher."""

from torch import Tensor, nn

from distill.config.params import Params
from distill.config.schema import Count, Section
from distill.methods.base import Method, Setup
from distill.models.forward import Outputs
from distill.signals.states import Reads
from distill.losses.terms import mse_tok
from distill.losses.weights import ScheduledWeight, Weight


class Config(Section):
    """Section `{name}`."""

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
        """`{name}`."""
        mask = batch["attention_mask"].bool()
        return {{"{name}": mse_tok(self.map(student{of_student}), teacher{of_teacher}, mask)}}

    def weights(self) -> dict[str, ScheduledWeight]:
        """`alpha`."""
        return {{"{name}": self.config.alpha}}


METHOD = Mirror
'''
# A method that reads states says which, by a parameter of its own.
READS = '''
    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """The one layer that its parameter names."""
        return Reads.of("hidden", [params.sections["layered"].layer])
'''
FORMS = {
    "mirror": {
        "what": "logits",
        "student": 2,
        "teacher": 2,
        "of_student": ".logits",
        "of_teacher": ".logits",
        "fields": "()",
        "reads": "",
        "config": "",
    },
    "layered": {
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
SECTION = "\n{name}:\n  alpha: {{value: 3, schedule: linear, warmup: 0.0}}\n"


def test_one_file_one_section_and_one_name_are_enough(repo, python):
    """dvc.yaml is not edited, also for a method that reads hidden states of a layer that a parameter names."""
    text = params_file.replace((repo / "params.yaml").read_text(), {("methods",): ["ft", *FORMS]})
    for name, form in FORMS.items():
        (repo / f"src/distill/methods/{name}.py").write_text(METHOD.format(name=name, **form))
        text += SECTION.format(name=name)
    text += "  layer: 1\n"
    (repo / "params.yaml").write_text(text)
    env = {"PATH": f"{python}{os.pathsep}{micro.environment()['PATH']}"}
    micro.run(repo, "dvc", "repro", env=env)
    for name in FORMS:
        check(repo, name)
    assert micro.run(repo, "git", "diff", "--stat", "dvc.yaml").stdout == ""
    # Another layer is another student, and reruns nothing else: the states of all layers were kept.
    (repo / "params.yaml").write_text(text.replace("layer: 1", "layer: 2"))
    again = micro.run(repo, "dvc", "repro", env=env).stdout
    assert executed(again) == ["distill@layered-1", "evaluate@layered-1", "summarize"]


def check(repo: Path, name: str) -> None:
    """A method's student, curves, scores and entry of dvc.lock."""
    weights = load_file(repo / f"data/models/distill/{name}/1/model.safetensors")
    assert set(weights) == set(load_file(repo / "data/models/student/model.safetensors"))
    header, values, *_ = (repo / f"metrics/curves/{name}-1.csv").read_text().splitlines()
    assert name in header.split(",") and float(values.split(",")[header.split(",").index(name)]) > 0
    assert "f1" in json.loads((repo / f"metrics/runs/{name}-1.json").read_text())
    assert name in json.loads((repo / "metrics/summary.json").read_text())
    locked = yaml.safe_load((repo / "dvc.lock").read_text())["stages"][f"distill@{name}-1"]
    assert {f"src/distill/methods/{name}.py", f"data/signals/{name}"} <= {dep["path"] for dep in locked["deps"]}
    assert locked["params"]["params.yaml"][name]["alpha"] == {"value": 3, "schedule": "linear", "warmup": 0.0}
