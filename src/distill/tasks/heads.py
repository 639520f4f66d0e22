"""What classification and regression share: one row of logits per text or pair of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from distill.tasks.base import MetricInputs


class FirstTokenHead(nn.Module):
    """First token → dropout → Linear → tanh → dropout → Linear: hidden states (B, L, width) to logits (B, channels)."""

    def __init__(self, width: int, channels: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense, self.out = nn.Linear(width, width), nn.Linear(width, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, width) → (B, channels); tokens after the first, padding too, are ignored."""
        return self.out(self.dropout(self.dense(self.dropout(hidden[:, 0])).tanh()))


def report_scores(
    score: Callable[[MetricInputs], dict[str, float]], selection: MetricInputs, reported: Mapping[str, MetricInputs]
) -> dict[str, float]:
    """Scores and counts of the reported splits, by the prefix of their names, then `selection_…` scores."""
    scores: dict[str, float] = {}
    for beginning, inputs in reported.items():
        named = score(inputs) | {"examples": len(inputs.references)}
        scores |= {f"{beginning}{name}": value for name, value in named.items()}
    return scores | {f"selection_{name}": value for name, value in score(selection).items()}
