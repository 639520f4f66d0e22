"""What methods read of the teacher's hidden states, and what of it fits a budget."""

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig

from distill import parameters
from distill.methods import registry
from distill.methods.base import Setup
from distill.signals import states
from distill.signals.states import Reads
from distill.tasks.registry import load_task
from tests.helpers import micro, tiny

OFFSETS = np.array([0, 4, 10, 13])  # three rows, 13 tokens
WIDTH = 8
CLS, HIDDEN = 3 * WIDTH * 4, 13 * WIDTH * 4  # bytes of a layer

# Student of 3 layers, teacher of 6, the sections as params.yaml has them but for these.
CASES = {
    "lwd": ({"lwd.layer_map": "last"}, Reads(hidden=(4, 5, 6))),
    "pkd": ({"pkd.layer_map": "uniform"}, Reads(cls=(2, 4))),
    "ckd": ({"ckd.layer_groups": [[1, 3], [3, 4], [6]]}, Reads(hidden=(1, 3, 4, 6))),
    "rail": ({}, Reads(cls=(1, 2, 3, 4, 5, 6))),
    "hidden": ({"hidden.layers": [1, 3], "hidden.layer_map": [5, 4, 2]}, Reads(cls=(2, 5))),
    "alp": ({"alp.layers": "all", "alp.tokens": "first"}, Reads(cls=(1, 2, 3, 4, 5, 6))),
    "ted": ({"teacher_filters.filter_interval": 2}, Reads(hidden=(2, 4, 6))),
    "tinybert": ({}, Reads()),
    "context": ({"context.layer_map": "reversed"}, Reads(hidden=(0, 2, 4, 6))),
    "relation": ({}, Reads()),
    "kd": ({}, Reads()),
}


def params(overrides):
    return parameters.parse(yaml.safe_load(micro.params(overrides)), "params.yaml")


@pytest.mark.parametrize("name", CASES)
def test_each_method_says_which_layers_it_reads(name):
    overrides, expected = CASES[name]
    assert registry.load(name).reads(params(overrides), 3, 6) == expected


def test_alp_on_all_tokens_reads_all_tokens():
    found = registry.load("alp").reads(params({"alp.layers": "regular", "alp.tokens": "all"}), 3, 6)
    assert found == Reads(hidden=(1, 2, 3, 4, 5, 6))


class Recorder:
    """The teacher's hidden states, noting which layers are asked for."""

    def __init__(self, hidden):
        self.hidden, self.asked = hidden, set()

    def __getitem__(self, layer):
        self.asked.add(layer)
        return self.hidden[layer]


@pytest.mark.parametrize("name", [name for name, (_, expected) in CASES.items() if expected and name != "ted"])
def test_a_method_reads_no_other_layers_than_it_says(name):
    """Otherwise its cached states would lack some. (ted reads what its filters are on.)"""
    from distill.models.forward import Outputs, forward_pass

    made = params(CASES[name][0])
    task = load_task("qa")
    student, teacher = tiny.model("bert", layers=3), tiny.model("bert", layers=6, width=12)
    method = registry.load(name)(made.sections[name], Setup(task, student.config, teacher.config))
    batch = tiny.batch()
    outputs = forward_pass(teacher, task, batch, hidden=True)
    asked = set()
    for _ in range(20):  # rail draws
        recorder = Recorder(outputs.hidden)
        seen = Outputs(outputs.logits.detach(), recorder)
        method.terms(batch, forward_pass(student, task, batch, hidden=True), seen)
        asked |= recorder.asked
        method.seed += 1
    reads = CASES[name][1]
    assert asked == set(reads.cls + reads.hidden)


@pytest.mark.parametrize("name", ["lwd", "ted"])
def test_without_the_mask_nothing_is_read_because_padding_is_not_kept(name):
    assert registry.load(name).reads(params({f"{name}.mask": False}), 3, 6) == Reads()


class Watched:
    """A section that notes which fields are asked for."""

    def __init__(self, section):
        self.section, self.asked = section, set()

    def __getattr__(self, name):
        derived = getattr(type(self.section), name, None)
        if isinstance(derived, property):
            return derived.fget(self)
        self.asked.add(name)
        return getattr(self.section, name)


@pytest.mark.parametrize("name", registry.available())
def test_the_fields_that_decide_are_all_named(name):
    """Stage plan depends on these, and would not run again where another one changes."""
    method, made = registry.load(name), params({})
    watched = Watched(made.sections[name])
    made.sections[name] = watched
    method.reads(made, 3, 6)
    method.fits(made, lambda role, what: {"student": 3, "teacher": 6}[role] if what == "layers" else 2)
    method.suits(made, lambda role: AutoConfig.for_model("bert"))
    method.check_classes(made, 3)
    assert watched.asked == set(method.layer_fields) <= set(method.Config.model_fields)


def choose(budget, **reads):
    return states.choose(reads, OFFSETS, WIDTH, "float32", budget)


def test_everything_is_kept_once_where_it_fits():
    choice = choose(1e9, lwd=Reads(hidden=(2, 4)), ted=Reads(hidden=(4, 6)), pkd=Reads(cls=(2,)), tinybert=Reads())
    assert choice.layers == {"cls": [2], "hidden": [2, 4, 6]} and choice.left_out == {}
    assert sorted(choice.methods) == ["lwd", "pkd", "ted"]
    assert choice.sizes == {"cls": CLS, "hidden": 3 * HIDDEN}


def test_methods_that_need_least_come_first_and_the_rest_is_left_out():
    reads = {"lwd": Reads(hidden=(2, 4)), "ckd": Reads(hidden=(1, 2, 3, 4)), "pkd": Reads(cls=(1, 2))}
    budget = 2 * CLS + 2 * HIDDEN
    choice = choose(budget, **reads)
    assert choice.methods == ["pkd", "lwd"] and choice.left_out == {"ckd": 2 * HIDDEN}
    assert choose(budget - 1, **reads).methods == ["pkd"]
    assert choose(budget + 2 * HIDDEN, **reads).methods == ["pkd", "lwd", "ckd"]
    assert choose(0, **reads).methods == [] and choose(0, **reads).layers == {"cls": [], "hidden": []}


def test_half_precision_takes_half():
    choice = states.choose({"lwd": Reads(hidden=(1,))}, OFFSETS, WIDTH, "float16", HIDDEN / 2)
    assert choice.methods == ["lwd"] and choice.sizes["hidden"] == HIDDEN // 2


layers = st.lists(st.integers(0, 6), max_size=5).map(lambda found: tuple(sorted(set(found))))


@given(
    reads=st.dictionaries(st.sampled_from("abcdef"), st.builds(Reads, cls=layers, hidden=layers)),
    budget=st.integers(0, 12 * HIDDEN),
)
def test_a_choice_is_within_the_budget_and_complete_for_whom_it_names(reads, budget):
    choice = choose(budget, **reads)
    total = CLS * len(choice.layers["cls"]) + HIDDEN * len(choice.layers["hidden"])
    assert total == sum(choice.sizes.values()) <= budget
    assert set(choice.methods) | set(choice.left_out) == {name for name, wanted in reads.items() if wanted}
    for kind in states.KINDS:
        wanted = {layer for name in choice.methods for layer in getattr(reads[name], kind)}
        assert choice.layers[kind] == sorted(wanted)
    for size in choice.left_out.values():
        assert size > 0


def test_the_line_says_what_is_kept_its_size_and_who_runs_the_teacher():
    choice = choose(CLS, pkd=Reads(cls=(2,)), lwd=Reads(hidden=(4,)))
    line = states.describe(choice, 2_500_000, 0.5)
    assert line == (
        "logits (2.5 MB), first-token states of layers 2 (0.0 MB) for pkd; over cache.max_gb 0.5, so with the teacher"
        " running along: lwd (0.0 MB more)"
    )
    assert states.describe(choose(0), 3_000_000_000, 4) == "logits (3.0 GB)"
