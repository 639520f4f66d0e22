"""Search values of a method's parameters by its score on the selection split, with Optuna:

python -m pipeline.commands.tune ted --trials 20 --space ted.mse_alpha=log:10:10000 --space ted.kl_alpha=log:0.1:10

Each trial is a DVC experiment. The trials are read from the experiments, so the same command resumes where it was
stopped, and experiments of a sweep count too.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from dataclasses import dataclass, field
from typing import Any

from distill.errors import UserError
from distill.experiments import search, sweeps
from distill.experiments.search import Known, Space
from distill.experiments.sweeps import Point, Run, Sweep
from pipeline.commands import experiments, sweep
from pipeline.process import command

_FAILURES = 3  # in a row: the values are not the cause
_SHOWN = 15  # last lines of a failed trial, DVC's error among them


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (2: something that the user can mend, 130: interrupted)."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.tune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", help="whose parameters and score")
    parser.add_argument("--trials", type=int, required=True, help="experiments in all, with those that are there")
    parser.add_argument(
        "--space",
        action="append",
        required=True,
        metavar="NAME=RANGE",
        help="log:LOW:HIGH, float:LOW:HIGH, int:LOW:HIGH or choice:A,B,C; once per parameter",
    )
    parser.add_argument("--seed", type=int, default=1, help="of Optuna's draws (default: 1)")
    parser.add_argument("--verbose", action="store_true", help="show what DVC and the stages print")
    options = parser.parse_args(argv)
    try:
        search.check_installed()
        spaces = [search.parse(text) for text in options.space]
        Tuning(options.method, spaces, options.seed, options.verbose).run(options.trials)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


@dataclass
class Tuning:
    """A search under way.

    Attributes:
        method: name of the method.
        spaces: ranges, one per parameter.
        seed: seed of the draws.
        verbose: whether trials print what DVC and the stages print; else a trial is one line, unless it fails.
        unrecorded: trials of this process without an experiment: failures, and values that were known already.
    """

    method: str
    spaces: list[Space]
    seed: int
    verbose: bool = False
    unrecorded: list[Known] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raise a UserError if there is nothing to build on."""
        experiments.check_committed()
        self.base: Run = experiments.baseline()
        listed = self.base.params["methods"]
        if self.method not in listed:
            raise UserError(f"{self.method}: not among the methods of params.yaml ({', '.join(listed)}): list it there")
        if len({space.name for space in self.spaces}) < len(self.spaces):
            raise UserError("--space: a parameter is named twice: give each one range")
        self.names = [space.name for space in self.spaces]

    def run(self, trials: int) -> None:
        """Try values until there are `trials` trials, and print the table."""
        results = self.collect()
        print(f"{self.tried(results)} of {trials} trials are there", flush=True)
        failed = 0
        while self.tried(results) < trials:
            known = self.known(results)
            values = search.propose(self.spaces, known, self.seed)
            described = ", ".join(f"{name} = {sweeps.shown(v)}" for name, v in zip(self.names, values, strict=True))
            if values in [tested for tested, _ in known]:
                score = next(score for tested, score in known if tested == values)
                print(f"{described}: proposed again, and known already", flush=True)
                self.unrecorded.append((values, score))
                continue
            name = self.next_name()
            print(f"{name}: {described}", end="\n" if self.verbose else ": ", flush=True)
            code, printed = self.trial(name, values)
            results = self.collect()
            label = f"{name}: " if self.verbose else ""
            if point := next((point for point in results.points if point.name == name), None):
                print(f"{label}{results.selection} {point.scores[results.selection]:.2f}", flush=True)
                failed = 0
                continue
            reason = results.left_out.get(name, "DVC's error is above" if self.verbose else "it says last:")
            print(f"{label}failed (dvc ended with {code}): {reason}", flush=True)
            for line in [line for line in printed.splitlines() if line.strip()][-_SHOWN:]:
                print(f"  {line}", flush=True)
            self.unrecorded.append((values, None))
            failed += 1
            if failed == _FAILURES:
                raise UserError(f"{failed} trials in a row failed: mend what DVC says above; the same command goes on")
        print()
        sweep.show(results)
        if command := sweep.command(results):
            print(f"\nbest: {results.best.name}. To take it: {shlex.join(command)}")
        else:
            print("\nbest: the last commit itself")

    def trial(self, name: str, values: tuple[Any, ...]) -> tuple[int, str]:
        """Run an experiment; returns DVC's exit code, and what was printed and is not on the terminal yet."""
        words = ("exp", "run", "--temp", "--name", name, *self.overrides(values))
        return (experiments.run_dvc(*words), "") if self.verbose else experiments.run_dvc_silently(*words)

    def collect(self) -> Sweep:
        """The baseline and all experiments that differ in the searched parameters only."""
        return sweeps.collect(self.base, experiments.on_baseline(), self.names, self.method)

    def known(self, results: Sweep) -> list[Known]:
        """Values in the searched ranges and their scores on the selection split."""
        points = [(point.values, point.scores[results.selection]) for point in results.points if self.inside(point)]
        return [*points, *self.unrecorded]

    def inside(self, point: Point) -> bool:
        """Whether the search could have proposed these values."""
        return all(value in space for value, space in zip(point.values, self.spaces, strict=True))

    def tried(self, results: Sweep) -> int:
        """Trials so far; the baseline is none."""
        recorded = sum(self.inside(point) and point.name != self.base.name for point in results.points)
        return recorded + len(self.unrecorded)

    def next_name(self) -> str:
        """`tune-ted-1`, or the next that is free."""
        names = [run.name for run in experiments.on_baseline()]
        numbers = [int(match[1]) for name in names if (match := re.fullmatch(rf"tune-{self.method}-(\d+)", name))]
        return f"tune-{self.method}-{max(numbers, default=0) + 1}"

    def overrides(self, values: tuple[Any, ...]) -> list[str]:
        """Arguments of a trial for DVC; where a parameter is shared by other methods, they leave those methods out."""
        settings = dict(zip(self.names, values, strict=True))
        if not all(name.startswith(f"{self.method}.") for name in self.names):
            settings |= experiments.alone(self.base.params, self.method)
        return experiments.overrides(settings)


if __name__ == "__main__":
    sys.exit(command.run(main))
