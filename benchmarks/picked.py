"""Simulates picking: how far does the best of equal methods seem to lead, because it was picked?

    python -m benchmarks.picked [--experiments 20000]

prints the table in docs/reports.md. All methods are equal. The luck of a seed moves a run's score on the selection
split and on the reported one alike; each split adds noise of its own. The method with the best mean on the selection
split is picked, and its lead over the mean of the others is measured on the reported split: over the seeds by which it
was picked, and over fresh seeds, as `python -m pipeline.commands.confirm` has them.
"""

from __future__ import annotations

import argparse

import numpy as np

#: Standard deviations, in points: of a run by its seed, and of a run's score by the examples of each split.
SEED, SELECTION, REPORTED = 0.7, 0.7, 0.7


def leads(methods: int, seeds: int, experiments: int, number: int = 0) -> tuple[float, float]:
    """Mean lead of the picked method in points: (over the seeds by which it was picked, over fresh ones)."""
    generator = np.random.default_rng([number, methods, seeds])
    luck = generator.normal(0, SEED, (experiments, methods, seeds))
    selection = (luck + generator.normal(0, SELECTION, luck.shape)).mean(-1)
    reported = (luck + generator.normal(0, REPORTED, luck.shape)).mean(-1)
    fresh = generator.normal(0, np.hypot(SEED, REPORTED), luck.shape).mean(-1)
    best = selection.argmax(1)[:, None]

    def lead(scores: np.ndarray) -> float:
        picked = np.take_along_axis(scores, best, 1)[:, 0]
        return float((picked - (scores.sum(1) - picked) / (methods - 1)).mean())

    return lead(reported), lead(fresh)


def table(experiments: int) -> list[str]:
    """The rows of the table in docs/reports.md, as Markdown."""
    lines = ["| equal methods × seeds | lead of the picked one | on fresh seeds |", "|---|---:|---:|"]
    for methods in (3, 7, 20):
        for seeds in (1, 3, 5):
            picked, fresh = leads(methods, seeds, experiments)
            lines.append(f"| {methods} × {seeds} | {picked:+.2f} | {round(fresh, 2) + 0.0:+.2f} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picked", description=__doc__)
    parser.add_argument("--experiments", type=int, default=20_000)
    print("\n".join(table(parser.parse_args().experiments)))
