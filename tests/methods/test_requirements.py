"""What methods ask stage signals for: derived from their classes, never less than a changed parameter could need."""

import pytest

from distill import parameters
from distill.methods import registry, requirements
from distill.signals.states import Reads

COUNTS = {"student": 2, "teacher": 4}


@pytest.fixture(scope="module")
def params(root):
    names = registry.available()
    changes = {"methods": names, "augment.methods": ["rkd", "pkd"], "teacher.snapshots": 2}
    return parameters.load(root / "tests/params.yaml", changes)


def ask(name, params):
    return requirements.request(name, params, COUNTS)


def test_a_method_that_learns_from_labels_asks_for_nothing(params):
    request = ask("ft", params)
    assert request.taught_by is None and not (request.logits or request.states or request.model or request.artifacts)


def test_methods_that_need_logits_never_get_the_teacher(params):
    for name in ("kd", "annealing", "freelb", "knn"):
        request = ask(name, params)
        assert request.logits and not request.states and not request.model, name


def test_a_method_that_reads_states_gets_those_of_its_layers(params):
    assert ask("lwd", params).states == Reads(hidden=(2, 4)) and not ask("lwd", params).model
    assert ask("ted", params).artifacts == ("filters",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tinybert", "the method needs attention scores and the model itself"),
        ("mate", "the method needs the model itself"),
        ("relation", "the method needs attention scores and queries, keys and values"),
        ("rkd", "the method learns from augmented copies"),
        ("pkd", "the method learns from augmented copies"),
    ],
)
def test_who_runs_the_teacher_along_says_why(params, name, reason):
    request = ask(name, params)
    assert request.model and request.why == f"the teacher runs along: {reason}"
    assert not request.states


def test_without_the_mask_the_states_of_padding_are_needed(root):
    params = parameters.load(root / "tests/params.yaml", {"methods": ["lwd"], "lwd.mask": False})
    request = ask("lwd", params)
    assert request.model and not request.states and request.why.endswith("the states of padding too")


def test_what_decides_is_the_method_the_start_and_the_fields_of_layers(params):
    """A weight is none of it: a change of it reruns no earlier stage."""
    decides = requirements.deciding("lwd", params)
    assert decides == {"method": "lwd", "start": "finetuned", "layer_map": "uniform", "mask": True}
    # And what means nothing for some numbers of classes.
    options = {"standardize": False, "decoupled": False}
    assert requirements.deciding("kd", params) == {"method": "kd", "start": "finetuned"} | options


def test_a_variant_asks_for_what_its_own_settings_need(root):
    changes = {"methods": ["lwd", "low", "bare"], "low.method": "lwd", "low.layer_map": [1, 2], "bare.method": "lwd"}
    changes |= {"bare.mask": False, "bare.distill.init": "teacher_layers"}
    params = parameters.load(root / "tests/params.yaml", changes)
    assert ask("low", params).states == Reads(hidden=(1, 2)) and not ask("low", params).model
    assert ask("bare", params).model and not ask("bare", params).states
    assert requirements.deciding("low", params)["layer_map"] == [1, 2]
    assert requirements.deciding("bare", params) == {
        "method": "lwd",
        "start": "teacher_layers",
        "layer_map": "uniform",
        "mask": False,
    }


def test_artifacts_are_needed_where_a_listed_method_says_so(root):
    def needed(methods, copies=()):
        params = parameters.load(root / "tests/params.yaml", {"methods": methods, "augment.methods": list(copies)})
        return {name for name, needed in requirements.needed(params).items() if needed}

    assert needed(["ft", "kd", "lwd"]) == set()
    assert needed(["ted"]) == {"filters"}
    assert needed(["takd", "mate"]) == {"assistant", "generator"}
    assert needed(["knn"]) == {"candidates"}
    assert needed(["kd"], ["kd"]) == {"generator", "augmented"}
