"""Prepares fresh seeds for the method that the selection split picks: they tell whether its lead is luck.

    python -m pipeline.commands.confirm            # as many fresh seeds as `seeds` has
    python -m pipeline.commands.confirm --seeds 5
    python -m pipeline.commands.confirm --method ted

Writes section `confirm` of params.yaml: the picked method, `compare.baseline`, and those of `compare.also` that are
listed. `dvc repro` then trains these students, and the report gives the verdict of the fresh seeds alone.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from distill import parameters
from distill.analysis.breakdown import best_method
from distill.config import reading
from distill.config.params import Params
from distill.errors import UserError
from distill.experiments import params_file
from distill.runtime import json_files
from distill.runtime.files import write_text
from distill.tasks.registry import load_task
from pipeline.process import command
from pipeline.stage import paths
from pipeline.summary import contents
from pipeline.summary.runs import baselines

#: Seeds are drawn from here on upwards, so that they are easy to tell from those of the run.
FIRST = 101


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (2: something that the user can mend)."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.commands.confirm", description=__doc__)
    parser.add_argument("--seeds", type=int, metavar="N", help="number of fresh seeds (default: as many as `seeds`)")
    parser.add_argument("--method", help="the method to confirm (default: the best one on the selection split)")
    options = parser.parse_args(argv)
    try:
        params = paths.params()
        section = planned(params, options.method or picked(params), options.seeds)
        text = paths.PARAMS.read_text(encoding="utf-8")
        text = params_file.replace(text, {("confirm", name): value for name, value in section.items()})
        parameters.parse(reading.parse(text, paths.PARAMS), paths.PARAMS)  # what is written must be possible
        write_text(paths.PARAMS, text)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    count = len(section["methods"]) * len(section["seeds"])
    print(f"params.yaml: confirm: {', '.join(section['methods'])} on seeds {', '.join(map(str, section['seeds']))}")
    if len(section["seeds"]) == 1:
        print("One seed gives no verdict: --seeds 3 or more would.")
    print(f"Next, to train these {count} students and compare them: dvc repro")
    return 0


def picked(params: Params) -> str:
    """The method with the best score on the selection split in the last summary.

    Raises:
        UserError: there is no finished run, or nothing to pick from.
    """
    path = paths.METRICS / "summary.json"
    summary = json_files.read(path, "run `dvc repro` first", contents.SUMMARY)
    metric = load_task(params.task, params.evaluate.metric).main_metric
    listed = [name for name in params.methods if name in summary]
    best = best_method(summary, listed, metric, params.compare.baseline)
    if best is None:
        raise UserError(f"{path}: has no method but {params.compare.baseline}: nothing was picked")
    return best


def planned(params: Params, method: str, count: int | None = None) -> dict[str, Any]:
    """Section `confirm`: the method, its baselines, and seeds that were never used here.

    Args:
        count: number of seeds; None: as many as `seeds`.

    Raises:
        UserError: the method or the baseline is not listed, or the number is below 1.
    """
    baseline = params.compare.baseline
    if baseline not in params.methods:
        raise UserError(f"compare.baseline: {baseline!r} is not among methods {params.methods}: add it in params.yaml")
    if method not in params.methods or method == baseline:
        raise UserError(f"{method}: expected a method of {params.methods} other than {baseline}")
    count = len(params.seeds) if count is None else count
    if count < 1:
        raise UserError(f"--seeds {count}: give 1 or more")
    used = {*params.seeds, *params.compare.baseline_seeds, *params.confirm.seeds, FIRST - 1}
    first = max(used) + 1
    methods = dict.fromkeys([method, *baselines(params, params.methods)])
    return {"methods": list(methods), "seeds": list(range(first, first + count))}


if __name__ == "__main__":
    sys.exit(command.run(main))
