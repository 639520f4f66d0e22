"""The forms of an exported student in one table: their scores on two splits, latency, throughput and size."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from distill.analysis import model_cost
from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.export import int8, onnx, quantize, speed
from distill.inference import openvino_runtime
from distill.inference.model import INT8, ONNX, RUNTIMES, Run, batches, onnx_run, onnx_session, torch_run
from distill.models.predict import predict_split
from distill.tasks.base import Predicted, Task

#: What the two ONNX files are called when OpenVINO runs them.
BY_OPENVINO = {"onnx": "openvino", "int8": "openvino_int8"}

# Rows of a batch of calibration.
_CALIBRATED = 16


@dataclass
class Forms:
    """A student as PyTorch, and as ONNX and int8 in both runtimes; OpenVINO's where it is installed.

    Attributes:
        prepared: prepared data, whose training rows, with labels and without, calibrate.
        data: the same, cut to the examples that are scored. The selection split chooses, the validation split reports.
        say: function for a verb and a line of text, for the user.
        train: function that gives the student as ONNX, trained to bear int8; None: it is not trained.
    """

    params: Params
    prepared: Prepared
    data: Any
    task: Task
    say: Callable[[str, str], None]
    train: Callable[[], Path] | None

    def measure(self, model: PreTrainedModel, folder: Path, scratch: Path) -> dict[str, Any]:
        """Make the int8 model, and measure all forms.

        Args:
            model: the student, frozen, on the CPU.
            folder: draft of the exported folder with the ONNX model in float32. It gets the int8 model, unless that is
                refused.
            scratch: folder for int8 models that are tried.

        Returns:
            the content of metrics/export/<label>.json, without the size of the checkpoint: docs/taking-it-away.md.
        """
        threads, section = torch.get_num_threads(), self.params.export
        files = {"onnx": folder / ONNX}
        runs = {"pytorch": torch_run(model, self.task), "onnx": onnx_run(onnx_session(files["onnx"], threads))}
        reported = {form: self._predict(run, "validation", form) for form, run in runs.items()}
        parity = onnx.check_parity(reported["onnx"].logits, reported["pytorch"].logits, files["onnx"])
        selection = {form: self._score(run, "selection", form) for form, run in runs.items()}
        outcome = None
        if section.int8 != "none":
            outcome = self._quantized(files["onnx"], selection["onnx"][self.task.main_metric], scratch)
            if not outcome.refused:
                shutil.copyfile(outcome.file, folder / INT8)
            files["int8"] = outcome.file
            runs["int8"] = onnx_run(onnx_session(outcome.file, threads))
        if openvino_runtime.is_installed():
            for form, file in list(files.items()):
                files[BY_OPENVINO[form]] = file
                runs[BY_OPENVINO[form]], _ = openvino_runtime.openvino_run(file, threads)
        for form in [form for form in runs if form not in reported]:
            reported[form] = self._predict(runs[form], "validation", form)
            selection[form] = self._score(runs[form], "selection", form)
        size, table = self.params.evaluate.batch_size, self.data.features("validation").data.table
        return {
            "examples": len(reported["pytorch"].examples),
            "selection_examples": len(self.data.examples("selection")),
            "metric": self.task.main_metric,
            "parity_max": parity,
            "scores": {form: self.task.score(output, self.params.evaluate) for form, output in reported.items()},
            "selection": selection,
            "int8": outcome and self._described(outcome),
            "size_mb": {form: megabytes(file) for form, file in files.items()},
            "machine": model_cost.machine(),
            "threads": threads,
            "batch_size": size,
            **speed.measure(runs, table, self.prepared.tokenizer().pad_token_id, size, self.params.cost.seconds),
        }

    def _quantized(self, file: Path, reference: float, scratch: Path) -> int8.Outcome:
        section, metric, threads = self.params.export, self.task.main_metric, torch.get_num_threads()
        if section.weight_bits == 8 and not quantize.adds_exactly():
            self.say("note", "export.weight_bits is 8, but this processor has no VNNI: sums may overflow")
        features = self.prepared.taught_features().data.table
        rows = features.take(model_cost.spread(range(features.num_rows), section.calibration_rows))
        chosen = [batch for _, batch in batches(rows, self.prepared.tokenizer().pad_token_id, _CALIBRATED)]

        def score(exported: Path) -> float:
            """In the runtime that gives it the lower score: whoever takes the model away may run it by either."""
            runs = {"int8": onnx_run(onnx_session(exported, threads))}
            if openvino_runtime.is_installed():
                runs[BY_OPENVINO["int8"]], _ = openvino_runtime.openvino_run(exported, threads)
            return min(self._score(run, "selection", form)[metric] for form, run in runs.items())

        outcome = int8.make(file, section, chosen, score, reference, self.train, scratch)
        if stopped := int8.reason(outcome, section, metric):
            self.say("refused", stopped)
        elif len(outcome.tries) > 1:
            self.say("found", f"int8 with {len(outcome.left_out)} of {outcome.nodes} nodes left out")
        return outcome

    def _score(self, run: Run, split: str, label: str) -> dict[str, float]:
        return self.task.score(self._predict(run, split, label), self.params.evaluate)

    def _predict(self, run: Run, split: str, label: str) -> Predicted:
        def forward(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            arrays = {name: value.numpy() for name, value in batch.items()}
            return torch.from_numpy(np.ascontiguousarray(run(arrays)))

        size, cpu = self.params.evaluate.batch_size, torch.device("cpu")
        return predict_split(forward, self.data, split, size, cpu, "fp32", label, self.task.per_token)

    def _described(self, outcome: int8.Outcome) -> dict[str, Any]:
        section = self.params.export
        return {
            "kind": section.int8,
            "weight_bits": section.weight_bits,
            "calibration_rows": section.calibration_rows if section.int8 == "static" else None,
            "max_loss": section.max_loss,
            "loss": outcome.loss,
            "refused": int8.reason(outcome, section, self.task.main_metric) or None,
            "trained": outcome.trained,
            "left_out": list(outcome.left_out),
            "nodes": outcome.nodes,
            "tries": outcome.tries,
            "exact_sums": quantize.adds_exactly(),
        }


def int8_runtimes(measured: Mapping[str, Any]) -> list[str]:
    """The runtimes in which the int8 model was scored, of what `Forms.measure` has found; none without such a model."""
    if measured["int8"] is None or measured["int8"]["refused"]:
        return []
    forms = {"onnx": "int8", "openvino": BY_OPENVINO["int8"]}
    return [runtime for runtime in RUNTIMES if forms[runtime] in measured["scores"]]


def megabytes(file: Path) -> float:
    """Size in MB (10^6 bytes)."""
    return round(file.stat().st_size / 1e6, 3)
