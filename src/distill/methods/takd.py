"""takd: distillation through a teacher assistant (Mirzadeh et al. 2020, arXiv 1902.03393).

A student much smaller than its teacher learns more from a model of a size between the two, which learnt from the
teacher before. The assistants are trained by stage `distill_assistant` (section `assistant`): a chain of any length
from the teacher down, each model by this method's formula. The student then learns from the last of them:

`task_weight · task + kl_alpha · T² · KL(assistant/T ‖ student/T)`.

The paper takes (1 − λ) · task + λ · soft, with λ and T chosen for each experiment.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distill import layer_maps
from distill.config import Params
from distill.schedules import Weight
from distill.sections import Section
from distill.soft_targets import SoftTargets


class Config(Section):
    """Section `takd`: the last step, from the last assistant to the student."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]


class AssistedDistillation(SoftTargets):
    """Task loss and the soft targets of an assistant (or, for an assistant, of the model before it in the chain)."""

    Config = Config
    groups = ("assisted",)
    taught_by = "assistant"

    @classmethod
    def check(cls, params: Params) -> None:
        """Raise a ValueError where an assistant has a vocabulary of its own, or more layers than what it copies."""
        above, above_name = layer_maps.stated_depth(params.teacher.model), "the teacher"
        for number, link in enumerate(params.assistant.chain):
            where = f"assistant.chain.{number}"
            if params.features.tokenizer.path is None and link.model.path is not None:
                raise ValueError(
                    f"features.tokenizer.path is null (train a new vocabulary) but {where}.model.path is"
                    f" {link.model.path!r}, which has its own: set features.tokenizer.path to {link.model.path!r}"
                )
            own = link.num_layers or (len(link.layers) if isinstance(link.layers, list) else None)
            own = own or layer_maps.stated_depth(link.model)
            if link.init == "teacher_layers" and own and above and own > above:
                raise ValueError(
                    f"{where} takes {own} layers of {above_name}, which has {above}: lower its number of layers, or"
                    " choose another init"
                )
            above, above_name = own, where


METHOD = AssistedDistillation
