"""A model for inference: a transformers checkpoint, or a folder that stage export made from one (ONNX, int8).

An ONNX model runs without torch: nothing imports it before a transformers checkpoint is loaded. (transformers' Auto
classes import it too, so the tokenizer of an exported folder is loaded without them.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from transformers import PreTrainedTokenizerFast

from distill.config.schema import Count
from distill.data.loading.template import with_token_types
from distill.errors import UserError
from distill.runtime import json_text

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: What an exported folder holds besides configuration and tokenizer.
SETTINGS, ONNX, INT8 = "task.json", "model.onnx", "model.int8.onnx"
#: What runs exported models; the first one unless another is asked for.
RUNTIMES = ("onnx", "openvino")

_NO_INT8 = (
    "export.int8 is none, or int8 loses more than export.max_loss (metrics/export/ says it): change them and run"
    " `dvc repro`, or leave out --int8"
)

# Tokens of a window where neither the model nor its tokenizer has a longest one (XLNet).
_LONGEST = 512

# Rows of a forward pass: more gain little on a CPU.
_BATCH = 16

Run = Callable[[dict[str, np.ndarray]], np.ndarray]


class Settings(BaseModel):
    """How a model is run: `task.json` of an exported folder. Fields that a task does not use are null.

    Attributes:
        max_length: most tokens in a row, special tokens included.
        doc_stride: tokens that neighbouring windows share, of tasks with windows.
        n_best, max_answer_length: question answering; see `data.features.question_features` and `tasks.spans`.
        threshold: bound on the null odds in question answering, above which there is no answer; null: there always is
            one (SQuAD v1.1).
        pairs: whether the model takes two texts; null: unknown.
        temperature: divisor of the scores before they become confidences; 1: none.
        labels: names of the classes.
        scheme: of the tags in token classification, read in strict mode (`tasks.entities`); null: default mode.
        offsets: of the classes' log-probabilities, tuned on the selection split (`tasks.decision`); null: none.
        thresholds: several labels: the probability above which each class is said, at temperature 1, tuned on the
            selection split (`tasks.thresholds`); null: none.
        int8_runtimes: those in which the int8 model was scored at its export; null: an older export does not say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: Literal["qa", "classification", "regression", "multi_label", "token_classification", "ranking"]
    max_length: Count
    doc_stride: Annotated[int, Field(ge=0)] | None
    n_best: Count | None
    max_answer_length: Count | None
    threshold: float | None
    pairs: bool | None
    temperature: Annotated[float, Field(gt=0)] | None
    labels: list[str]
    offsets: list[float] | None = None
    thresholds: list[Annotated[float, Field(gt=0, lt=1)]] | None = None
    scheme: str | None = None
    int8_runtimes: list[str] | None = None

    @model_validator(mode="after")
    def _has_a_number_for_each_class(self) -> Settings:
        for name in ("offsets", "thresholds"):
            if (values := getattr(self, name)) is not None and len(values) != len(self.labels):
                raise ValueError(f"{len(values)} {name} for {len(self.labels)} labels")
        return self


@dataclass
class Model:
    """A model with its settings and its tokenizer.

    Attributes:
        run: function from a padded batch (int64 arrays (B, L)) to float32 logits, (B, L, 2) in question answering, (B,
            L, C) in token classification, else (B, C).
    """

    settings: Settings
    tokenizer: PreTrainedTokenizerFast
    run: Run

    def logits(self, features: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """The logits of all rows, in their order.

        Args:
            features: columns of `question_features.schema`, `word_features.schema` or `text_features.schema` in
                `data.features`.

        Returns:
            (float32 logits (tokens, C), one row of features after another, or (rows, C); int64 offsets (rows + 1,))
        """
        lengths = features.column("length").to_numpy().astype(np.int64)
        per_token = self.settings.task in ("qa", "token_classification")
        offsets = np.concatenate([[0], np.cumsum(lengths if per_token else np.ones_like(lengths))])
        parts: list[np.ndarray | None] = [None] * len(lengths)
        for rows, batch in batches(features, self.tokenizer.pad_token_id, _BATCH):
            for row, values in zip(rows, self.run(batch), strict=True):
                parts[row] = values[: lengths[row]] if per_token else values[None]
        return np.concatenate(parts).astype(np.float32, copy=False), offsets


def batches(features: pa.Table, pad_token_id: int, size: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Row numbers (B,) and padded batches (int64, (B, L)), longest rows first."""
    lengths = features.column("length").to_numpy().astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    fills = {"input_ids": pad_token_id, "token_type_ids": 0}
    flat = {
        name: np.asarray(features.column(name).combine_chunks().flatten(), dtype=np.int64)
        for name in fills
        if name in features.column_names
    }
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        place = np.arange(lengths[rows].max())
        real = place < lengths[rows][:, None]
        index = np.where(real, starts[rows][:, None] + place, 0)
        batch = {name: np.where(real, values[index], fills[name]) for name, values in flat.items()}
        yield rows, batch | {"attention_mask": real.astype(np.int64)}


def onnx_session(file: Path, threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    Args:
        threads: None: one for each core.

    Raises:
        UserError: the file is missing or no ONNX model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors only: remarks on single operators do not help the user
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for every fault
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: cannot be loaded ({reason}): export the model again, or `dvc checkout`") from error


def onnx_run(session: Any) -> Run:
    """A session as `Model.run`."""
    names = [item.name for item in session.get_inputs()]
    return stacked(names, lambda batch: session.run(None, {name: batch[name] for name in names}))


def stacked(names: Sequence[str], outputs: Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]) -> Run:
    """An exported model as `Model.run`: start and end logits are stacked.

    Args:
        names: names of its inputs, which batches must have.
        outputs: function from a batch to the model's outputs.
    """

    def run(batch: dict[str, np.ndarray]) -> np.ndarray:
        if missing := [name for name in names if name not in batch]:
            raise UserError(f"the model needs {missing[0]}, which its tokenizer does not make: export it again")
        found = outputs(batch)
        return found[0] if len(found) == 1 else np.stack(found, -1)

    return run


def torch_run(model: Any, task: Any) -> Run:
    """A model of transformers as `Model.run`, on the device that it is on."""
    import torch

    from distill.models.forward import forward_pass

    @torch.inference_mode()
    def run(batch: dict[str, np.ndarray]) -> np.ndarray:
        tensors = {name: torch.from_numpy(values).to(model.device) for name, values in batch.items()}
        return forward_pass(model, task, tensors).logits.float().cpu().numpy()

    return run


def load(
    path: str,
    int8: bool = False,
    overrides: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    runtime: str = RUNTIMES[0],
) -> Model:
    """Load a model.

    Args:
        path: an exported folder, a transformers checkpoint with a head for questions or classes, or a hub id.
        int8: whether to load the quantized model of an exported folder.
        overrides: fields of `Settings` in place of the model's own.
        defaults: fields for a checkpoint, which holds only its task and classes. `max_length` is lowered to the number
            of the model's positions, and is that number where it is not given; `doc_stride` to half of it.
        runtime: of an exported folder, one of `RUNTIMES`.

    Raises:
        UserError: it cannot be loaded, or is no such model.
    """
    folder = Path(path)
    if (folder / SETTINGS).is_file():
        settings = _settings({**_read(folder / SETTINGS), **(overrides or {})}, folder / SETTINGS)
        file = folder / (INT8 if int8 else ONNX)
        if not file.is_file():
            fix = _NO_INT8 if int8 else f"`dvc checkout {folder}`"
            raise UserError(f"{file}: missing: {fix}")
        if int8 and settings.int8_runtimes is not None and runtime not in settings.int8_runtimes:
            raise UserError(
                f"{file}: was never scored with --runtime {runtime}, which was not installed where it was exported:"
                f" export it again with that installed, or take --runtime {' or '.join(settings.int8_runtimes)}"
            )
        run, names = _exported(file, runtime)
        return Model(settings, exported_tokenizer(folder, names), run)
    for option, given in (("--int8", int8), (f"--runtime {runtime}", runtime != RUNTIMES[0])):
        if given:
            raise UserError(f"{path}: is no exported folder, and only those take {option}: leave it out")
    return _load_checkpoint(path, overrides or {}, defaults or {})


def _exported(file: Path, runtime: str) -> tuple[Run, list[str]]:
    """An exported model, and the names of its inputs."""
    if runtime == "openvino":
        from distill.inference.openvino_runtime import openvino_run

        return openvino_run(file)
    session = onnx_session(file)
    return onnx_run(session), [item.name for item in session.get_inputs()]


def task_of(path: str) -> str:
    """The task of a model, without loading it. Arguments and errors as for `load`."""
    settings = Path(path) / SETTINGS
    return str(_read(settings).get("task")) if settings.is_file() else _head(_configuration(path), path)["task"]


def _load_checkpoint(path: str, overrides: Mapping[str, Any], defaults: Mapping[str, Any]) -> Model:
    config, tokenizer = _configuration(path), _tokenizer(path)

    from distill.models import loading
    from distill.models.forward import default_device, freeze
    from distill.models.shape import positions
    from distill.tasks.registry import load_task

    head = _head(config, path)
    task = load_task(head["task"], labels=head["labels"])
    model = freeze(loading.from_pretrained(path, task)).to(default_device())
    if type(model).__name__ not in config.architectures:  # the head of XLNetForQuestionAnswering is another one
        raise UserError(
            f"{path}: config.json: architectures: {config.architectures[0]}: its head would not be loaded: name a model"
            f" saved as {type(model).__name__}"
        )
    longest = min(tokenizer.model_max_length, positions(model) or _LONGEST)
    known = dict.fromkeys(Settings.model_fields) | {**defaults, **head}
    known["max_length"] = min(known["max_length"] or longest, longest)
    if known["doc_stride"] is not None:
        known["doc_stride"] = min(known["doc_stride"], known["max_length"] // 2)
    settings = _settings({**known, **overrides}, path)
    return Model(settings, tokenizer, torch_run(model, task))


def _head(config: PretrainedConfig, path: str) -> dict[str, Any]:
    """Task and classes of a checkpoint, by its head."""
    name = (config.architectures or ["none"])[0]
    if name.endswith(("ForQuestionAnswering", "ForQuestionAnsweringSimple")):  # the latter: XLNet's, XLM's
        return {"task": "qa", "labels": []}
    if name.endswith("ForTokenClassification"):
        labels = [str(config.id2label[i]) for i in range(config.num_labels)]
        return {"task": "token_classification", "labels": labels}
    if not name.endswith("ForSequenceClassification"):
        raise UserError(
            f"{path}: config.json: architectures: {name}: neither a head for questions nor one for classes: name a"
            " fine-tuned or distilled model"
        )
    if config.num_labels == 1 and config.id2label.get(0) == "relevance":  # as `tasks.ranking` names its output
        return {"task": "ranking", "labels": []}
    if config.num_labels == 1:
        return {"task": "regression", "labels": []}
    several = config.problem_type == "multi_label_classification"
    task = "multi_label" if several else "classification"
    return {"task": task, "labels": [str(config.id2label[i]) for i in range(config.num_labels)]}


def exported_tokenizer(folder: Path, inputs: Sequence[str]) -> PreTrainedTokenizerFast:
    """The tokenizer of an exported folder: tokenizer.json, set to make the model's inputs."""
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # broken files surface as exceptions of several libraries
        raise UserError(f"{folder}: its tokenizer cannot be loaded ({_reason(error)}): `dvc checkout`") from error
    tokenizer.model_input_names = list(inputs)
    return tokenizer


def _configuration(path: str) -> PretrainedConfig:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # damaged files, network trouble: each has exceptions of its own
        raise UserError(f"{path}: cannot be loaded ({_reason(error)}): name a model's folder or a hub id") from error


def _tokenizer(path: str) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:
        raise UserError(f"{path}: its tokenizer cannot be loaded ({_reason(error)})") from error
    if not tokenizer.is_fast:
        raise UserError(f"{path}: {type(tokenizer).__name__} is no fast tokenizer: name a model with a tokenizer.json")
    return with_token_types(tokenizer)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json_text.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}): `dvc checkout {file.parent}`") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: no JSON object: `dvc checkout {file.parent}`")
    return content


def _settings(values: dict[str, Any], source: str | Path) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        raise UserError(f"{source}: {field}: {problem.get('input')!r}: {problem['msg'].lower()}") from error
