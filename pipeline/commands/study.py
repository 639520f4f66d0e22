"""Runs a study: several methods on several tasks, all tuned alike, and says which one to pick.

    python -m pipeline.commands.study studies/which-method --data DATA --work WORK     # all that is missing
    python -m pipeline.commands.study studies/which-method --data DATA --work WORK --task sst2 --phase tune
    python -m pipeline.commands.study studies/which-method                             # the tables so far

The runs are in clones of the last commit under WORK, one per task. What an arm has found goes to
docs/results/<study>/<task>/<phase> when it is finished; a stopped command goes on with the arms that are not there, on
another machine too. Phase `time` wants a machine that does nothing else, and `confirm` needs its times. On a busy one:
`--phase tune --phase screen`, then `--phase time` while nothing else runs, then `--phase confirm`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from distill.errors import UserError
from distill.experiments import study
from distill.experiments.study import Study
from distill.runtime.files import write_text
from pipeline.process import command
from pipeline.study import page
from pipeline.study.figures import Figures
from pipeline.study.workspace import Workspace

#: Where figures are kept, a folder per study.
RESULTS = Path("docs/results")
PICTURE = "quality-cost.svg"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="folder with study.yaml")
    parser.add_argument("--data", type=Path, help="folder that the study's make_data.py has written")
    parser.add_argument("--work", type=Path, help="folder for the clones, with room for models and caches")
    parser.add_argument("--task", action="append", help="a task, or several (default: all)")
    parser.add_argument("--phase", action="append", choices=study.PHASES, help="a phase, or several (default: all)")
    options = parser.parse_args(argv)
    plan = study.read(options.study)
    results = RESULTS / options.study.resolve().name
    if options.work is None and options.data is None:
        print(page.text(Figures(plan, results)), end="")
        return command.DONE
    if options.work is None or options.data is None:
        raise UserError("--work and --data go together: give both, or neither for the tables so far")
    if strange := [name for name in options.task or [] if name not in plan.tasks]:
        raise UserError(f"--task {strange[0]}: the study has {', '.join(plan.tasks)}")
    for task in options.task or list(plan.tasks):
        space = Workspace(plan, options.study, task, options.data, options.work / task, results / task)
        for phase in sorted(options.phase or study.PHASES, key=study.PHASES.index):
            space.run(phase)
    draw(plan, results)
    return command.DONE


def draw(plan: Study, results: Path) -> None:
    """Write the picture, once all costs are taken."""
    svg = page.picture(Figures(plan, results)) if results.is_dir() else None
    if svg is not None:
        write_text(results / PICTURE, svg + "\n")


if __name__ == "__main__":
    sys.exit(command.run(main))
