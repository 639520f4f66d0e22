"""int8 models from an ONNX model in float32, by onnxruntime: static or dynamic.

Products with weights (MatMul, Gemm) and embeddings (Gather) are quantized, all other operations stay float32; so do
products of two activations, which are cheap at the lengths of texts, and the outputs of products, which the next
operation reads as they are. Weights have a scale for each output channel.

- Static: the ranges of activations are measured before, on training rows, and stand in the file (QDQ format).
- Dynamic: each activation's range is measured while the model runs. It needs no rows, but a few large activations cost
  all others their precision (onnxruntime #9599, #11286).

Weights use 7 of the 8 bits by default: processors without VNNI add products of int8 in 16 bits, which 8 overflow
(onnxruntime's documentation of quantization on x86), and an exported model runs on other machines too.
"""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

Batch = Mapping[str, np.ndarray]

# Operations that are quantized, and which of their inputs is the weight.
_WEIGHT = {"MatMul": 1, "Gemm": 1, "Gather": 0}
# onnxruntime has no dynamic Gemm: pooler and head, which run once for a row.
_OPERATIONS = {"static": ("MatMul", "Gemm", "Gather"), "dynamic": ("MatMul", "Gather")}


def nodes(model: onnx.ModelProto, kind: str) -> list[str]:
    """Names of the nodes that are quantized: products with weights, and embeddings; in the order of the graph.

    Args:
        kind: `static` or `dynamic`.
    """
    stored = {value.name for value in model.graph.initializer if value.data_type == onnx.TensorProto.FLOAT}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _OPERATIONS[kind] and node.input[_WEIGHT[node.op_type]] in stored
    ]


def weight_of(node: onnx.NodeProto, model: onnx.ModelProto) -> np.ndarray:
    """The weight of a quantized node, float32 (inputs, outputs); of an embedding (rows, width)."""
    name = node.input[_WEIGHT[node.op_type]]
    stored = next(value for value in model.graph.initializer if value.name == name)
    weight = numpy_helper.to_array(stored)
    turned = any(one.name == "transB" and one.i for one in node.attribute)
    return weight.T if turned else weight


def largest(bits: int) -> int:
    """The largest int8 value of a weight of so many bits, as onnxruntime has it: symmetric, so that zero stays zero."""
    return min(2 ** (bits - 1), 127)


class Quantizer:
    """Writes int8 models of one ONNX model: all nodes, or all but some.

    Args:
        source: the model in float32.
        kind: `static` or `dynamic`.
        weight_bits: 7 or 8.
        rows: padded batches of training rows, for static quantization; read once.
        folder: scratch folder.
    """

    def __init__(self, source: Path, kind: str, weight_bits: int, rows: Sequence[Batch], folder: Path):
        self.kind, self.weight_bits = kind, weight_bits
        folder.mkdir(parents=True, exist_ok=True)
        self._plain, self._ranges = folder / "plain.onnx", folder / "ranges.json"
        self._ranges.unlink(missing_ok=True)
        self.model = onnx.load(source)
        # The shapes of intermediate values: the quantizer makes other ones.
        del self.model.graph.value_info[:]
        onnx.save(self.model, self._plain)
        self.nodes = nodes(self.model, kind)
        read = {item.name for item in self.model.graph.input}
        self._rows = [{name: row[name] for name in read} for row in rows]

    def write(self, target: Path, left_out: Sequence[str] = ()) -> None:
        """Write the int8 model.

        Args:
            left_out: nodes that stay float32.
        """
        from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

        kept = [name for name in self.nodes if name not in set(left_out)]
        if not kept:
            onnx.save(self.model, target)
            return
        common = {
            "nodes_to_quantize": kept,
            "per_channel": True,
            "reduce_range": self.weight_bits == 7,
            "weight_type": QuantType.QInt8,
        }
        with _quiet():
            if self.kind == "dynamic":
                quantize_dynamic(self._plain, target, **common)
                return
            quantize_static(
                self._plain,
                target,
                _Reader(self._rows),
                op_types_to_quantize=list(_OPERATIONS[self.kind]),
                activation_type=QuantType.QUInt8,
                extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
                calibration_cache_path=self._ranges,
                **common,
            )


class _Reader:
    """Batches as onnxruntime's `CalibrationDataReader` hands them out."""

    def __init__(self, batches: Sequence[Batch]):
        self._rest = iter(batches)

    def get_next(self) -> Batch | None:
        return next(self._rest, None)


def adds_exactly() -> bool:
    """Whether this machine adds products of full int8 without overflow: x86 with VNNI, or no x86."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux: unknown
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # "consider to run pre-processing": torch's exporter has done it
    try:
        yield
    finally:
        root.setLevel(level)
