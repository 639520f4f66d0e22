"""pipeline.commands.exports: exported students as Markdown, and the table of docs/taking-it-away.md."""

import json

import pytest

from distill.errors import UserError
from pipeline.commands import exports

FORMS = ("pytorch", "onnx", "int8")
ROW = {
    "metric": "accuracy",
    "examples": 1200,
    "selection_examples": 900,
    "batch_size": 64,
    "machine": "a machine",
    "threads": 2,
    "scores": {form: {"accuracy": 80.0 + i} for i, form in enumerate(FORMS)},
    "selection": {form: {"accuracy": 90.0 + i} for i, form in enumerate(FORMS)},
    "latency_ms": {"pytorch": 10.0, "onnx": 5.0, "int8": 4.0},
    "latency_ms_p90": {"pytorch": 20.0, "onnx": 6.0, "int8": 5.0},
    "throughput": {"pytorch": 1000.0, "onnx": 1100.0, "int8": 2500.0},
    "size_mb": {"pytorch": 70.0, "onnx": 69.9, "int8": 17.5},
    "int8": {
        "kind": "static",
        "weight_bits": 7,
        "left_out": ["a"],
        "nodes": 23,
        "trained": False,
        "loss": 0.3,
        "refused": None,
    },
}


def test_a_row_for_each_form_and_ratios_to_pytorch():
    lines = exports.table(ROW).splitlines()
    assert "| PyTorch, float32 | 90.00 | 80.00 | 10.00 | 20.00 | 1.00 | 1,000.0 | 1.00 | 70.0 |" in lines
    assert "| ONNX, int8 | 92.00 | 82.00 | 4.00 | 5.00 | 2.50 | 2,500.0 | 2.50 | 17.5 |" in lines
    assert lines[-1].startswith("accuracy on 900 and 1,200 examples; batches of 64")
    assert lines[-1].endswith(
        "int8: static, 7 bits, 1 of 23 nodes left out; it loses 0.30 points on the selection split."
    )
    assert "int8" not in exports.table(ROW | {"int8": None}).splitlines()[-1]
    better = exports.table(ROW | {"int8": ROW["int8"] | {"loss": -0.3}})
    assert better.endswith("it gains 0.30 points on the selection split.")
    refused = exports.table(ROW | {"int8": ROW["int8"] | {"refused": "int8 loses 3 points"}})
    assert refused.endswith("Not exported: int8 loses 3 points.")


def test_files_are_printed_and_what_is_none_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="metrics/export: holds no exported student"):
        exports.main([])
    (tmp_path / "metrics/export").mkdir(parents=True)
    file = tmp_path / "metrics/export/kd-1.json"
    file.write_text(json.dumps(ROW))
    exports.main([])
    assert capsys.readouterr().out == f"kd-1\n\n{exports.table(ROW)}\n\n"
    file.write_text(json.dumps({"scores": {}}))
    with pytest.raises(UserError, match=r"kd-1\.json: metric: missing: export the student again"):
        exports.main([str(file)])


def test_the_page_holds_what_the_command_prints(root):
    page = (root / "docs/taking-it-away.md").read_text()
    files = sorted((root / "docs/results").glob("*/metrics/export/*.json"))
    assert files
    for file in files:
        assert exports.table(json.loads(file.read_text())) in page, file
