"""What classification and regression share: one row of logits per text or pair of texts."""

from __future__ import annotations

from torch import Tensor, nn

from distill.config.schema import Evaluate
from distill.tasks.base import Predicted, Task


class FirstTokenHead(nn.Module):
    """First token → dropout → Linear → tanh → dropout → Linear: hidden states (B, L, width) to logits (B, channels)."""

    def __init__(self, width: int, channels: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense, self.out = nn.Linear(width, width), nn.Linear(width, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, width) → (B, channels); what stands behind the first token, padding too, is not looked at."""
        return self.out(self.dropout(self.dense(self.dropout(hidden[:, 0])).tanh()))


def report_scores(
    task: Task, selection: Predicted, validation: Predicted, settings: Evaluate, mismatched: Predicted | None
) -> dict[str, float]:
    """`task.score` of the validation split, of the selection split (`selection_…`) and of `mismatched_…`; counts."""
    scores = task.score(validation, settings) | {"examples": len(validation.examples)}
    if mismatched is not None:
        other = task.score(mismatched, settings) | {"examples": len(mismatched.examples)}
        scores |= {f"mismatched_{name}": value for name, value in other.items()}
    return scores | {f"selection_{name}": value for name, value in task.score(selection, settings).items()}
