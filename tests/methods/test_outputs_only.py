"""A teacher that is known by its outputs alone: logit methods take it, the others are refused with the reason."""

import pytest

from distill import parameters
from distill.errors import UserError
from distill.methods import outputs_only, registry

STORED = {"teacher.source": "predictions", "teacher.predictions": "stored.jsonl"}
TAKEN = {"ft", "adv", "kd", "dist", "rkd", "rw_kd", "annealing", "freelb", "tfkd_self", "tfkd_reg", "born_again"}
REASONS = {
    "alp": "reads the teacher's hidden states",
    "cilda": "needs the model itself",
    "ckd": "reads the teacher's hidden states",
    "combined": "needs the model itself",
    "context": "reads the teacher's hidden states",
    "hidden": "reads the teacher's hidden states",
    "knn": "needs the teacher's logits for neighbours of the training texts",
    "lwd": "reads the teacher's hidden states",
    "mate": "needs the model itself",
    "minimax_knn": "needs the teacher's logits for neighbours of the training texts",
    "pkd": "reads the teacher's hidden states",
    "rail": "reads the teacher's hidden states",
    "relation": "needs attention scores",
    "takd": "needs an assistant that starts with layers of the teacher (assistant.chain.0.init)",
    "ted": "reads the teacher's hidden states",
    "tinybert": "needs attention scores",
}


def load(root, **changes):
    return parameters.load(root / "tests/params.yaml", STORED | {"methods": ["ft"]} | changes)


def test_every_method_is_taken_or_has_its_reason(root):
    # The parameters refuse pro_kd before: see test_pro_kd.
    params = load(root, methods=[*TAKEN, *REASONS])
    found = {name: outputs_only.reason(name, params) for name in params.methods}
    assert {name for name, why in found.items() if not why} == TAKEN
    assert {name: why for name, why in found.items() if why} == REASONS


def test_all_that_is_refused_is_named_at_once(root):
    params = load(root, methods=["ft", "kd", "lwd", "mate"])
    with pytest.raises(UserError) as error:
        outputs_only.check(params)
    assert str(error.value) == (
        "params.yaml: teacher.source is 'predictions', which has the teacher's outputs and no model: 'lwd' reads the"
        " teacher's hidden states; 'mate' needs the model itself: take them out of methods, or set teacher.source to"
        " model"
    )
    outputs_only.check(load(root, methods=["ft", "kd"]))


def test_copies_and_starts_with_the_teachers_layers_are_refused(root):
    copies = load(root, methods=["ft", "kd", "tfkd_reg"], **{"augment.methods": ["kd"]})
    assert outputs_only.reason("kd", copies).startswith("learns from augmented copies")
    layers = load(root, **{"distill.init": "teacher_layers"})
    with pytest.raises(UserError, match="'ft' starts with layers of the teacher"):
        outputs_only.check(layers)
    with pytest.raises(UserError, match="student.init is 'teacher_layers': set it to random or pretrained"):
        outputs_only.check(load(root, **{"student.init": "teacher_layers"}))


def test_an_assistant_with_a_start_of_its_own_is_taken(root):
    params = load(root, methods=["takd"])
    (link,) = params.assistant.chain
    own = link.model_copy(update={"init": "random", "model": params.student.model})
    assistant = params.assistant.model_copy(update={"chain": [own, link]})
    outputs_only.check(params.model_copy(update={"assistant": assistant}))


def test_a_model_is_never_refused(root):
    changes = {"methods": registry.available(), "teacher.snapshots": 2}
    outputs_only.check(parameters.load(root / "tests/params.yaml", changes))
