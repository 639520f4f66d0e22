"""The weights of a training on its way, evenly spaced before its end, which is not among them.

They lie in sealed folders in the training's scratch. A killed training resumes from a checkpoint that is no older than
the snapshots before it, and writes the later ones again, with the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from distill.errors import UserError
from distill.runtime import checkpoints
from distill.runtime.files import publish
from distill.training.weights import save_weights


def steps(count: int, total: int) -> dict[int, int]:
    """The steps, of `total`, after which weights are kept → number of the snapshot, 1 to `count`.

    Raises:
        UserError: there are too few steps.
    """
    if count and total <= count:
        raise UserError(
            f"params.yaml: teacher.snapshots: {count}, but the training has {total} updates: lower it below that, or"
            " train longer"
        )
    return {total * number // (count + 1): number for number in range(1, count + 1)}


def file(folder: Path, number: int) -> Path:
    """The weights of a snapshot.

    Args:
        folder: the training's scratch.
    """
    return _place(folder, number) / "weights.safetensors"


def keep(folder: Path, number: int, model: nn.Module) -> None:
    """Write the present weights as a snapshot, never half-way."""
    draft = folder / "snapshots" / "draft"
    draft.mkdir(parents=True, exist_ok=True)
    save_weights(model, draft / "weights.safetensors")
    checkpoints.seal(draft)
    publish(draft, _place(folder, number))


def lost(folder: Path, step: int, planned: dict[int, int]) -> bool:
    """Whether a snapshot that the training took up to `step` is not there.

    Args:
        planned: as of `steps`.
    """
    due = [number for taken, number in planned.items() if taken <= step]
    return not all(checkpoints.is_complete(_place(folder, number)) for number in due)


def _place(folder: Path, number: int) -> Path:
    return folder / "snapshots" / str(number)
