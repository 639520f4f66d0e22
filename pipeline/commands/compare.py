"""Compares any methods of the last run: difference, interval, p, verdict, and the smallest difference to be seen.

    python -m pipeline.commands.compare ted kd     # ted against kd
    python -m pipeline.commands.compare            # every method against every other

It reads data/predictions, writes nothing, and trains nothing. A single pair is compared as in the report's table of all
against the second one; its verdict is not corrected for other comparisons that you make. All pairs are corrected for
their number (Holm), over the seeds that all methods have.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from distill.analysis import significance
from distill.analysis.power import POWER
from distill.analysis.significance import Difference
from distill.config.params import Params
from distill.errors import UserError
from distill.report import formatting
from distill.report.results import title
from distill.tasks.base import Task
from pipeline.process import command
from pipeline.stage import paths
from pipeline.stage.inputs import open_data
from pipeline.summary import runs


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (2: something that the user can mend)."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.commands.compare", description=__doc__)
    parser.add_argument("methods", nargs="*", metavar="method", help="two names from `methods`; none: all pairs")
    names = parser.parse_args(argv).methods
    try:
        params = paths.params()
        check(names, params)
        data, task = open_data(params, reported=True)
        tables = runs.read_tables(runs.compared(params), task)
        if names:
            found = pair(names[0], names[1], runs.scored(tables, params.methods, task, data, params), params)
        else:
            common = {name: {seed: seeds[seed] for seed in params.seeds} for name, seeds in tables.items()}
            scored = runs.scored(common, params.methods, task, data, params)
            found = significance.pairs(scored, params.methods)
        print("\n".join(lines(found, task, params)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def check(names: list[str], params: Params) -> None:
    """Raise a UserError where these are not none, or two different names in `methods`."""
    if len(names) not in (0, 2) or len(set(names)) != len(names):
        raise UserError(f"{' '.join(names)}: give two different methods, or none for all pairs")
    if strange := [name for name in names if name not in params.methods]:
        raise UserError(f"{strange[0]}: not among methods {params.methods} in params.yaml")
    if not names and len(params.methods) < 2:
        raise UserError(f"methods: {params.methods}: nothing to compare: list at least two in params.yaml")


def pair(method: str, baseline: str, scored: significance.Scored, params: Params) -> dict[tuple[str, str], Difference]:
    """One method against another, with the seeds' variance of all methods against that one.

    Further seeds count where the other one is `compare.baseline`.
    """
    rivals = [name for name in params.methods if name != baseline]
    return {(method, baseline): scored.difference(method, baseline, scored.noise(rivals, baseline))}


def lines(found: Mapping[tuple[str, str], Difference], task: Task, params: Params) -> list[str]:
    """The table, as Markdown, and how to read it."""
    level = params.compare.confidence
    verdicts, least = (
        function({f"{a} − {b}": item for (a, b), item in found.items()}, level)
        for function in (significance.verdicts, significance.detectable)
    )
    text = [f"| {title(task.main_metric)} | difference | {level * 100:g}% interval | p | smallest | verdict |"]
    text.append("|---|---:|---|---:|---:|---|")
    for (method, other), item in found.items():
        name = f"{method} − {other}"
        text.append(
            f"| {name} | {formatting.number(item.value, signed=True)} | {formatting.interval(item.low, item.high)} |"
            f" {formatting.probability(item.p)} | {formatting.number(least[name])} | {verdicts[name]} |"
        )
    family = f"corrected for {len(found)} pairs (Holm)" if len(found) > 1 else "not corrected for other comparisons"
    seeds = formatting.plural(len(params.seeds), "seed")
    text += ["", f"{seeds}. Verdicts are {family}. smallest: a true difference of this size is found in {POWER:.0%}."]
    if len(params.seeds) == 1:
        text.append("One seed: the interval is over examples only, and there is no verdict.")
    return text


if __name__ == "__main__":
    sys.exit(command.run(main))
