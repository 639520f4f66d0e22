"""int8 of a small classifier: close to float32, in both runtimes; and which nodes suffer from it."""

import numpy as np
import onnx as onnx_format
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from distill.config.scoring import Export
from distill.export import int8, onnx, quantize, sensitivity
from distill.inference.model import onnx_run, onnx_session
from distill.inference.openvino_runtime import openvino_run
from distill.models.forward import freeze
from tests.helpers import text, tiny

MADE = ["input_ids", "token_type_ids", "attention_mask"]


def batch(lengths: tuple[int, ...], width: int) -> dict[str, np.ndarray]:
    made = tiny.batch(lengths, width, seed=len(lengths))
    return {name: made[name].numpy() for name in MADE}


ROWS = [batch((12, 9, 7), 12), batch((30, 17), 30)]
GIVEN = batch((9, 5, 7), 12)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Its weights are more than a few kilobytes."""
    model = freeze(text.model("bert", layers=1, width=64, vocab_size=2000))
    file = tmp_path_factory.mktemp("classifier") / "model.onnx"
    onnx.write(model, False, MADE, file)
    return model, file


@pytest.fixture(scope="module", params=["static", "dynamic"])
def quantized(request, classifier):
    _, file = classifier
    quantizer = quantize.Quantizer(file, request.param, 7, ROWS, file.parent / request.param)
    quantizer.write(file.parent / f"{request.param}.onnx")
    return quantizer, file.parent / f"{request.param}.onnx"


def test_classes(classifier):
    """One output, (B, C)."""
    model, file = classifier
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(value) for name, value in GIVEN.items()}).logits.numpy()
    found = onnx_run(onnx_session(file))(GIVEN)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(openvino_run(file, 1)[0](GIVEN), expected, atol=1e-5)


def test_int8_is_close_and_small(classifier, quantized):
    (_, file), (quantizer, target) = classifier, quantized
    plain, rounded = (onnx_run(onnx_session(path))(GIVEN) for path in (file, target))
    by_openvino, names = openvino_run(target, 1)
    assert 0 < np.abs(rounded - plain).max() < 0.05 * np.ptp(plain)
    assert np.abs(by_openvino(GIVEN) - plain).max() < 0.05 * np.ptp(plain)
    assert names == [item.name for item in onnx_session(target).get_inputs()]
    assert target.stat().st_size < 0.4 * file.stat().st_size
    # Of the layer; embeddings; pooler and classifier, which are Gemm.
    assert len(quantizer.nodes) == 6 + 3 + 2 * (quantizer.kind == "static")


def test_each_output_has_a_scale_and_weights_have_seven_bits(quantized):
    stored = {item.name: numpy_helper.to_array(item) for item in onnx_format.load(quantized[1]).graph.initializer}
    weights = {name: value for name, value in stored.items() if value.dtype == np.int8 and value.ndim == 2}
    assert len(weights) >= 6
    for name, weight in weights.items():
        assert np.abs(weight.astype(int)).max() <= 64
        scale = stored[name.replace("_quantized", "_scale")]
        if scale.ndim:  # embeddings have one
            assert scale.size in weight.shape and len(set(scale.tolist())) > 1
    assert sum(stored[name.replace("_quantized", "_scale")].size > 1 for name in weights) >= 6


def test_nodes_that_are_left_out_stay_float32(classifier, quantized, tmp_path):
    (_, file), (quantizer, target) = classifier, quantized
    quantizer.write(tmp_path / "part.onnx", quantizer.nodes[:4])
    quantizer.write(tmp_path / "none.onnx", quantizer.nodes)
    plain, all_of_it = (onnx_run(onnx_session(path))(GIVEN) for path in (file, target))
    part, none = (onnx_run(onnx_session(tmp_path / name))(GIVEN) for name in ("part.onnx", "none.onnx"))
    np.testing.assert_allclose(none, plain, atol=1e-5)
    assert np.abs(part - all_of_it).max() > 1e-3 and np.abs(part - plain).max() > 1e-3
    assert (tmp_path / "part.onnx").stat().st_size > target.stat().st_size


def products(weights: list[np.ndarray]) -> onnx_format.ModelProto:
    """input_ids → table → a product after another."""
    nodes, before = [helper.make_node("Gather", ["table", "input_ids"], ["x"], name="table")], "x"
    for number, _ in enumerate(weights):
        nodes.append(helper.make_node("MatMul", [before, f"w{number}"], [f"y{number}"], name=f"product {number}"))
        before = f"y{number}"
    table = np.random.default_rng(1).normal(size=(40, len(weights[0]))).astype(np.float32)
    stored = {"table": table} | {f"w{number}": weight.astype(np.float32) for number, weight in enumerate(weights)}
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "tokens"])],
        [helper.make_tensor_value_info(before, TensorProto.FLOAT, ["rows", "tokens", weights[-1].shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_a_few_large_activations_make_the_next_product_the_worst():
    """One channel is a thousand times as large as the others, and says no more about the tokens."""
    draw = np.random.default_rng(0)
    weights = [draw.normal(size=(8, 8)) for _ in range(3)]
    weights[1][:, 5] *= 1000
    weights[2][5] /= 1000
    model = products(weights)
    names = quantize.nodes(model, "static")
    assert names == ["table", "product 0", "product 1", "product 2"]
    noise = sensitivity.ranked(model, names, {"input_ids": np.arange(40).reshape(4, 10)}, 7)
    worst, *others = noise
    assert worst == "product 2" and noise[worst] > 100 * max(noise[name] for name in others)


def section(max_loss: float = 0.5) -> Export:
    rows = {"calibration_rows": 4, "max_examples": None}
    return Export(methods=[], seeds=[1], int8="static", max_loss=max_loss, weight_bits=7, **rows)


def whole(file) -> int:
    """The number of weights that stayed float32."""
    stored = onnx_format.load(file).graph.initializer
    return sum(item.data_type == TensorProto.FLOAT and len(item.dims) == 2 for item in stored)


@pytest.fixture
def six(tmp_path):
    draw = np.random.default_rng(0)
    source = tmp_path / "model.onnx"
    onnx_format.save(products([draw.normal(size=(8, 8)) for _ in range(6)]), source)
    return source, [{"input_ids": np.arange(40).reshape(4, 10)}]


def test_as_few_nodes_are_left_out_as_the_score_allows(six, tmp_path):
    """Each weight in int8 costs a fifth of a point."""
    source, rows = six
    made = int8.make(source, section(max_loss=1.0), rows, lambda file: 80 + whole(file) / 5, 81.4, None, tmp_path / "s")
    assert [(one["left_out"], one["loss"]) for one in made.tries] == [(0, 1.4), (3, 0.8), (1, 1.2), (2, 1.0)]
    assert (made.refused, made.loss, len(made.left_out), whole(made.file)) == (False, 1.0, 2, 2)
    assert int8.reason(made, section(max_loss=1.0), "accuracy") == ""


def test_a_student_is_trained_where_leaving_out_does_not_help(six, tmp_path):
    source, rows = six
    trained = []

    def train():
        trained.append(source)
        return source

    def score(file) -> float:
        return 80 + 0.01 * whole(file) + 2 * len(trained)

    made = int8.make(source, section(), rows, score, 82.0, train, tmp_path / "s")
    assert [(one["trained"], one["left_out"]) for one in made.tries] == [(False, 0), (False, 3), (True, 0)]
    assert made.trained and not made.refused and made.loss == 0
    made = int8.make(source, section(), rows, score, 86.0, train, tmp_path / "s")
    assert len(made.tries) == 4 and made.refused and made.loss == pytest.approx(1.97)
    told = int8.reason(made, section(), "accuracy")
    assert told.startswith("int8 (static) loses 1.97 points of accuracy on the selection split, with 3 of 7 nodes left")
    assert told.endswith("and trained to bear int8: more than export.max_loss 0.5")
