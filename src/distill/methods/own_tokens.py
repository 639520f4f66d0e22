"""Which methods can learn from a teacher that reads tokens of its own, and why not the others.

Of such a teacher, students have what stage predict_teacher writes for their own tokens: logits, and for texts, of which
both models have one row each, first-token states. Nothing else follows from it, as what a method asks for says.
"""

from __future__ import annotations

from collections.abc import Mapping

from distill.config.params import Params
from distill.errors import UserError
from distill.signals.manifest import Request


def check(params: Params, asked: Mapping[str, Request]) -> None:
    """Refuse what a teacher with a tokenizer of its own cannot give.

    Args:
        asked: the requests of the listed names (`requirements.request`).

    Raises:
        UserError: a listed name, or the student's start, needs more; all are named, each with its reason.
    """
    where = "params.yaml: teacher and student have different tokenizers (teacher.tokenizer, student.tokenizer):"
    if params.student.init == "teacher_layers":
        raise UserError(
            f"{where} student.init is 'teacher_layers', but the teacher's embeddings are of another vocabulary: set it"
            " to random or pretrained"
        )
    if refused := {name: why for name, request in asked.items() if (why := reason(request, params))}:
        listed = "; ".join(f"{name!r} {why}" for name, why in refused.items())
        raise UserError(f"{where} {listed}: take them out of methods, or give both models one tokenizer")


def reason(request: Request, params: Params) -> str:
    """Why a listed name cannot learn from a teacher with tokens of its own; empty: it can.

    Args:
        request: what it asks stage signals for.
    """
    if request.model and not request.why:
        return "starts with layers of the teacher, whose embeddings are of another vocabulary (distill.init)"
    if "assistant" in request.artifacts and params.assistant.chain[0].init == "teacher_layers":
        return (
            "needs an assistant that starts with layers of the teacher, whose embeddings are of another vocabulary"
            " (assistant.chain.0.init)"
        )
    if request.copies:
        return "learns from augmented copies, which are tokens of the student (augment.methods)"
    if "candidates" in request.artifacts:
        return "learns from neighbours of the training texts, which are tokens of the student"
    if request.states.hidden:
        return "compares the states of all tokens, one by one"
    if request.model:
        return f"runs the teacher along, on tokens of the student ({request.why.rpartition(': ')[2]})"
    if request.states.cls and params.task in ("qa", "token_classification"):
        return "compares the first token's states of windows, which are not of the same text in both tokenizers"
    return ""
