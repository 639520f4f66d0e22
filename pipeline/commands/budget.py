"""Finds the best student under a budget on this machine: times shapes before training, then trains the most promising.

    python -m pipeline.commands.budget --latency-ms 10                 # a row of the validation split, by itself
    python -m pipeline.commands.budget --size-mb 20 --method kd --train 3 --seeds 1,2,3
    python -m pipeline.commands.budget --latency-ms 10 --time-only     # the table of the grid, nothing trained

Students are made of the fine-tuned teacher's layers (docs/budget.md). Each training is a DVC experiment on the last
commit, and is found again by the same command. metrics/budget.json holds all; the report's first sentence tells it.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from distill.analysis.student_shapes import Budget
from distill.errors import UserError
from distill.report import budget as wording
from pipeline.commands import trim_vocabulary
from pipeline.commands.budget_search import Search
from pipeline.process import command
from pipeline.stage import paths

#: Exit code: no shape fits.
NOTHING = 1


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (1: nothing fits; 2: something that the user can mend)."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.budget",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--latency-ms", type=float, metavar="MS", help="most of the median time of a row by itself")
    parser.add_argument("--size-mb", type=float, metavar="MB", help="most of the checkpoint, float32, 10^6 bytes")
    parser.add_argument("--method", default="kd", help="method or variant that trains (default: kd)")
    parser.add_argument("--train", type=int, default=3, metavar="N", help="shapes to train (default: 3)")
    parser.add_argument("--seeds", type=_numbers, help="of each training, as 1,2,3 (default: `seeds`)")
    parser.add_argument("--layers", type=_numbers, default=[], help="numbers of layers, as 2,4,6")
    parser.add_argument("--units", type=_numbers, default=[], help="feed-forward units of a layer, as 384,768")
    parser.add_argument("--heads", type=_numbers, default=[], help="attention heads of a layer, as 6,12")
    parser.add_argument(
        "--vocabulary",
        choices=("whole", "trimmed", "both"),
        help="trimmed: to the tokens of the training data (default: both under --size-mb, else whole)",
    )
    parser.add_argument("--time-only", action="store_true", help="time the grid and train nothing")
    parser.add_argument("--again", action="store_true", help="time the grid again")
    options = parser.parse_args(argv)
    check(options)
    search = Search(options, Budget(options.latency_ms, options.size_mb), paths.params())
    search.time()
    print("\n".join(wording.grid(search.found)))
    if not search.found["fitting"]:
        print(f"\n{wording.sentence(search.found)}")
        return NOTHING
    if not options.time_only:
        search.train()
        print("\n".join(["", *wording.trained(search.found), "", wording.sentence(search.found)]))
        if best := search.found["best"]:
            print(f"\nTo take it: {shlex.join(['dvc', 'exp', 'apply', best['experiment']])}")
            if best["vocabulary"] == "trimmed":
                print(f"Its trimmed students: {trim_vocabulary.FOLDER}/{best['experiment']}/<seed>")
            print("For the report with this answer at its top: python -m pipeline.commands.report")
    return 0


def check(options: argparse.Namespace) -> None:
    """Raise a UserError where the options ask for nothing that can be done."""
    limits = {"--latency-ms": options.latency_ms, "--size-mb": options.size_mb}
    if not any(limits.values()):
        raise UserError("no budget: give --latency-ms 10, --size-mb 20, or both")
    for name, value in limits.items():
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"{name} {value:g}: give a number above 0")
    if options.train < 1:
        raise UserError(f"--train {options.train}: give 1 or more, or --time-only")
    for name in ("seeds", "layers", "units", "heads"):
        values = getattr(options, name) or []
        if len(set(values)) < len(values):
            raise UserError(f"--{name}: a number is given twice: give each once")


def _numbers(text: str) -> list[int]:
    """`1,2,3` → [1, 2, 3]."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give whole numbers with commas between them, as 1,2,3") from None
    if min(values) < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: give no number below 0")
    return values


if __name__ == "__main__":
    sys.exit(command.run(main))
