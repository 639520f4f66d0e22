"""Build, initialise, run, save and load encoders. Any architecture of transformers that has the task's head."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.utils.logging import disable_progress_bar

from distill.config.schema import Model
from distill.data.loading import class_names, ready, template
from distill.errors import UserError, reason
from distill.models import class_order
from distill.models.forward import reads_token_types
from distill.models.shape import FAMILY_FIELDS, check_sizes
from distill.runtime import hub
from distill.runtime.checkpoints import CHECKSUMS, check_index, seal, tensor_hash
from distill.tasks.base import Task

# The stages report what they load and save themselves. A checkpoint without the task's head is the usual case, and one
# that lacks more is refused in one line: transformers' report is let through only where it explains another error.
disable_progress_bar()
logging.getLogger("transformers.modeling_utils").addFilter(
    lambda record: "LOAD REPORT" not in (text := record.getMessage()) or "CONVERSION" in text
)

# Every encoder of transformers numbers its layers as `….layer.<i>.…` or `….layers.<i>.…`.
LAYER = re.compile(r"^(.*\.layers?\.)(\d+)(\..*)$")

#: Receives a remark for the user.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Ready:
    """A checkpoint that is taken as it is: what lacks is refused, nothing is drawn.

    Attributes:
        labels: names of its head's rows in their order; None: those of its configuration.
    """

    labels: Sequence[str] | None = None


def build(
    spec: Model,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    where: str,
    say: Say | None = None,
    head: Ready | None = None,
) -> PreTrainedModel:
    """A model from a checkpoint, or of the given shape with random weights.

    Weights are float32 whatever the checkpoint stores: half-precision weights train to NaN.

    Args:
        where: the section's name, for error messages.
        say: receives remarks on the checkpoint's head.
        head: for a checkpoint that is not trained any more; None: a head that does not fit is drawn anew.
    """
    set_seed(seed)
    if spec.path is not None:
        model = from_pretrained(spec.path, task, spec.revision, spec.config, where, say, head)
        silence_padding(model, tokenizer.pad_token_id)
        source = f"path: {spec.path!r}"
    else:
        fields = {
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            **task.model_fields(),
            **FAMILY_FIELDS.get(spec.config["model_type"], {}),
            **spec.config,
        }
        kind = fields.pop("model_type")
        try:
            check_fields(AutoConfig.for_model(kind), spec.config, where)
            config = AutoConfig.for_model(kind, **fields)
            check_sizes(config, f"params.yaml: {where}.model.config", "correct it")
            model = task.auto_class().from_config(config, dtype=torch.float32)
        except UserError:
            raise
        except Exception as error:  # shapes are checked all over transformers, by every kind of exception
            raise UserError(f"params.yaml: {where}.model.config: {reason(error)}: correct the shape") from error
        source = "config"
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise UserError(
            f"params.yaml: {where}.model.{source} has {rows} embeddings, the tokenizer {len(tokenizer)} tokens: set"
            " features.tokenizer.path to the model's own, or take vocab_size out of model.config"
        )
    return model


def from_pretrained(
    path: str,
    task: Task,
    revision: str | None = None,
    fields: dict[str, Any] | None = None,
    where: str = "",
    say: Say | None = None,
    head: Ready | None = None,
) -> PreTrainedModel:
    """Load a local folder or hub id, float32, without running any code that came with it.

    Safetensors are preferred; for the few encoders that only have a pickle (microsoft/deberta-v3-base is one),
    transformers reads tensors and nothing else (``weights_only``).

    Args:
        fields: fields of the configuration, in place of the checkpoint's. `id2label` names the rows of its head.
        where: the section's name, for error messages; empty for a model that a stage has made.
        say, head: see `build`.

    Raises:
        UserError: it cannot be loaded, its weights are not those of an encoder of this shape, or its head's classes are
            others than the data's.
    """
    stored = configuration(path, revision, fields, where)
    # Models that a stage has made have the task's head; other checkpoints may have the head of another task.
    needed = task.model_fields() if where else {}
    fields = {**(FAMILY_FIELDS.get(stored.model_type, {}) if where else {}), **(fields or {})}
    fields = {**fields, **needed} if "id2label" in needed else {**needed, **fields}
    with _readable(path, revision, where):
        config, unused = AutoConfig.from_pretrained(
            path, revision=revision, trust_remote_code=False, return_unused_kwargs=True, **fields
        )
        # Some fields are read by the model and not declared by its configuration (DeBERTa's cls_dropout).
        config.update({name: value for name, value in fields.items() if name in unused})
        model, report = task.auto_class().from_pretrained(
            path,
            config=config,
            revision=revision,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # checked below
        )
    encoder = f"{model.base_model_prefix}."
    if wrong := [keys for keys in report["mismatched_keys"] if keys[0].startswith(encoder) or not where]:
        name, has, should = min(wrong)
        field, fix = path, f"`dvc checkout {path}`"
        if where:
            field, fix = f"params.yaml: {where}.model.config", f"take from {where}.model.config what changes the shape"
        raise UserError(
            f"{field}: the weights in {path!r} are not of the shape that its configuration says: {name} is"
            f" {tuple(has)}, not {tuple(should)}: {fix}"
        )
    # A pooler belongs to the head: checkpoints that were trained without one are the usual case.
    if missing := sorted(n for n in report["missing_keys"] if n.startswith(encoder) and ".pooler." not in n):
        raise UserError(
            f"params.yaml: {where}.model: {path!r} has no weights for {len(missing)} parameters of the encoder"
            f" ({missing[0]}, …): they would be random: take from {where}.model.config what changes the shape"
        )
    say = say or (lambda text: None)
    if head is not None:
        _take_head(model, task, report, stored, path, where, say, head)
    elif where:
        _fit_head(model, task, report, stored, path, where, say)
    return model


def _take_head(
    model: PreTrainedModel,
    task: Task,
    report: Mapping[str, Any],
    stored: PretrainedConfig,
    path: str,
    where: str,
    say: Say,
    head: Ready,
) -> None:
    """Put the rows of a ready head in the order of the data's classes; the head must be there, its pooler too."""
    ready.check_head(stored, task.name, path, where)
    if missing := min(report["missing_keys"], default=None):
        ready.refuse(f"it has no {missing}", task.name, path, where)
    classes = list(task.model_fields().get("id2label", {}).values())
    has_classes = len(classes) > 1  # one: a number
    chosen = ready.order(stored, head.labels, classes, path, where) if has_classes else []
    if other := min(report["mismatched_keys"], default=None):
        ready.refuse(f"its head has {other[1][0]} outputs, not {other[2][0]}", task.name, path, where)
    rows = ready.names(stored, head.labels, path, where) if has_classes else []
    if remark := class_order.put(model, chosen, rows, classes, path, where):
        say(remark)


def _fit_head(
    model: PreTrainedModel,
    task: Task,
    report: Mapping[str, Any],
    stored: PretrainedConfig,
    path: str,
    where: str,
    say: Say,
) -> None:
    """Say that a head is new, or put the rows of the checkpoint's in the order of the data's classes."""
    encoder = f"{model.base_model_prefix}."
    new = {keys[0] for keys in report["mismatched_keys"]} | set(report["missing_keys"])
    if new := sorted(name for name in new if not name.startswith(encoder)):
        other = next((keys for keys in report["mismatched_keys"] if keys[0] in new), None)
        why = f"its head has {other[1][0]} outputs, not {other[2][0]}" if other else f"it has none for task {task.name}"
        say(f"{where}: {path!r}: {why}: a new head ({new[0]}, …) is drawn from the seed")
        return
    classes = list(task.model_fields().get("id2label", {}).values())
    if len(classes) < 2:
        return  # a number, or positions
    try:
        rows = class_names.named(stored.id2label)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"params.yaml: {where}.model: id2label of {path!r} cannot be read ({error}): give {where}.model.config one,"
            f" as id2label: {{0: {classes[0]}, …}}"
        ) from error
    if len(rows) != len(classes):
        raise UserError(
            f"params.yaml: {where}.model: id2label of {path!r} names {len(rows)} classes, its head has {len(classes)}"
            f" rows: give {where}.model.config one with all of them, as id2label: {{0: {classes[0]}, …}}"
        )
    if remark := class_order.arrange(model, rows, classes, path, where):
        say(remark)


def silence_padding(model: PreTrainedModel, pad_token_id: int | None) -> None:
    """Make a MobileBERT see padding as it sees the end of a row: its tokens read their neighbours' embeddings.

    Beyond a row's ends those are zeros, and the padding's are too in a model of random weights; only checkpoints that
    were converted have others there, which no training touches.
    """
    if model.config.model_type == "mobilebert" and pad_token_id is not None:
        with torch.no_grad():
            model.get_input_embeddings().weight[pad_token_id] = 0.0


def configuration(
    path: str, revision: str | None, fields: dict[str, Any] | None = None, where: str = ""
) -> PretrainedConfig:
    """The configuration of a local folder or hub id, without running any code that came with it."""
    field = f"params.yaml: {where}.model" if where else path
    fix = f"correct {where}.model.config, or name another checkpoint" if where else f"`dvc checkout {path}`"
    check_index(Path(path), f"name another checkpoint in {where}.model.path" if where else fix)
    with _readable(path, revision, where):
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    check_fields(config, fields or {}, where)
    config.update(fields or {})
    check_sizes(config, f"{field}: {path!r}: config.json" if where else f"{path}/config.json", fix)
    return config


@contextlib.contextmanager
def _readable(path: str, revision: str | None, where: str) -> Iterator[None]:
    try:
        with hub.reading(path, revision, "model", f"{where}.model.path" if where else ""):
            yield
    except UserError:
        raise
    except Exception as error:  # damaged files, pickles with code: each has exceptions of its own
        field = f"params.yaml: {where}.model.path: " if where else ""
        fix = "name a transformers checkpoint that is here, or can be downloaded" if where else f"`dvc checkout {path}`"
        raise UserError(f"{field}cannot load {path!r} (revision {revision}): {reason(error)}: {fix}") from error


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


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """A plain transformers checkpoint: configuration, safetensors, tokenizer; and hashes of these files."""
    model.config.name_or_path = ""  # the path it was built from differs between machines and runs
    model.save_pretrained(folder)
    template.save(tokenizer, folder, typed=reads_token_types(model))
    seal(folder, CHECKSUMS)


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
