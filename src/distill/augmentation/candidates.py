"""Retrieved neighbours of the training rows, with the teacher's logits for each (stage retrieve).

`features.arrow` holds the candidates' tokens, `neighbours.npy`, int32 (training rows, K), the candidates of each
training row, nearest first, and `logits/` the teacher's logits for them. A text that is the neighbour of many is
stored, and predicted, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from distill.data.loading.batches import MULTIPLE, Collator, Rows
from distill.errors import UserError
from distill.runtime import checkpoints
from distill.signals.cache import Cache
from distill.tasks.base import Task

if TYPE_CHECKING:
    from distill.config.params import Params


class Candidates:
    """K candidates for every training feature.

    Args:
        features: the candidates' features (`datasets.Dataset`, tokens only).
        cache: the teacher's logits over them.
        neighbours: int (training rows, K): rows of `features`, nearest first.
        pad_token_id: id of the padding token.

    Raises:
        UserError: the three do not belong together.
    """

    def __init__(self, features: Any, cache: Cache, neighbours: np.ndarray, task: Task, pad_token_id: int):
        if neighbours.ndim != 2 or len(features) != len(cache.offsets) - 1 or neighbours.max() >= len(features):
            raise UserError(
                f"data/candidates: {len(features)} candidates, logits for {len(cache.offsets) - 1} and neighbours of"
                f" shape {neighbours.shape} do not belong together: run `dvc repro retrieve`"
            )
        # Of words that nobody has tagged: at which tokens they count.
        labels = [name for name in task.labels if name in features.column_names]
        self.rows = Rows(features, ("input_ids", "token_type_ids", *labels))
        self.cache, self.neighbours, self.task = cache, neighbours, task
        self.per_row = neighbours.shape[1]
        self.collate = Collator(pad_token_id, labels)

    @classmethod
    def load(cls, folder: Path, identity: Mapping[str, str], task: Task, pad_token_id: int) -> Candidates:
        """Open what stage retrieve wrote, memory-mapped.

        Args:
            identity: content hashes of the data and the teacher that they belong to (`writer.identity`).

        Raises:
            UserError: a file is missing or damaged, or they belong to other features.
        """
        import datasets

        cache = Cache.open(folder / "logits", identity, "retrieve")
        try:
            if problem := checkpoints.fault(folder, checkpoints.CHECKSUMS):
                raise ValueError(problem)
            features = datasets.Dataset.from_file(str(folder / "features.arrow"))
            neighbours = np.load(folder / "neighbours.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{folder}: the candidates cannot be read ({reason}): run `dvc checkout {folder}`, or `dvc repro"
                " retrieve`"
            ) from error
        return cls(features, cache, neighbours, task, pad_token_id)

    def of(self, index: Tensor, count: int | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """The `count` nearest candidates (None: all K) of training rows `index` (B,), and the teacher's logits.

        Returns:
            (padded batch of B · count rows, those of a training row one after another; the teacher's logits for them,
            float32, (B · count, L, C) for tasks with logits per token, else (B · count, C))
        """
        wanted = self.neighbours[index.tolist(), :count].reshape(-1).tolist()
        batch = self.collate(self.rows.__getitems__(wanted))
        logits = torch.from_numpy(self.cache.rows("logits", wanted, batch["input_ids"].shape[1]))
        device = index.device
        return {name: value.to(device) for name, value in batch.items()}, logits.to(device)

    def pick(self, batch: dict[str, Tensor], logits: Tensor, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Rows of a batch and logits from `of`, without padding that only the dropped rows needed."""
        width = -(-int(batch["attention_mask"][rows].sum(1).max()) // MULTIPLE) * MULTIPLE
        picked = {name: value[rows, :width] if value.dim() == 2 else value[rows] for name, value in batch.items()}
        return picked, logits[rows, :width] if self.task.per_token else logits[rows]


def required(candidates: Candidates | None, method: str, count: int, field: str) -> Candidates:
    """The candidates, checked to be at least `count` for each training row.

    Raises:
        UserError: there are none, or fewer.
    """
    if candidates is None:
        raise UserError(f"{method} needs retrieved candidates: run `dvc repro retrieve`")
    _check_count(method, field, count, candidates.per_row)
    return candidates


def check_params(params: Params, method: str, field: str) -> None:
    """Raise a UserError where the method wants more candidates than stage retrieve looks for."""
    _check_count(method, field, getattr(params.sections[method], field), params.retrieve.candidates)


def _check_count(method: str, field: str, wanted: int, available: int) -> None:
    if wanted > available:
        raise UserError(
            f"params.yaml: {method}.{field}: {wanted}, but each training row has {available} candidates: raise"
            f" retrieve.candidates, or lower {method}.{field}"
        )
