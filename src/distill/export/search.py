"""The fewest nodes to leave out of int8 so that a model's score holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Try:
    """An int8 model that was scored.

    Attributes:
        left_out: nodes that stayed float32.
        loss: points of the main score that it loses against float32; below 0 where it gains.
    """

    left_out: tuple[str, ...]
    loss: float


def fewest(
    ranked: Callable[[], Sequence[str]], loss_of: Callable[[Sequence[str]], float], max_loss: float
) -> list[Try]:
    """Try int8 models until one loses no more than `max_loss`, and then with fewer nodes left out.

    All nodes first; then without the worse half of them: a model for which that does not help is beyond leaving out.
    Then by bisection, as if a model got better with each node that is left out. Of the tries that hold, each leaves out
    fewer nodes than those before it.

    Args:
        ranked: function that gives the nodes, worst first (`sensitivity.ranked`); called where it is needed.
        loss_of: function from the nodes that stay float32 to the loss in points.

    Returns:
        all tries in their order.
    """
    tries = [Try((), loss_of(()))]
    if tries[0].loss <= max_loss:
        return tries
    names = list(ranked())

    def holds(count: int) -> bool:
        left_out = tuple(names[:count])
        tries.append(Try(left_out, loss_of(left_out)))
        return tries[-1].loss <= max_loss

    enough, short = len(names) // 2, 0
    if not enough or not holds(enough):
        return tries
    while enough - short > 1:
        middle = (enough + short) // 2
        if holds(middle):
            enough = middle
        else:
            short = middle
    return tries
