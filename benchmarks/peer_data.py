"""What the peers' processes read: rows and models of a project, as plain files that need none of its code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

NAMES = ("input_ids", "token_type_ids")
LABELS = ("start_positions", "end_positions")


def export(project: Path, target: Path) -> None:
    """Write the project's training features to one NumPy archive: tokens in a row, `offsets`, and the labels."""
    from distill.data.loading.prepared import Prepared

    data = Prepared(project / "data/prepared", project / "data/reported")
    table = data.features("train").data
    columns = {name: table.column(name).combine_chunks().flatten().to_numpy() for name in NAMES}
    columns |= {name: table.column(name).to_numpy() for name in LABELS}
    np.savez(target, offsets=data.ragged("train").offsets, **columns)


def rows(path: Path) -> list[dict[str, list[int] | int]]:
    """The rows without padding, each with an attention mask, as a tokenizer gives them."""
    stored = np.load(path)
    arrays, offsets = {name: stored[name] for name in (*NAMES, *LABELS)}, stored["offsets"]
    found = []
    for i, (start, end) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        row = {name: arrays[name][start:end].tolist() for name in NAMES}
        row |= {"attention_mask": [1] * int(end - start)} | {name: int(arrays[name][i]) for name in LABELS}
        found.append(row)
    return found


def padded(path: Path, length: int) -> dict[str, torch.Tensor]:
    """The rows padded to `length` tokens, as most examples' preparation does: int64, (rows, length) and (rows,)."""
    unpadded = rows(path)
    columns: dict[str, Any] = {
        name: torch.tensor([[*row[name], *[0] * (length - len(row[name]))] for row in unpadded])
        for name in (*NAMES, "attention_mask")
    }
    return columns | {name: torch.tensor([row[name] for row in unpadded]) for name in LABELS}


def import_torchvision() -> None:
    """Import torchvision, of which torchdistill and transformers import parts that are not used here.

    The package index has it built against torch with CUDA. Beside a CPU build of torch its operators cannot be loaded,
    and importing it fails where it refers to two of them: declaring these is enough, nothing calls them.
    """
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        global _declared  # taken back when the object goes
        _declared = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            _declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


def models(project: Path, **fields: Any) -> tuple[Any, Any]:
    """Teacher and student of the project, with fields of their configuration changed; on the GPU if there is one."""
    from transformers import AutoModelForQuestionAnswering

    device = "cuda" if torch.cuda.is_available() else "cpu"
    folders = [project / "data/models" / role for role in ("teacher", "student")]
    teacher, student = (
        AutoModelForQuestionAnswering.from_pretrained(folder, **fields).to(device) for folder in folders
    )
    return teacher.eval(), student
