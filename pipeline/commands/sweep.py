"""A table of the experiments that differ in one parameter, or in a few.

    python -m pipeline.commands.sweep ted.mse_alpha

Also writes the table to metrics/sweeps/<parameter>.csv. `--apply` takes the experiment with the best score on the
selection split into the workspace. docs/sweeps.md says how to run sweeps.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from distill.errors import UserError
from distill.experiments import sweeps
from distill.experiments.sweeps import Sweep
from pipeline.commands import experiments
from pipeline.process import command as process_command

FOLDER = Path("metrics/sweeps")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (2: something that the user can mend)."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.commands.sweep", description=__doc__)
    parser.add_argument("parameters", nargs="+", metavar="parameter", help="dotted, as in ted.mse_alpha")
    parser.add_argument("--model", help="whose scores to compare, where the parameters are not in one model's section")
    parser.add_argument("--apply", action="store_true", help="take the best into the workspace: dvc exp apply")
    options = parser.parse_args(argv)
    try:
        sweep = read(options.parameters, options.model)
        show(sweep)
        return apply(sweep) if options.apply else 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def read(parameters: list[str], model: str | None) -> Sweep:
    """The experiments on the last commit that differ in these parameters.

    Raises:
        UserError: there is no such parameter, or no experiment that changes it.
    """
    base = experiments.baseline()
    for name in parameters:
        sweeps.value_of(base.params, name)
    model = model or sweeps.model_of(parameters, base.summary)
    sweep = sweeps.collect(base, experiments.on_baseline(), parameters, model)
    if len(sweep.points) < 2:
        say_left_out(sweep)
        raise UserError(
            f"no experiment on the last commit changes {' or '.join(parameters)} alone. Run some first: dvc exp run"
            f" --queue -S '{parameters[0]}=…,…' and dvc queue start (dvc queue status says what waits or failed)"
        )
    return sweep


def show(sweep: Sweep) -> None:
    """Print the table and what is not in it, and write the CSV."""
    print("\n".join(sweeps.table(sweep)))
    say_left_out(sweep)
    if any(len(point.scores.get("seeds", [])) == 1 for point in sweep.points):
        print("\nOne seed: a difference as small as that between two seeds says nothing about the value.")
    path = file(sweep)
    sweeps.write_csv(sweep, path)
    print(f"\nwrote {path}")


def say_left_out(sweep: Sweep) -> None:
    """Print a line per run that has no place in the sweep."""
    for name, reason in sweep.left_out.items():
        print(f"left out: {name}: {reason}")


def file(sweep: Sweep) -> Path:
    """The table's file: `ted.mse_alpha.csv`; with the model's name where the parameter is not in its section."""
    in_section = all(name.startswith(f"{sweep.model}.") for name in sweep.parameters)
    return FOLDER / f"{'+'.join(sweep.parameters)}{'' if in_section else f'@{sweep.model}'}.csv"


def command(sweep: Sweep) -> list[str]:
    """The command that takes the best run into the workspace; empty if that is the baseline.

    An experiment with another list of methods than the baseline's (`pipeline.commands.tune` leaves out methods that it
    does not search) is not applied: the command runs all the listed methods with its values.
    """
    best = sweep.best
    base = experiments.baseline()
    if best.name == base.name:
        return []
    if best.methods == base.params["methods"]:
        return ["dvc", "exp", "apply", best.name]
    return ["dvc", "exp", "run", *experiments.overrides(dict(zip(sweep.parameters, best.values, strict=True)))]


def apply(sweep: Sweep) -> int:
    """`dvc exp apply` of the best run."""
    values = zip(sweep.parameters, map(sweeps.shown, sweep.best.values), strict=True)
    described = ", ".join(f"{name} = {value}" for name, value in values)
    words = command(sweep)
    if not words:
        print(f"nothing to apply: the last commit has the best selection score ({described})")
        return 0
    if words[:3] != ["dvc", "exp", "apply"]:
        print(f"not applied: {sweep.best.name} ran without the other methods. With them: {shlex.join(words)}")
        return 0
    if code := experiments.run_dvc(*words[1:]):
        return code
    print(f"applied {sweep.best.name}: {described}. To keep it:")
    print(f"  git add params.yaml dvc.lock metrics && git commit -m {shlex.quote(f'Set {described}')}")
    return 0


if __name__ == "__main__":
    sys.exit(process_command.run(main))
