"""Simulates comparisons of methods: how often is a difference found, and how often is one found that is not there?

    python -m benchmarks.power [--experiments 4000]

prints the table in docs/reports.md. The numbers of an experiment are drawn: the score of a run is its method's true
score, plus noise of the examples that all runs of the method share, plus noise of the run. They then go through the
project's own code: `distill.analysis.seed_noise`, `power.tail`, `significance.holm`. What the bootstrap would estimate,
the size of the shared noise, is taken as known. tests/analysis/test_significance.py has experiments with the bootstrap.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distill.analysis import power, seed_noise, significance
from distill.analysis.seed_noise import SeedNoise

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Design:
    """What is compared, in points.

    Attributes:
        methods: number of methods that are compared with the baseline.
        seeds: seeds of each. further: seeds that the baseline has besides.
        spread: standard deviation of a method's runs, or one for each method. baseline_spread: the baseline's.
        shared: standard deviation of what the examples do to all runs of a method, or of the baseline.
        effect: true difference of the first method to the baseline; the others have none.
    """

    methods: int = 7
    seeds: int = 3
    further: int = 0
    spread: float | Sequence[float] = 0.5
    baseline_spread: float = 0.5
    shared: float = 0.35
    effect: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """Shares of experiments, 0 to 1.

    Attributes:
        coverage: intervals that cover the true difference, over all methods.
        wrong: experiments with any wrong verdict: better or worse where there is no difference, or the wrong side.
        found: experiments in which the first method is called better.
        detectable: median of the smallest difference that a comparison could have found, in points.
    """

    coverage: float
    wrong: float
    found: float
    detectable: float


Rule = Callable[[np.ndarray, np.ndarray], SeedNoise]


def own(methods: np.ndarray, baseline: np.ndarray) -> SeedNoise:
    """Each method's own variance, with S − 1 degrees of freedom."""
    return seed_noise.pooled(methods[..., None, :], baseline[..., None, :])


def everything(methods: np.ndarray, baseline: np.ndarray) -> SeedNoise:
    """The variance of all runs, the baseline's too, after methods and seeds are taken out (Hillis 2014); K = S."""
    runs = np.concatenate([methods, baseline[..., None, :]], -2)
    left = runs - runs.mean(-1, keepdims=True) - runs.mean(-2, keepdims=True) + runs.mean((-2, -1), keepdims=True)
    count, seeds = runs.shape[-2:]
    freedom = (count - 1) * (seeds - 1)
    variance = 2 * (left**2).sum((-2, -1)) / freedom / seeds
    degrees = np.full_like(variance, freedom)[..., None]
    return SeedNoise(variance[..., None], degrees, degrees)


def pooled(methods: np.ndarray, baseline: np.ndarray) -> SeedNoise:
    """What the project does."""
    return SeedNoise(*(part[..., None] for part in seed_noise.pooled(methods, baseline)))


def simulate(design: Design, experiments: int, seed: int, rule: Rule = pooled, sized: int = 40) -> Outcome:
    """Outcome of so many experiments.

    Args:
        sized: number of experiments of which the smallest difference is computed.
    """
    generator = np.random.default_rng(seed)
    count, seeds = design.methods, design.seeds
    true = np.zeros(count)
    true[0] = design.effect
    spread = np.broadcast_to(design.spread, count)[:, None]
    runs = true[:, None] + generator.normal(0, spread, (experiments, count, seeds))
    runs += generator.normal(0, design.shared, (experiments, count, 1))
    baseline = generator.normal(0, design.baseline_spread, (experiments, seeds + design.further))
    baseline += generator.normal(0, design.shared, (experiments, 1))

    noise = rule(runs, baseline)
    error = np.sqrt(np.broadcast_to(noise.variance, (experiments, count)))
    freedom = np.broadcast_to(noise.freedom, (experiments, count))
    planned = np.broadcast_to(noise.planned, (experiments, count))
    shared = design.shared * np.sqrt(2)
    found = runs.mean(-1) - baseline.mean(-1)[:, None]

    def p(values: np.ndarray) -> np.ndarray:
        return 2 * power.tail(np.abs(values), shared, error, freedom)

    certain = np.array([significance.holm(row) for row in p(found)]) <= 1 - CONFIDENCE
    wrong = certain & ((true == 0) | (np.sign(found) != np.sign(true)))
    level = (1 - CONFIDENCE) / count
    sizes = [
        power.detectable(power.Noise(shared, error[k, 0], planned[k, 0]), level) for k in range(min(sized, experiments))
    ]
    return Outcome(
        coverage=float((p(found - true) > 1 - CONFIDENCE).mean()),
        wrong=float(wrong.any(1).mean()),
        found=float((certain[:, 0] & (found[:, 0] > 0)).mean()),
        detectable=float(np.median(sizes)) if sizes else float("nan"),
    )


EQUAL = {"all alike": {}}
UNEQUAL = {
    "baseline 3 times as restless": {"baseline_spread": 1.5},
    "baseline a fifth as restless": {"baseline_spread": 0.1},
    "one method 3 times as restless": {"one": 1.5},
    "one method 6 times as restless": {"one": 3.0},
}
RULES: dict[str, Rule] = {"own": own, "everything": everything, "pooled": pooled}


def design_of(kind: str, methods: int, seeds: int, further: int = 0) -> Design:
    """A design by the name of what is unequal in it."""
    changes = dict((EQUAL | UNEQUAL)[kind])
    spread = [0.5] * methods
    if "one" in changes:
        spread[-1] = changes.pop("one")
    return Design(methods=methods, seeds=seeds, further=further, spread=spread, **changes)


def table(experiments: int) -> list[str]:
    """The rows of the table in docs/reports.md, as Markdown."""
    lines = ["| noise | methods × seeds | variance | coverage | any wrong verdict | +2 found | found in 80% |"]
    lines.append("|---|---|---|---:|---:|---:|---:|")

    def row(kind: str, methods: int, seeds: int, further: int, rule: str) -> None:
        design = design_of(kind, methods, seeds, further)
        null = simulate(design, experiments, 1, RULES[rule])
        effect = simulate(replace(design, effect=2.0), experiments, 2, RULES[rule])
        more = f", baseline + {further}" if further else ""
        lines.append(
            f"| {kind} | {methods} × {seeds}{more} | {rule} | {null.coverage:.1%} | {null.wrong:.1%} |"
            f" {effect.found:.0%} | {null.detectable:.1f} |"
        )

    for methods in (3, 7, 20):
        for seeds in (2, 3, 5):
            for rule in ("own", "pooled"):
                row("all alike", methods, seeds, 0, rule)
        row("all alike", methods, 3, 6, "pooled")
    for kind in UNEQUAL:
        for methods in (7, 20):
            for rule in RULES:
                row(kind, methods, 3, 0, rule)
    row("baseline 3 times as restless", 7, 3, 6, "pooled")
    row("baseline 3 times as restless", 20, 2, 0, "pooled")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.power", description=__doc__)
    parser.add_argument("--experiments", type=int, default=4000)
    print("\n".join(table(parser.parse_args().experiments)))
