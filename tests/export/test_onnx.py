"""ONNX and int8 of every kind of encoder against PyTorch, in shapes that the export has not seen."""

import numpy as np
import onnx as onnx_format
import pytest
import torch

from distill.errors import UserError
from distill.export import onnx, quantize
from distill.inference.model import onnx_run, onnx_session
from distill.models.forward import forward_pass, freeze
from distill.tasks.registry import load_task
from tests.helpers import micro, tiny

pytestmark = pytest.mark.slow
TASK = load_task("qa")
MADE = ["input_ids", "token_type_ids", "attention_mask"]
# As DeBERTa-v3 has it: buckets, one projection for words and positions, no token types.
V3 = {"position_buckets": 4, "share_att_key": True, "type_vocab_size": 0}
# Exporting takes seconds for each layer: one kind has several. RoBERTa is exhaustive, because the program does for it
# what it does for BERT, and DeBERTa-v2, because v3 has all of it but for projections of positions.
ROBERTA, V2 = (pytest.param((kind, 1, {}), marks=pytest.mark.exhaustive) for kind in ("roberta", "deberta-v2"))
KINDS = [("bert", 1, {}), ("distilbert", 2, {}), ROBERTA, V2, ("deberta-v2", 1, V3)]
SHAPES = [((9, 5, 7), 12), ((3, 30, 17, 30, 2), 30), ((1,), 1), ((4,) * 17, 5)]


@pytest.fixture(scope="module", params=KINDS, ids=["bert", "distilbert", "roberta", "deberta_v2", "deberta_v3"])
def exported(request, tmp_path_factory):
    """A model, and its ONNX file."""
    kind, layers, fields = request.param
    model = freeze(tiny.model(kind, layers=layers, width=16, **fields))
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.write(model, True, MADE, file)
    return model, file


def batch(lengths: tuple[int, ...], width: int) -> dict[str, np.ndarray]:
    made = tiny.batch(lengths, width, seed=len(lengths))
    return {name: made[name].numpy() for name in MADE}


@pytest.mark.parametrize(("lengths", "width"), SHAPES)
def test_onnx_gives_pytorchs_logits_at_any_shape(exported, lengths, width):
    model, file = exported
    given = batch(lengths, width)
    with torch.no_grad():
        expected = forward_pass(model, TASK, {name: torch.from_numpy(value) for name, value in given.items()}).logits
    found = onnx_run(onnx_session(file))(given)
    assert found.dtype == np.float32 and found.shape == (len(lengths), width, 2)
    real = given["attention_mask"].astype(bool)
    np.testing.assert_allclose(found[real], expected.numpy()[real], atol=2e-5)


def test_names_axes_and_inputs_are_those_that_other_tools_expect(exported):
    model, file = exported
    session = onnx_session(file)
    wanted = ["input_ids", "attention_mask"]
    if model.config.model_type != "distilbert" and model.config.type_vocab_size:
        wanted.append("token_type_ids")
    assert [item.name for item in session.get_inputs()] == wanted == onnx.inputs(model, MADE)
    assert onnx.inputs(model, ["input_ids", "attention_mask"]) == wanted[:2]
    assert all((item.shape, item.type) == (["batch", "length"], "tensor(int64)") for item in session.get_inputs())
    assert [item.name for item in session.get_outputs()] == ["start_logits", "end_logits"]


def test_the_file_is_whole_and_names_no_path(exported):
    content = exported[1].read_bytes()
    onnx_format.checker.check_model(exported[1])
    assert [file.name for file in exported[1].parent.iterdir() if file.name.endswith(".data")] == []
    assert not any(word in content for word in (b"site-packages", str(micro.ROOT).encode(), b"modeling_"))


def test_int8_is_close_and_stores_int8(exported, tmp_path):
    model, file = exported
    target, given = tmp_path / "int8.onnx", batch((9, 30, 17), 30)
    quantize.Quantizer(file, "static", 7, [given], tmp_path / "scratch").write(target)
    plain, quantized = (onnx_run(onnx_session(path))(given) for path in (file, target))
    spread = np.abs(plain - plain.mean()).max()
    assert 0 < np.abs(quantized - plain).max() < 0.1 * spread
    types = [item.data_type for item in onnx_format.load(target).graph.initializer if len(item.dims) == 2]
    assert types.count(onnx_format.TensorProto.INT8) >= 6 * model.config.num_hidden_layers


def test_what_torch_cannot_export_is_said_in_one_line(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no such\noperator. More advice")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(UserError, match=r"cannot export a bert \(no such operator"):
        onnx.write(tiny.model("bert", layers=1), True, MADE, tmp_path / "model.onnx")


def test_parity_is_the_largest_difference_and_has_a_limit(tmp_path):
    reference = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)
    near, far = reference.copy(), reference.copy()
    near[1, 0] -= onnx.TOLERANCE / 2
    far[0, 1] += 2 * onnx.TOLERANCE
    file = tmp_path / "model.onnx"
    assert onnx.check_parity(near, reference, file) == pytest.approx(onnx.TOLERANCE / 2, rel=1e-3)
    for wrong in (far, np.full_like(reference, np.nan)):
        with pytest.raises(UserError, match=r"model\.onnx: its logits differ from PyTorch's by up to"):
            onnx.check_parity(wrong, reference, file)
