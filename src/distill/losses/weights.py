"""Weights of loss terms: a number, or a number that follows a schedule over training.

Source: the encoder-distillation study's four cosine schedules, written over progress p (0 in the first step, 1 in the
last) with warm-up share w = warm-up steps / N and middle m = w + (1 − w)/2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from distill.config.schema import Section

Schedule = Literal["constant", "linear", "cosine_growth", "cosine_descent", "cosine_v", "cosine_peak"]


class ScheduledWeight(Section):
    """`value` times the schedule's factor; `warmup` is a share of all updates (the study takes 0.1)."""

    value: float
    schedule: Schedule
    warmup: Annotated[float, Field(ge=0, lt=1)]

    @model_serializer(mode="wrap")
    def _as_written(self, dump: SerializerFunctionWrapHandler) -> Any:
        """A constant weight as its number, so that MLflow shows it under the name that params.yaml has."""
        return self.value if self.schedule == "constant" and not self.warmup else dump(self)

    def at(self, progress: float) -> float:
        """The weight at `progress` (0 before the first update, 1 after the last)."""
        return self.value * factor(self.schedule, progress, self.warmup)


def _from_number(value: Any) -> Any:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return {"value": value, "schedule": "constant", "warmup": 0.0}
    return value


Weight = Annotated[ScheduledWeight, BeforeValidator(_from_number)]


def _is_share(weight: ScheduledWeight) -> ScheduledWeight:
    if not 0 <= weight.value <= 1:
        raise ValueError(f"{weight.value:g} is no share: other terms get 1 minus it: give a number from 0 to 1")
    return weight


#: A weight from 0 to 1 that leaves the rest of 1 to other terms.
Share = Annotated[Weight, AfterValidator(_is_share)]


@dataclass(frozen=True)
class Rest:
    """The remainder of 1 after other weights, at every moment: (1 − Σ weights) · times; usable as a weight.

    Attributes:
        weights: weights of the other terms, together at most 1.
        times: further factor; None: 1.
    """

    weights: tuple[ScheduledWeight, ...]
    times: ScheduledWeight | None = None

    def at(self, progress: float) -> float:
        """The weight at `progress`, as of `ScheduledWeight.at`."""
        remainder = 1 - sum(weight.at(progress) for weight in self.weights)
        return remainder if self.times is None else remainder * self.times.at(progress)


def factor(schedule: Schedule, progress: float, warmup: float) -> float:
    """The schedule's factor in [0, 1].

    `linear` grows from 0 at the end of warm-up to 1 at the end of training.
    """
    p, w = min(max(progress, 0.0), 1.0), warmup
    m = w + (1 - w) / 2
    if schedule == "constant":
        return 1.0
    after = max(p - w, 0.0) / (1 - w)
    if schedule == "linear":
        return after
    if schedule == "cosine_growth":
        return 1 - math.cos(math.pi / 2 * after)
    if schedule == "cosine_descent":
        return math.cos(math.pi / 2 * after)
    down, up = math.cos(math.pi / 2 * max(p - w, 0.0) / (m - w)), math.sin(math.pi / 2 * (p - m) / (1 - m))
    valley = down if p <= m else up
    return valley if schedule == "cosine_v" else 1 - valley
