"""Build, initialise, run, save and load encoders. Any architecture of transformers that has the task's head."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.utils.logging import disable_progress_bar

from distill.config.schema import Model
from distill.data.loading.batches import MULTIPLE
from distill.errors import UserError
from distill.models.forward import forward_pass, in_eval
from distill.runtime.checkpoints import tensor_hash
from distill.tasks.base import Task

# The stages report what they load and save themselves. A checkpoint without the task's head is the usual case, and one
# that lacks more is refused in one line: transformers' report is let through only where it explains another error.
disable_progress_bar()
logging.getLogger("transformers.modeling_utils").addFilter(
    lambda record: "LOAD REPORT" not in (text := record.getMessage()) or "CONVERSION" in text
)

# Every encoder of transformers numbers its layers as `….layer.<i>.…` or `….layers.<i>.…`.
LAYER = re.compile(r"^(.*\.layers?\.)(\d+)(\..*)$")


def build(spec: Model, task: Task, tokenizer: PreTrainedTokenizerBase, seed: int, where: str) -> PreTrainedModel:
    """A model from a checkpoint, or of the given shape with random weights.

    Weights are float32 whatever the checkpoint stores: half-precision weights train to NaN.

    Args:
        where: the section's name, for error messages.
    """
    set_seed(seed)
    if spec.path is not None:
        model = from_pretrained(spec.path, task, spec.revision, spec.config, where)
        source = f"path: {spec.path!r}"
    else:
        fields = {
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            **task.model_fields(),
            **spec.config,
        }
        kind = fields.pop("model_type")
        try:
            check_fields(AutoConfig.for_model(kind), spec.config, where)
            model = task.auto_class().from_config(AutoConfig.for_model(kind, **fields), dtype=torch.float32)
        except UserError:
            raise
        except Exception as error:  # shapes are checked all over transformers, by every kind of exception
            raise UserError(f"params.yaml: {where}.model.config: {_reason(error)}: correct the shape") from error
        source = "config"
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise UserError(
            f"params.yaml: {where}.model.{source} has {rows} embeddings, the tokenizer {len(tokenizer)} tokens: set"
            " features.tokenizer.path to the model's own, or take vocab_size out of model.config"
        )
    return model


def from_pretrained(
    path: str, task: Task, revision: str | None = None, fields: dict[str, Any] | None = None, where: str = ""
) -> PreTrainedModel:
    """Load a local folder or hub id, float32, without running any code that came with it.

    Safetensors are preferred; for the few encoders that only have a pickle (microsoft/deberta-v3-base is one),
    transformers reads tensors and nothing else (``weights_only``).

    Args:
        fields: fields of the configuration, in place of the checkpoint's.
        where: the section's name, for error messages; empty for a model that a stage has made.

    Raises:
        UserError: it cannot be loaded, or its weights are not those of an encoder of this shape.
    """
    configuration(path, revision, fields, where)
    # Models that a stage has made have the task's head; other checkpoints may have the head of another task.
    fields = {**(task.model_fields() if where else {}), **(fields or {})}
    with _readable(path, revision, where):
        model, report = task.auto_class().from_pretrained(
            path,
            revision=revision,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # checked below
            **fields,
        )
    encoder = f"{model.base_model_prefix}."
    if wrong := [keys for keys in report["mismatched_keys"] if keys[0].startswith(encoder) or not where]:
        name, stored, needed = min(wrong)
        field, fix = path, f"`dvc checkout {path}`"
        if where:
            field, fix = f"params.yaml: {where}.model.config", f"take from {where}.model.config what changes the shape"
        raise UserError(
            f"{field}: the weights in {path!r} are not of the shape that its configuration says: {name} is"
            f" {tuple(stored)}, not {tuple(needed)}: {fix}"
        )
    # A pooler belongs to the head: checkpoints that were trained without one are the usual case.
    if missing := sorted(n for n in report["missing_keys"] if n.startswith(encoder) and ".pooler." not in n):
        raise UserError(
            f"params.yaml: {where}.model: {path!r} has no weights for {len(missing)} parameters of the encoder"
            f" ({missing[0]}, …): they would be random: take from {where}.model.config what changes the shape"
        )
    return model


def configuration(
    path: str, revision: str | None, fields: dict[str, Any] | None = None, where: str = ""
) -> PretrainedConfig:
    """The configuration of a local folder or hub id, without running any code that came with it."""
    with _readable(path, revision, where):
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    check_fields(config, fields or {}, where)
    config.update(fields or {})
    return config


@contextlib.contextmanager
def _readable(path: str, revision: str | None, where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # damaged files, pickles with code, network trouble: each has exceptions of its own
        field = f"params.yaml: {where}.model.path: " if where else ""
        fix = "name a transformers checkpoint that is here, or can be downloaded" if where else f"`dvc checkout {path}`"
        raise UserError(f"{field}cannot load {path!r} (revision {revision}): {_reason(error)}: {fix}") from error


def _reason(error: Exception) -> str:
    """The first sentence: transformers goes on with advice, such as to run code that came with a checkpoint."""
    return re.split(r"(?<!\b[A-Z])\.\s+(?=[A-Z])", " ".join(str(error).split()))[0][:300]


def check_fields(config: PretrainedConfig, fields: dict[str, Any], where: str) -> None:
    kind = fields.get("model_type", config.model_type)
    if kind != config.model_type:
        raise UserError(
            f"params.yaml: {where}.model.config.model_type: {kind!r}, but {where}.model.path holds a"
            f" {config.model_type}: take model_type, and all that is not to change, out of {where}.model.config"
        )
    # Some fields are declared nowhere and only looked up in passing (DeBERTa's norm_rel_ebd, share_att_key).
    code = importlib.import_module(type(config).__module__.replace(".configuration_", ".modeling_"))
    for name in fields:
        if not hasattr(config, name) and f'getattr(config, "{name}"' not in inspect.getsource(code):
            raise UserError(f"params.yaml: {where}.model.config.{name}: {config.model_type} has no such field")


def check_window(model: PreTrainedModel, task: Task, tokens: int, token_id: int, where: str) -> None:
    """Try the longest window once, before hours of training meet it.

    Args:
        tokens: length of the longest window.
        token_id: any token that is not padding.
        where: the section's name, for the error message.

    Raises:
        UserError: the model has fewer positions.
    """
    width = -(-tokens // MULTIPLE) * MULTIPLE
    ids = torch.full((1, width), token_id, device=model.device)
    try:
        with torch.no_grad(), in_eval(model):
            forward_pass(model, task, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    except (IndexError, RuntimeError) as error:
        positions = getattr(model.config, "max_position_embeddings", "unknown")
        raise UserError(
            f"params.yaml: features.max_length: windows of {tokens} tokens, {width} in a batch, do not fit the {where}"
            f" (max_position_embeddings {positions}; {_reason(error)}): lower features.max_length, or choose a model"
            " with more positions"
        ) from error


def check_token_types(model: PreTrainedModel, columns: Sequence[str], where: str) -> None:
    """Raise a UserError where the model tells two texts apart by token types and the features have none.

    A vocabulary may be the same while the tokenizer is not: DistilBERT's makes no token types, BERT learnt with them.

    Args:
        columns: columns of the features.
        where: the section's name, for the error message.
    """
    kinds = getattr(model.config, "type_vocab_size", 0) or 0
    if kinds > 1 and "token_type_ids" not in columns:
        raise UserError(
            f"params.yaml: features.tokenizer.path: this tokenizer makes no token types, but the {where}"
            f" ({model.config.model_type}) has {kinds} and tells the two texts apart by them: name its own tokenizer"
        )


def num_layers(config: PretrainedConfig) -> int:
    """Number of transformer layers."""
    return config.num_hidden_layers


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """A plain transformers checkpoint: configuration, safetensors, tokenizer."""
    model.config.name_or_path = ""  # the path it was built from differs between machines and runs
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def check_different(student: nn.Module, teacher: Mapping[str, str], source: Path, where: str = "student") -> None:
    """Raise a UserError where the student is the teacher, weight for weight: there would be nothing to learn.

    Args:
        teacher: hashes of the teacher's tensors (`runtime.checkpoints.tensor_hashes`).
        source: the teacher's folder, for the error message.
        where: the student's section, for the error message.
    """
    weights = student.state_dict()
    if set(weights) != set(teacher):
        return
    if all(tensor_hash(tensor.detach().cpu().numpy()) == teacher[name] for name, tensor in weights.items()):
        raise UserError(
            f"params.yaml: {where}.model: student and teacher ({source}) have identical weights: give the student"
            " another checkpoint, or fewer layers"
        )
