"""Which values to try next: Optuna's tree-structured Parzen estimator, as a function of what is known so far.

J. Bergstra and others, Algorithms for Hyper-Parameter Optimization, NeurIPS 2011. Nothing is kept between two calls:
a caller that keeps the results (DVC's experiments) can stop and resume, and gets the same proposals.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from distill.errors import UserError

KINDS = ("log", "float", "int", "choice")
_DIGITS = 4  # significant digits of proposed numbers: no score depends on a fifth, and people read and type them

Known = tuple[tuple[Any, ...], float | None]


@dataclass(frozen=True)
class Space:
    """The values that one parameter may take.

    Attributes:
        name: dotted name of the parameter.
        kind: log (numbers, their logarithm drawn evenly) | float | int | choice.
        low, high: bounds of numbers, both included; 0 for choices.
        choices: values of a `choice`.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()

    def __contains__(self, value: Any) -> bool:
        if self.kind == "choice":
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (self.kind != "int" or value == int(value))


def parse(text: str) -> Space:
    """`ted.mse_alpha=log:10:10000`, `…=float:0:1`, `…=int:1:8`, `…=choice:uniform,last` → a `Space`.

    Raises:
        UserError: the text has another form, or an impossible range.
    """
    name, equals, described = text.partition("=")
    kind, colon, rest = described.partition(":")
    if not (name and equals and colon) or kind not in KINDS:
        raise UserError(
            f"--space {text}: expected NAME=log:LOW:HIGH, float:LOW:HIGH, int:LOW:HIGH or choice:A,B,C, e.g."
            " ted.mse_alpha=log:10:10000"
        )
    if kind == "choice":
        choices = tuple(_number(item) for item in rest.split(","))
        if any(isinstance(choice, dict | list) or choice == "" for choice in choices):
            raise UserError(f"--space {text}: choices are single values, with commas between: choice:uniform,last")
        return Space(name, kind, choices=choices)
    bounds = [_number(item) for item in rest.split(":")]
    whole = int if kind == "int" else int | float
    if len(bounds) != 2 or not all(isinstance(bound, whole) and not isinstance(bound, bool) for bound in bounds):
        numbers = "whole numbers" if kind == "int" else "numbers"
        raise UserError(f"--space {text}: expected two {numbers}: {name}={kind}:LOW:HIGH")
    low, high = bounds
    if not low < high or (kind == "log" and low <= 0):
        need = "two numbers above 0, the lower one first" if kind == "log" else "the lower number first"
        raise UserError(f"--space {text}: from {low} to {high}: {kind} needs {need}")
    return Space(name, kind, low, high)


def check_installed() -> None:
    """Raise a UserError where Optuna is not installed: it is an extra."""
    if importlib.util.find_spec("optuna") is None:
        raise UserError("the package optuna is not installed: run `pip install -e '.[sweep]'`")


def propose(spaces: Sequence[Space], known: Sequence[Known], seed: int) -> tuple[Any, ...]:
    """The values to try next: the same for the same arguments.

    Args:
        spaces: ranges, one per parameter.
        known: tried values, in the order of `spaces`, with their score (higher is better); None: the trial failed.
        seed: seed of the draws; the first ten trials are random.
    """
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {}
    for space in spaces:
        if space.kind == "choice":
            distributions[space.name] = CategoricalDistribution(space.choices)
        elif space.kind == "int":
            distributions[space.name] = IntDistribution(int(space.low), int(space.high))
        else:
            distributions[space.name] = FloatDistribution(space.low, space.high, log=space.kind == "log")
    # A sampler of the same seed repeats its draws, so each trial has another seed.
    drawn = int(np.random.SeedSequence([seed, len(known)]).generate_state(1)[0])
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=drawn))
    for values, score in known:
        study.add_trial(
            create_trial(
                params={space.name: value for space, value in zip(spaces, values, strict=True)},
                distributions=distributions,
                value=score,
                state=TrialState.FAIL if score is None else TrialState.COMPLETE,
            )
        )
    proposal = study.ask(distributions).params
    return tuple(_rounded(space, proposal[space.name]) for space in spaces)


def _rounded(space: Space, value: Any) -> Any:
    if space.kind in ("choice", "int"):
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), space.low), space.high)


def _number(text: str) -> Any:
    """A value as YAML has it, and 1e-5 as a number, which PyYAML takes for text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return value if isinstance(number, float) and not math.isfinite(number) else number
