"""Sections `compare`, `confirm` and `controls` of params.yaml: which methods are compared with what, on which seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from distill.config.explain import nearest
from distill.config.schema import Section, Seed

if TYPE_CHECKING:
    from distill.config.params import Params


#: The method that controls run.
CONTROLLED = "ft"


class Compare(Section):
    """Differences between methods and their intervals: a paired bootstrap over examples and seeds."""

    baseline: str
    also: list[str]
    baseline_seeds: list[Seed]
    resamples: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    seed: Annotated[int, Field(ge=0)]


class Confirm(Section):
    """Fresh seeds for a method that was picked among several, and for those that it is compared with."""

    methods: list[str]
    seeds: list[Seed]


class Controls(Section):
    """Fine-tuning alone, for as long as a method takes."""

    methods: list[str]
    times: list[Literal["own", "total"]]


def control(time: str, method: str) -> str:
    """The name of a control, in files and rows: `ft-own-ted`.

    Args:
        time: `own` or `total`.
    """
    return f"{CONTROLLED}-{time}-{method}"


def check(params: Params) -> None:
    """Check the sections against `methods` and `seeds`.

    Raises:
        ValueError: a contradiction, in one line.
    """
    compare, confirm = params.compare, params.confirm
    lists = {
        "compare.also": compare.also,
        "compare.baseline_seeds": compare.baseline_seeds,
        "confirm.methods": confirm.methods,
        "confirm.seeds": confirm.seeds,
        "controls.methods": params.controls.methods,
        "controls.times": params.controls.times,
    }
    for field, values in lists.items():
        if len(set(values)) != len(values):
            raise ValueError(f"{field}: {values}: give each once")
    taken = {"seeds": params.seeds, "compare.baseline_seeds": compare.baseline_seeds, "confirm.seeds": confirm.seeds}
    for other, field in itertools.combinations(taken, 2):
        if both := [seed for seed in taken[field] if seed in taken[other]]:
            raise ValueError(f"{field}: {both[0]} is among {other} {taken[other]}: choose another number")
    if compare.baseline_seeds and compare.baseline not in params.methods:
        raise ValueError(
            f"compare.baseline_seeds: the baseline {compare.baseline!r} is not trained: add it to methods"
            f" {params.methods}, or set compare.baseline_seeds to []"
        )
    _check_confirm(params)
    _check_controls(params)
    _check_resamples(params)


def check_names(params: Params, methods: Sequence[str]) -> None:
    """Check that baselines are methods or sections of params.yaml; they need not be listed.

    Args:
        methods: names of all methods that there are.

    Raises:
        ValueError: one is neither.
    """
    known = sorted({*methods, *params.sections})
    for field, names in (("baseline", [params.compare.baseline]), ("also", params.compare.also)):
        if strange := [name for name in names if name not in known]:
            raise ValueError(f"compare.{field}: no method {strange[0]!r}{nearest(strange[0], known)}")


def _check_confirm(params: Params) -> None:
    names, seeds, baseline = params.confirm.methods, params.confirm.seeds, params.compare.baseline
    if bool(names) != bool(seeds):
        missing, there = ("seeds", "methods") if names else ("methods", "seeds")
        raise ValueError(f"confirm.{missing}: empty, but confirm.{there} is not: fill in both, or set both to []")
    if strange := [name for name in names if name not in params.methods]:
        raise ValueError(
            f"confirm.methods: {strange[0]!r} is not trained: add it to methods {params.methods}, or take it out"
        )
    if names and baseline not in names:
        raise ValueError(f"confirm.methods: {names}: without compare.baseline {baseline!r} it tells nothing: add that")
    if names == [baseline]:
        raise ValueError(f"confirm.methods: {names}: the baseline alone: add the method to confirm")


def _check_controls(params: Params) -> None:
    names = params.controls.methods
    if strange := [name for name in names if name not in params.methods]:
        raise ValueError(
            f"controls.methods: {strange[0]!r} is not trained: add it to methods {params.methods}, or take it out"
        )
    if CONTROLLED in names:
        raise ValueError(f"controls.methods: {CONTROLLED!r} takes its own time already: take it out")
    if names and CONTROLLED not in params.methods:
        raise ValueError(f"controls.methods: {names}: needs the time of {CONTROLLED!r}: add that to methods")
    if names and not params.controls.times:
        raise ValueError("controls.times: empty: choose own, total or both")
    made = {control(time, name) for time in ("own", "total") for name in params.methods}
    if same := sorted(made & set(params.variants)):
        raise ValueError(f"{same[0]}: controls have such names: choose another one for the variant")


def _check_resamples(params: Params) -> None:
    """The smallest p that a bootstrap can give, times Holm's factor, must be small enough for a verdict."""
    compare = params.compare
    rivals = [name for name in params.methods if name != compare.baseline]
    if compare.baseline not in params.methods or not rivals or len(params.seeds) == 1:
        return
    needed = math.ceil(2 * len(rivals) / (1 - compare.confidence) - 1e-9)
    if compare.resamples < needed:
        raise ValueError(
            f"compare.resamples: {compare.resamples} are too few to tell anything of {len(rivals)} methods"
            f" at compare.confidence {compare.confidence}: set {needed} or more"
        )
