"""OpenVINO as the runtime of an exported model: it reads the ONNX files of an exported folder as they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

from distill.errors import UserError
from distill.inference.model import Run, stacked

INSTALL = "pip install openvino"


def is_installed() -> bool:
    """Whether OpenVINO can be imported here."""
    return importlib.util.find_spec("openvino") is not None


def openvino_run(file: Path, threads: int | None = None) -> tuple[Run, list[str]]:
    """A model on the CPU as `Model.run`, and the names of its inputs.

    Args:
        file: ONNX model, float32 or int8.
        threads: None: as many as OpenVINO thinks best.

    Raises:
        UserError: OpenVINO is not installed, or cannot read the file.
    """
    if not is_installed():
        raise UserError(f"--runtime openvino: OpenVINO is not installed: {INSTALL}")
    # OpenVINO sends usage statistics when it is imported; without that package it takes its own empty stand-in.
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    # Full precision, as in the other runtimes: on some processors the default is bfloat16. Unpinned: other programs
    # may be on the same cores.
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = openvino.Core().compile_model(str(file), "CPU", settings)
    except Exception as error:  # OpenVINO raises RuntimeError and classes of its own
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: OpenVINO cannot load it ({reason}): use --runtime onnx") from error
    names = [item.get_any_name() for item in compiled.inputs]
    request = compiled.create_infer_request()

    def outputs(batch: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = request.infer({name: batch[name] for name in names})
        return [np.array(found[port]) for port in compiled.outputs]

    return stacked(names, outputs), names
