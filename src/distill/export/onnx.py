"""A model as ONNX, for any number of rows and any length, and the check that it computes the same."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distill.errors import UserError
from distill.models.forward import reads_token_types

#: Largest difference of a logit that is taken for rounding: float32 in another order of operations.
TOLERANCE = 1e-3

# Above 1, because the exporter takes a 1 for a constant; different, because it takes equal numbers for one axis.
_ROWS, _TOKENS = 2, 11


class _Logits(nn.Module):
    """The model with plain tensors going in and coming out."""

    def __init__(self, model: PreTrainedModel, outputs: Sequence[str]):
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        kinds = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        values = self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **kinds)
        return tuple(values[name] for name in self.outputs)


def inputs(model: PreTrainedModel, tokenized: Sequence[str]) -> list[str]:
    """The inputs of the exported model: token types only where the tokenizer makes them and the model reads them.

    Args:
        tokenized: names of what the tokenizer makes (`tokenizer.model_input_names`).
    """
    typed = "token_type_ids" in tokenized and reads_token_types(model)
    return ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]


def write(model: PreTrainedModel, positions: bool, tokenized: Sequence[str], file: Path) -> None:
    """Write the model as ONNX in float32.

    Its inputs are those of `inputs`, int64 (batch, length), its outputs `start_logits` and `end_logits`, float32
    (batch, length), or `logits` (batch, classes), in token classification (batch, length, classes): the names that
    other tools expect of such models. The file names no path of this machine.

    Args:
        model: model on the CPU, in evaluation mode, float32.
        positions: whether the logits are scores of starts and ends (question answering).
        tokenized: names of what the tokenizer makes.

    Raises:
        UserError: torch cannot export this architecture.
    """
    names = inputs(model, tokenized)
    outputs = ["start_logits", "end_logits"] if positions else ["logits"]
    # A separate tensor for each input: the exporter takes two inputs that are the same tensor for one.
    example = tuple(torch.ones(_ROWS, _TOKENS, dtype=torch.int64) for _ in names)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Logits(model, outputs),
                example,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=tuple(axes for _ in names),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch's exporter and the model's code raise exceptions of many types
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"params.yaml: export.methods: torch.onnx.export cannot export a {model.config.model_type} ({reason}): take"
            " the method out, or use the checkpoint itself"
        ) from error
    proto = program.model_proto
    _strip(proto)
    onnx.save(proto, file)


def _strip(proto: onnx.ModelProto) -> None:
    """Remove the exporter's notes on the source code of each node, which hold paths of this machine."""
    del proto.metadata_props[:]
    graph = proto.graph
    parts = [graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]
    for function in proto.functions:
        parts += [function, *function.node, *function.value_info]
    for part in parts:
        del part.metadata_props[:]
        if part.doc_string:
            part.doc_string = ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks: what matters becomes an error or shows in the parity check."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name in names:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def check_parity(exported: np.ndarray, reference: np.ndarray, file: Path) -> float:
    """The largest absolute difference of two models' logits over the same rows.

    Raises:
        UserError: it is above `TOLERANCE`, or NaN.
    """
    largest = float(np.abs(exported.astype(np.float64) - reference.astype(np.float64)).max())
    if not largest <= TOLERANCE:
        raise UserError(
            f"{file.name}: its logits differ from PyTorch's by up to {largest:.3g}, more than {TOLERANCE:g}: this"
            " architecture is not exported correctly by the torch installed here: use the checkpoint itself, or another"
            " version of torch"
        )
    return largest
