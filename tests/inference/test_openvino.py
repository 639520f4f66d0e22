"""OpenVINO in place of onnxruntime: the same answers from the same folder."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from distill.errors import UserError
from distill.inference import classify
from distill.inference.model import load
from tests.helpers import exported, tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return exported.classifier(tmp_path_factory.mktemp("export") / "texts", ["no", "yes"])


def test_start_and_end_logits_are_onnxruntimes(tmp_path):
    """Two outputs, stacked; shapes that change from batch to batch."""
    folder = exported.answerer(tmp_path / "questions")
    features = tiny.features(20).data.table.combine_chunks()
    (one, offsets), (other, _) = (load(folder, runtime=name).logits(features) for name in ("onnx", "openvino"))
    assert one.shape == (offsets[-1], 2)
    np.testing.assert_allclose(other, one, atol=1e-6)


def test_the_command_answers_the_same(folder, capsys):
    told = []
    for runtime in ("onnx", "openvino"):
        classify.main(["w1 w7", "--model", folder, "--runtime", runtime, "--json"])
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["label"] == told[1]["label"]
    assert told[0]["probabilities"] == pytest.approx(told[1]["probabilities"], abs=1e-5)


def test_int8_is_run_only_by_what_it_was_scored_in(tmp_path):
    """It was exported where OpenVINO is not installed: nobody knows what it loses there."""
    folder = Path(exported.classifier(tmp_path / "texts", ["no", "yes"]))
    shutil.copyfile(folder / "model.onnx", folder / "model.int8.onnx")
    file = folder / "task.json"
    settings = json.loads(file.read_text())
    for scored, refused in ((["onnx"], ["openvino"]), (["onnx", "openvino"], []), (None, [])):
        file.write_text(json.dumps(settings | {"int8_runtimes": scored}))
        for runtime in ("onnx", "openvino"):
            load(str(folder), runtime=runtime)
            if runtime in refused:
                with pytest.raises(UserError, match="was never scored with --runtime openvino"):
                    load(str(folder), int8=True, runtime=runtime)
            else:
                load(str(folder), int8=True, runtime=runtime)


def test_without_openvino_one_line_says_how_to_install_it(folder, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else found(name))
    with pytest.raises(UserError, match=r"^--runtime openvino: OpenVINO is not installed: pip install openvino$"):
        load(folder, runtime="openvino")


def test_what_it_cannot_load_is_named(folder, tmp_path):
    broken = exported.classifier(tmp_path / "broken", ["no", "yes"])
    (tmp_path / "broken" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"model\.onnx: OpenVINO cannot load it .*: use --runtime onnx"):
        load(broken, runtime="openvino")
    tiny.tokenizer().save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(UserError, match="is no exported folder, and only those take --runtime openvino: leave it out"):
        load(str(tmp_path / "checkpoint"), runtime="openvino")


def test_no_usage_statistics_are_sent(folder):
    """OpenVINO's own package for them is not loaded: its import would send the first."""
    load(folder, runtime="openvino")
    assert sys.modules["openvino_telemetry"] is None
    assert importlib.import_module("openvino.tools.ovc").telemetry.__class__.__module__.endswith("telemetry_stub")
