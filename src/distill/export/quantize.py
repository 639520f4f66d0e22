"""int8 by dynamic quantization: weights are stored as int8, activations are quantized while the model runs.

By onnxruntime's `quantize_dynamic`, without calibration data. Matrix products and embeddings are quantized; all
other operations stay float32.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import onnx


def int8(source: Path, target: Path) -> None:
    """Write the int8 model of an ONNX model in float32.

    A scale for each output channel of a weight costs no time when the model runs and loses less than a single scale.
    Weights use 7 of the 8 bits: processors without VNNI add products in 16 bits, which 8 overflow (onnxruntime's
    documentation of quantization on x86), and the model must work on other machines too.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # "consider to run pre-processing": torch's exporter has done it
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "plain.onnx"
            onnx.save(_without_shapes(onnx.load(source)), plain)
            quantize_dynamic(plain, target, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    finally:
        root.setLevel(level)


def _without_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the shapes of intermediate values: the quantizer transposes weights, and they would be wrong."""
    del model.graph.value_info[:]
    return model
