"""How much each node of a model suffers from int8, by one pass of the float32 model over some rows.

The error of a node alone: the noise that rounding its input and its weight brings to its output, by the spread of that
output over tokens (noise to signal). What is the same for all tokens is no signal: a few constant, huge activations
would hide the noise of all others, and they are what ruins dynamic int8 (Bondarenko et al. 2021, arXiv 2109.12948).
"""

from __future__ import annotations

import copy

import numpy as np
import onnx
from onnx import helper

from distill.export.quantize import Batch, largest, weight_of


def ranked(model: onnx.ModelProto, names: list[str], batch: Batch, weight_bits: int) -> dict[str, float]:
    """Noise to signal of nodes, worst first.

    Args:
        model: the model in float32.
        names: nodes with a weight (`quantize.nodes`).
        batch: padded rows; padding counts as text, as it does when the model runs.
        weight_bits: 7 or 8.
    """
    chosen = [node for node in model.graph.node if node.name in set(names)]
    inputs = _inputs(model, [node for node in chosen if node.op_type != "Gather"], batch)
    noise = {node.name: _noise(node, weight_of(node, model), inputs, weight_bits) for node in chosen}
    return dict(sorted(noise.items(), key=lambda item: (-item[1], item[0])))


def _inputs(model: onnx.ModelProto, chosen: list[onnx.NodeProto], batch: Batch) -> dict[str, np.ndarray]:
    """Activations that the nodes read, by name."""
    import onnxruntime

    wanted = sorted({node.input[0] for node in chosen})
    given = {item.name for item in model.graph.input}
    more = copy.deepcopy(model)
    more.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(more.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(wanted, {name: batch[name] for name in given})
    return dict(zip(wanted, values, strict=True))


def _noise(node: onnx.NodeProto, weight: np.ndarray, inputs: dict[str, np.ndarray], weight_bits: int) -> float:
    if node.op_type == "Gather":  # a table has one scale, and a zero point
        given, exact = _rounded(weight), weight
    else:
        read = inputs[node.input[0]].reshape(-1, weight.shape[0])
        given, exact = _rounded(read) @ _rounded_columns(weight, weight_bits), read @ weight
    signal = float(np.square(exact - exact.mean(0)).sum())
    return float(np.square(given - exact).sum()) / max(signal, np.finfo(np.float32).tiny)


def _rounded(values: np.ndarray) -> np.ndarray:
    """As uint8 with one scale and a zero point, and back."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low) / 255 or 1.0
    zero = round(-low / scale)
    return (np.clip(np.round(values / scale) + zero, 0, 255) - zero) * np.float32(scale)


def _rounded_columns(weight: np.ndarray, bits: int) -> np.ndarray:
    """As int8 with a scale for each column, and back."""
    scale = np.abs(weight).max(0) / largest(bits)
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    return np.round(weight / scale) * scale
