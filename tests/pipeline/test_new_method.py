"""A method is one file, one section and one name in a list: a throw-away method runs through DVC with no more.

So is a variant of it, without the file.
"""

import json
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
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
VARIANT = "\nlayered-short:\n  method: layered\n  alpha: 5\n  distill: {max_steps: 4, learning_rate: 1.0e-4}\n"


@pytest.mark.slow
@pytest.mark.integration
def test_one_file_one_section_and_one_name_are_enough(repo, python):
    """dvc.yaml is not edited, also for a method that reads hidden states of a layer that a parameter names."""
    env = micro.with_programs(python)
    # What is there before the method, DVC need not run again.
    micro.run(repo, "dvc", "commit", "-f", *micro.BASE_IN_DVC, env=env)
    changes = {
        ("methods",): [*FORMS, "layered-short"],
        ("compare", "resamples"): 200,
        ("cost", "batch_sizes"): [1],
    }
    text = params_file.replace((repo / "params.yaml").read_text(), changes)
    for name, form in FORMS.items():
        (repo / f"src/distill/methods/{name}.py").write_text(METHOD.format(name=name, **form))
        text += SECTION.format(name=name)
    text += f"  layer: 1\n{VARIANT}"
    (repo / "params.yaml").write_text(text)
    micro.run(repo, "dvc", "repro", env=env)
    for name in FORMS:
        check(repo, name)
    check_variant(repo)
    assert micro.run(repo, "git", "diff", "--stat", "dvc.yaml").stdout == ""
    # A variant alone, from the command line too: `dvc exp run -S` does this to params.yaml, and then what `repro` does.
    apply_overrides(repo / "params.yaml", ["layered-short.alpha=6"])
    again = micro.run(repo, "dvc", "repro", env=env).stdout
    assert executed(again) == ["distill@layered-short-1", "evaluate@layered-short-1", "summarize"]
    # The code of a method is that of its variants, and of no other method; what follows from it: test_reruns.py.
    with (repo / "src/distill/methods/layered.py").open("a") as file:
        file.write("# a comment\n")
    assert executed(micro.run(repo, "dvc", "repro", "inputs", env=env).stdout) == []
    changed = json.loads(micro.run(repo, "dvc", "status", "--json", env=env).stdout)
    students = {name for name in changed if name.startswith("distill@")}
    assert students == {"distill@layered-1", "distill@layered-short-1"} and "plan" in changed


def check_variant(repo: Path) -> None:
    """It has the section's other values, a training, files, a row and an entry of its own."""
    curves = {name: (repo / f"metrics/curves/{name}-1.csv").read_text() for name in ("layered", "layered-short")}
    steps = {name: text.splitlines()[-1].split(",")[0] for name, text in curves.items()}
    assert steps == {"layered": "8", "layered-short": "4"}
    rows = json.loads((repo / "metrics/summary.json").read_text())
    assert list(rows) == ["teacher", "student", *FORMS, "layered-short"]
    entry = json.loads((repo / "data/inputs/methods/layered-short.json").read_text())
    assert entry["method"] == "layered" and entry["settings"] == {"alpha": 5.0, "layer": 1}
    assert entry["code"]["name"] == "src/distill/methods/layered.py"
    locked = yaml.safe_load((repo / "dvc.lock").read_text())["stages"]["distill@layered-short-1"]
    assert locked["params"]["params.yaml"]["layered-short"]["distill"] == {"max_steps": 4, "learning_rate": 1e-4}


def check(repo: Path, name: str) -> None:
    """A method's student, curves, scores and entry of dvc.lock."""
    weights = load_file(repo / f"data/models/distill/{name}/1/model.safetensors")
    assert set(weights) == set(load_file(repo / "data/models/student/model.safetensors"))
    header, values, *_ = (repo / f"metrics/curves/{name}-1.csv").read_text().splitlines()
    assert name in header.split(",") and float(values.split(",")[header.split(",").index(name)]) > 0
    assert "f1" in json.loads((repo / f"metrics/runs/{name}-1.json").read_text())
    assert name in json.loads((repo / "metrics/summary.json").read_text())
    locked = yaml.safe_load((repo / "dvc.lock").read_text())["stages"][f"distill@{name}-1"]
    expected = {f"data/inputs/methods/{name}.json", f"data/signals/{name}"}
    assert expected <= {dep["path"] for dep in locked["deps"]}
    assert locked["params"]["params.yaml"][name]["alpha"] == {"value": 3, "schedule": "linear", "warmup": 0.0}
