"""An int8 model that keeps its score, or the reason why there is none.

First all nodes in int8; where that loses more than `max_loss` points on the selection split, without the nodes that
suffer most (`search`, as NNCF's `quantize_with_accuracy_control` does); where leaving out half of them does not help,
the same with a student that was trained to bear int8 (`rounding`). A model that still loses more is refused. Nothing is
chosen on a split that scores are reported on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.config.scoring import Export
from distill.export import search, sensitivity
from distill.export.quantize import Batch, Quantizer


@dataclass(frozen=True)
class Outcome:
    """What became of int8.

    Attributes:
        file: the int8 model; of a refused one that which loses least.
        refused: whether it loses more than `export.max_loss`.
        loss: points of the main score that it loses on the selection split.
        left_out: nodes that stayed float32.
        nodes: number of nodes that can be quantized.
        trained: whether its weights were trained to bear int8.
        tries: every model that was scored: `trained`, `left_out` (a number) and `loss`.
    """

    file: Path
    refused: bool
    loss: float
    left_out: tuple[str, ...]
    nodes: int
    trained: bool
    tries: list[dict[str, Any]]


def make(
    source: Path,
    section: Export,
    batches: Sequence[Batch],
    score: Callable[[Path], float],
    reference: float,
    train: Callable[[], Path] | None,
    folder: Path,
) -> Outcome:
    """Make the int8 model of an ONNX model.

    Args:
        source: the model in float32.
        section: section `export`; `int8` is static or dynamic.
        batches: padded batches of training rows, for ranges and for the ranking of nodes.
        score: function from an ONNX file to its main score on the selection split, in points.
        reference: the float32 model's.
        train: function that trains the student to bear int8 and gives it as ONNX in float32; None: it is not trained.
        folder: scratch folder.
    """
    scored = _Scored(section, score, reference, folder)
    scored.search(source, batches, trained=False)
    if scored.best.refused and train is not None:
        scored.search(train(), batches, trained=True)
    return scored.best


class _Scored:
    """Int8 models that were scored, and the best of them: that holds and was found last, or that loses least."""

    def __init__(self, section: Export, score: Callable[[Path], float], reference: float, folder: Path):
        self.section, self.score, self.reference, self.folder = section, score, reference, folder
        self.tries: list[dict[str, Any]] = []
        self.best: Outcome | None = None

    def search(self, source: Path, batches: Sequence[Batch], trained: bool) -> None:
        """Try models of an ONNX model in float32."""
        section = self.section
        quantizer = Quantizer(source, section.int8, section.weight_bits, batches, self.folder / "quantizer")

        def ranked() -> list[str]:
            middle = batches[len(batches) // 2]  # of about the median length
            return list(sensitivity.ranked(quantizer.model, quantizer.nodes, middle, section.weight_bits))

        search.fewest(ranked, lambda left_out: self._try(quantizer, left_out, trained), section.max_loss)

    def _try(self, quantizer: Quantizer, left_out: Sequence[str], trained: bool) -> float:
        draft, kept, best = self.folder / "draft.onnx", self.folder / "int8.onnx", self.best
        quantizer.write(draft, left_out)
        loss = round(self.reference - self.score(draft), 6)
        self.tries.append({"trained": trained, "left_out": len(left_out), "loss": loss})
        refused = loss > self.section.max_loss
        if best is None or not refused or (best.refused and loss < best.loss):
            os.replace(draft, kept)
            self.best = Outcome(kept, refused, loss, tuple(left_out), len(quantizer.nodes), trained, self.tries)
        return loss


def reason(outcome: Outcome, section: Export, metric: str) -> str:
    """What stopped a refused model, for people; empty where it was not refused."""
    if not outcome.refused:
        return ""
    halves = f"with {len(outcome.left_out)} of {outcome.nodes} nodes left out" if outcome.left_out else "as a whole"
    trained = ", and trained to bear int8" if outcome.trained else ""
    return (
        f"int8 ({section.int8}) loses {outcome.loss:.2f} points of {metric} on the selection split, {halves}{trained}:"
        f" more than export.max_loss {section.max_loss:g}"
    )
