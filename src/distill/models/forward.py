"""Running a model: inputs that it takes, outputs as tasks and methods read them, precision and mode."""

from __future__ import annotations

import contextlib
import inspect
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from distill.models import attention_scores as scores
from distill.models.query_key_value import Collected, QueryKeyValue
from distill.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS: ContextVar[Counter[PreTrainedModel] | None] = ContextVar("rows", default=None)


@dataclass
class Outputs:
    """What a forward pass gives.

    Attributes:
        logits: logits of the task, (B, L, C) or (B, C).
        hidden: if requested, the hidden states (B, L, D), embeddings first.
        attention: if requested, each layer's attention scores before the softmax, (B, heads, L, L).
        qkv: if requested, each layer's queries, keys and values, (B, L, width) each.
    """

    logits: Tensor
    hidden: tuple[Tensor, ...] | None = None
    attention: tuple[Tensor, ...] | None = None
    qkv: tuple[QueryKeyValue, ...] | None = None


def forward_pass(
    model: PreTrainedModel,
    task: Task,
    batch: dict[str, Tensor],
    hidden: bool = False,
    attention: bool = False,
    embeddings: Tensor | None = None,
    qkv: bool = False,
) -> Outputs:
    """One forward pass on the columns that this model takes (DistilBERT, for one, takes no token types).

    Token types that the model has not are 0.

    Args:
        attention: also the attention scores (see `distill.models.attention_scores`; the model is switched to eager
            attention).
        embeddings: word embeddings (B, L, width of the embeddings) in place of `input_ids`; what the model adds to
            them (positions, token types) it adds to these too.
        qkv: also the queries, keys and values (see `distill.models.query_key_value`).
    """
    if (rows := _ROWS.get()) is not None:
        rows[model] += len(batch["attention_mask"])
    accepted = _arguments(type(model))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch and name in accepted}
    if "token_type_ids" in batch and reads_token_types(model):
        inputs["token_type_ids"] = token_types(model, batch["token_type_ids"])
    if embeddings is not None:
        del inputs["input_ids"]
        inputs["inputs_embeds"] = embeddings
    if not attention and not qkv:
        with _repaired(model):
            outputs = model(**inputs, output_hidden_states=hidden, return_dict=True)
        return Outputs(task.logits(outputs), outputs.hidden_states if hidden else None)
    if attention:
        scores.prepare(model)
    with contextlib.ExitStack() as stack:
        for context in (uncompiled(model), _repaired(model)):
            stack.enter_context(context)
        layers = stack.enter_context(scores.Scores()) if attention else None
        states = stack.enter_context(Collected(model)) if qkv else None
        outputs = model(**inputs, output_hidden_states=hidden, return_dict=True)
    return Outputs(
        task.logits(outputs),
        outputs.hidden_states if hidden else None,
        scores.check(layers.scores, model) if attention else None,
        states.states(*batch["attention_mask"].shape) if qkv else None,
    )


@contextlib.contextmanager
def counted() -> Iterator[Counter[PreTrainedModel]]:
    """Rows that pass each model in the block, by `forward_pass`; a row that passes twice counts twice."""
    rows: Counter[PreTrainedModel] = Counter()
    token = _ROWS.set(rows)
    try:
        yield rows
    finally:
        _ROWS.reset(token)


def uncompiled(model: PreTrainedModel) -> contextlib.AbstractContextManager:
    """The plain forward pass: a compiled one hides its function calls from `Scores`, and its modules from hooks."""
    if model._compiled_call_impl is None:
        return contextlib.nullcontext()  # set_stance imports the compiler
    return torch.compiler.set_stance("force_eager")


def reads_token_types(model: PreTrainedModel) -> bool:
    """Whether the model tells texts apart by token types: it takes them, and has more than one.

    A RoBERTa has a single type; other types than 0 are outside its table. XLNet compares types and states no number.
    """
    count = getattr(model.config, "type_vocab_size", None)
    return "token_type_ids" in _arguments(type(model)) and (count is None or count > 1)


def token_types(model: PreTrainedModel, kinds: Tensor) -> Tensor:
    """Token types (B, L) as the model has them: those outside its table become 0 (Funnel's tokenizer makes a third)."""
    count = getattr(model.config, "type_vocab_size", None)
    return kinds if count is None else torch.where(kinds < count, kinds, 0)


class _LimitedFill(TorchFunctionMode):
    """Fills with no value below the least of the tensor's dtype."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is Tensor.masked_fill and len(args) == 3 and isinstance(args[2], float):
            args = (*args[:2], max(args[2], torch.finfo(args[0].dtype).min))
        return func(*args, **(kwargs or {}))


def _repaired(model: PreTrainedModel) -> contextlib.AbstractContextManager:
    """DeBERTa (the first) masks scores with float32's least number, which is outside bfloat16 under autocast."""
    return _LimitedFill() if model.config.model_type == "deberta" else contextlib.nullcontext()


@cache
def _arguments(kind: type[PreTrainedModel]) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)


def autocast(device: torch.device | str, precision: str) -> contextlib.AbstractContextManager:
    """bfloat16 autocast for `bf16`; for `fp32` none, also where a student around it trains in bf16."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def freeze(model: nn.Module) -> nn.Module:
    """Evaluation mode and no gradients."""
    return model.eval().requires_grad_(False)


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def in_eval(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time of the block."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
