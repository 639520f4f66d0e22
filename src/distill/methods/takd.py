"""takd: distillation through a teacher assistant (Mirzadeh et al. 2020, arXiv 1902.03393).

A student much smaller than its teacher learns more from a model of a size between the two, which learnt from the
teacher before. The assistants are trained by stage `distill_assistant` (section `assistant`): a chain of any length
from the teacher down, each model by this method's formula. The student then learns from the last of them:

`task_weight · task + kl_alpha · T² · KL(assistant/T ‖ student/T)`.

The paper takes (1 − λ) · task + λ · soft, with λ and T chosen for each experiment.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError

from distill.config import model_tokenizers
from distill.config.explain import explain
from distill.config.params import Params
from distill.config.schema import Section
from distill.errors import UserError
from distill.losses.weights import Weight
from distill.methods.shared.soft_targets import SoftTargets
from distill.models import layer_maps
from distill.models.layer_maps import Counts


class Config(Section):
    """Section `takd`: the last step, from the last assistant to the student."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]


class AssistedDistillation(SoftTargets):
    """Task loss and the soft targets of an assistant (or, for an assistant, of the model before it in the chain)."""

    Config = Config
    artifacts = ("assistant",)
    taught_by = "assistant"

    @classmethod
    def check(cls, params: Params) -> None:
        """Besides `fits`: no assistant may have a vocabulary of its own, and their loss weights must be valid.

        Raises:
            ValueError: with field, value and fix.
        """
        for number, link in enumerate(params.assistant.chain):
            if model_tokenizers.of(params, "student").path is None and link.model.path is not None:
                where = model_tokenizers.field(params, "student")
                raise ValueError(
                    f"{where}.path is null (train a new vocabulary) but assistant.chain.{number}.model.path is"
                    f" {link.model.path!r}, which has its own: set {where}.path to {link.model.path!r}"
                )
        try:
            assistants_config(params)
        except ValidationError as error:
            raise ValueError("; ".join(explain(error, cls.Config, "assistant"))) from error
        super().check(params)

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """No assistant may take more layers than the model that it copies has."""
        above, where = None, "the teacher"
        for number, link in enumerate(params.assistant.chain):
            layers = link.num_layers or (len(link.layers) if isinstance(link.layers, list) else None)
            layers = layers or layer_maps.stated_by(link.model)
            if link.init == "teacher_layers" and layers:
                above = count("teacher", "layers") if number == 0 else above
                if above and layers > above:
                    raise UserError(
                        f"params.yaml: assistant.chain.{number} takes {layers} layers of {where}, which has {above}:"
                        " lower its number of layers, or choose another init"
                    )
            above, where = layers, f"assistant.chain.{number}"


def assistants_config(params: Params) -> Config:
    """The weights and the temperature of section `assistant`, by which every assistant learns."""
    return Config.model_validate({name: getattr(params.assistant, name) for name in Config.model_fields})


METHOD = AssistedDistillation
