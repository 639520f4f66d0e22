"""relation: self-attention relations (MiniLMv2, Wang et al. 2021, arXiv 2012.15828), or attention transfer.

`task_weight · task + kl_alpha · soft` and, by `form`:

    relations  Σ_X w_X · KL(R_X of the teacher's layer ‖ R_X of the student's last), X ∈ {query, key, value}
    attention  attention_weight · (1/K) Σ_k KL(A_t[map(k)] ‖ A_s[k]) + value_weight · KL(R_value ‖ R_value)

R_X is softmax(X Xᵀ / √width) of the states of one layer, all heads together cut into `relation_heads` parts. A are
attention distributions. KLs are summed over keys, and means over heads and real tokens. Nothing is projected, so widths
and numbers of heads may differ; `relation_heads` divides the widths of both models.

The form `attention` is MiniLM's (Wang et al. 2020, arXiv 2002.10957) with a layer map: MiniLM compares the last layers
alone, with the value relation of as many parts as there are heads, of which both models have the same number.

Both papers distil while pre-training, without task and soft targets. Not checked against their text, for lack of it:
48 relation heads for models of width 768 and 64 for 1,024, the teacher's layer 21 of 24 (BERT-large; 19 for
RoBERTa-large) and the last of 12, equal weights of the three relations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Count, LayerMap, Section
from distill.errors import UserError
from distill.losses.relations import attention_divergence, relation_divergence
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Setup
from distill.methods.shared.attention import check_heads, check_kernel
from distill.methods.shared.soft_targets import SoftTargets
from distill.models import layer_maps, query_key_value
from distill.models.forward import Outputs
from distill.models.layer_maps import Counts
from distill.models.shape import num_layers

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Config(Section):
    """Section `relation`."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    form: Literal["relations", "attention"]
    relation_heads: Count
    query_weight: Weight
    key_weight: Weight
    value_weight: Weight
    attention_weight: Weight
    teacher_layer: Count | None
    layer_map: LayerMap
    heads: Literal["match", "mean"]


class SelfAttentionRelations(SoftTargets):
    """Task loss, soft targets, and relations of queries, keys and values, or attention itself."""

    Config = Config
    copies = True
    needs = frozenset({"logits", "attention", "qkv"})
    layer_fields = ("form", "relation_heads", "teacher_layer", "layer_map", "heads")

    @classmethod
    def check(cls, params: Params) -> None:
        """Besides `fits`: no kernel may hide attention scores, queries, keys or values."""
        super().check(params)
        check_kernel(params, "relation", "scores, queries, keys and values")

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The teacher's layer must exist; in the form `attention`, the map must fit and heads that match be as many."""
        config = params.sections["relation"]
        if layers := count("teacher", "layers"):
            _teacher_layer(config, layers)
        rule, layer_map = config.heads, config.layer_map
        if config.form == "attention":
            if heads := layer_maps.both(count, "heads"):
                check_heads("relation", rule, *heads)
            if both := layer_maps.both(count):
                layer_maps.resolve(layer_map, *both, "relation.layer_map")

    @classmethod
    def suits(cls, params: Params, configuration: Callable[[str], PretrainedConfig]) -> None:
        """Both models must have queries, keys and values, of widths that the relation heads divide."""
        for role in ("student", "teacher"):
            _check_widths(params.sections["relation"], configuration(role), role)

    @classmethod
    def takes(cls, params: Params, role: str) -> frozenset[str]:
        """Attention scores in the form `attention` alone."""
        taken = super().takes(params, role)
        return taken if params.sections["relation"].form == "attention" else taken - {"attention"}

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        for role in ("student", "teacher"):
            _check_widths(config, getattr(setup, role), role)
        student, teacher = num_layers(setup.student), num_layers(setup.teacher)
        self.teacher_layer = _teacher_layer(config, teacher)
        self.layers: list[int] = []
        if config.form == "attention":
            check_heads("relation", config.heads, setup.student.num_attention_heads, setup.teacher.num_attention_heads)
            self.layers = layer_maps.resolve(config.layer_map, student, teacher, "relation.layer_map")
        else:
            self.needs = frozenset({"logits", "qkv"})

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, `kl`, and `query`, `key` and `value`, or `attention` (mean over layers) and `value`."""
        mask = batch["attention_mask"].bool()
        own, other = student.qkv[-1], teacher.qkv[self.teacher_layer - 1]
        kinds = ("value",) if self.layers else own._fields
        relations = {
            kind: relation_divergence(getattr(own, kind), getattr(other, kind), self.config.relation_heads, mask)
            for kind in kinds
        }
        attention = [
            attention_divergence(scores, teacher.attention[layer - 1], mask, self.config.heads == "mean")
            for scores, layer in zip(student.attention or (), self.layers, strict=True)
        ]
        mean = {"attention": sum(attention) / len(attention)} if attention else {}
        return super().terms(batch, student, teacher) | mean | relations

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha`, and the weight of each term of the form."""
        kinds = ("attention", "value") if self.layers else ("query", "key", "value")
        return super().weights() | {kind: getattr(self.config, f"{kind}_weight") for kind in kinds}


def _teacher_layer(config: Config, layers: int) -> int:
    """The teacher's layer whose relations are taken.

    Raises:
        UserError: it has no such layer.
    """
    if config.teacher_layer is not None and config.teacher_layer > layers:
        raise UserError(
            f"params.yaml: relation.teacher_layer: {config.teacher_layer} is not among the teacher's 1…{layers}: choose"
            " one of them, or null for the last"
        )
    return config.teacher_layer or layers


def _check_widths(config: Config, model: PretrainedConfig, role: str) -> None:
    """Raise a UserError where a model has no queries, keys and values, or they cannot be cut into relation heads."""
    try:
        widths = query_key_value.widths(model)
    except UserError as error:
        raise UserError(f"params.yaml: methods: relation: the {role} is a {error}") from error
    compared = ("value",) if config.form == "attention" else tuple(widths or ())
    for kind in compared if widths else ():
        if widths[kind] % config.relation_heads:
            raise UserError(
                f"params.yaml: relation.relation_heads: {config.relation_heads} does not divide {widths[kind]}, the"
                f" width of the {role}'s {kind} states: choose a divisor of both models' widths"
            )


METHOD = SelfAttentionRelations
