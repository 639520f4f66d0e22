"""Which methods can learn from a teacher that is known by its outputs over the training rows alone, and why not.

Stored predictions (teacher.source: predictions) are such a teacher: there is no model to run, and no hidden state.
"""

from __future__ import annotations

from distill.config.params import Params
from distill.errors import UserError
from distill.methods import registry, requirements
from distill.methods.base import Method

_LAYERS = "starts with layers of the teacher"


def check(params: Params) -> None:
    """Refuse what needs the teacher's model where there is none.

    Raises:
        UserError: a listed method, or a model's start, needs more than the teacher's outputs; all are named, each with
            its reason.
    """
    if params.teacher.source == "model":
        return
    where = f"params.yaml: teacher.source is {params.teacher.source!r}, which has the teacher's outputs and no model:"
    if params.student.init == "teacher_layers":
        raise UserError(f"{where} student.init is 'teacher_layers': set it to random or pretrained")
    refused = {name: why for name in params.methods if (why := reason(name, params))}
    if refused:
        listed = "; ".join(f"{name!r} {why}" for name, why in refused.items())
        raise UserError(f"{where} {listed}: take them out of methods, or set teacher.source to model")


def reason(name: str, params: Params) -> str:
    """Why a listed name cannot learn from outputs alone; empty: it can.

    Args:
        name: a method's or a variant's.
    """
    kind, resolved = registry.load(params.method_of(name)), params.resolved(name)
    if kind.start(resolved) == "teacher_layers":
        return f"{_LAYERS} (init)"
    if "assistant" in kind.artifacts and params.assistant.chain[0].init == "teacher_layers":
        return f"needs an assistant that {_LAYERS} (assistant.chain.0.init)"
    if kind.taught_by != "teacher" or not kind.needs:
        return ""
    if name in params.augment.methods:
        return "learns from augmented copies, which the outputs are not of (augment.methods)"
    return _reason_of_needs(kind)


def _reason_of_needs(kind: type[Method]) -> str:
    for need, what in requirements.NOT_KEPT.items():
        if need in kind.needs:
            return f"needs {what}"
    if kind.needs - {"logits"}:
        return "reads the teacher's hidden states"
    if "candidates" in kind.artifacts:
        return "needs the teacher's logits for neighbours of the training texts"
    return ""
