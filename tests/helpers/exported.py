"""Exported folders whose ONNX models are written by hand: a token's logits are its row of a table of random numbers."""

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from tests.helpers import tiny

_SETTINGS = {"max_length": 32, "doc_stride": None, "n_best": None, "max_answer_length": None, "threshold": None}


def classifier(folder: Path, labels: list[str]) -> str:
    """A model for single texts: the sum of the logits of its tokens."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "last"], ["mask"]),
        helper.make_node("Mul", ["each", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["logits"], keepdims=0),
    ]
    constants = {"last": np.array([2]), "tokens": np.array([1])}
    settings = {"task": "classification", "pairs": False, "temperature": 1.5, "labels": labels}
    return _written(folder, nodes, constants, {"logits": ["rows", len(labels)]}, len(labels), settings)


def answerer(folder: Path) -> str:
    """A model for questions: the start and end logits of a token are those of its word."""
    ends = {"start_logits": ("zero", np.array(0)), "end_logits": ("one", np.array(1))}
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["each"])]
    nodes += [helper.make_node("Gather", ["each", place], [name], axis=2) for name, (place, _) in ends.items()]
    settings = {"task": "qa", "pairs": True, "temperature": 1.0, "labels": []}
    settings |= {"doc_stride": 8, "n_best": 5, "max_answer_length": 4, "threshold": 0.0}
    outputs = {name: ["rows", "tokens"] for name in ends}
    return _written(folder, nodes, dict(ends.values()), outputs, 2, settings)


def _written(folder: Path, nodes: list, constants: dict, outputs: dict, width: int, settings: dict) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    table = np.random.default_rng(0).normal(size=(tiny.VOCAB, width)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "model",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in ({"table": table} | constants).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(model, folder / "model.onnx")
    tiny.tokenizer().save_pretrained(folder)
    (folder / "task.json").write_text(json.dumps(_SETTINGS | settings | {"offsets": None}))
    return str(folder)
