"""What methods that compare attention ask of two models: numbers of heads, and kernels that hide no scores."""

from __future__ import annotations

from distill.config.params import Params
from distill.errors import UserError
from distill.models import layer_maps


def check_heads(name: str, rule: str, student: int, teacher: int) -> None:
    """Raise a UserError where heads are compared one by one and their numbers differ.

    Args:
        name: the method's.
        rule: `match`, or `mean` for a mean over heads.
        student, teacher: numbers of heads.
    """
    if rule == "match" and student != teacher:
        raise UserError(
            f"params.yaml: {name}.heads: 'match' compares attention head by head, but the student has {student} heads"
            f" and the teacher {teacher}: give both the same number, or set {name}.heads to mean"
        )


def check_kernel(params: Params, name: str, what: str) -> None:
    """Raise a UserError where a fast kernel computes DeBERTa's attention without what a method compares.

    Args:
        name: the method's.
        what: what it compares, for the message.
    """
    if params.runtime.attention != "disentangled_flash":
        return
    shaped = [params.teacher.model, *([] if layer_maps.is_copied(params) else [params.student.model])]
    kinds = {layer_maps.configured(model).get("model_type") for model in shaped}
    if kinds & {"deberta-v2", None}:  # the kernel leaves others as they are; a checkpoint of the hub may be either
        raise UserError(
            f"params.yaml: runtime.attention: 'disentangled_flash' computes DeBERTa's attention without the {what}"
            f" that {name} compares: set it to auto, or take {name} out of `methods`"
        )
