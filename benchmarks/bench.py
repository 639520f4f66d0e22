"""The benchmark: `make bench`, or `python -m benchmarks.bench [--quick] [--only minilm padding …]`; see README.md here.

Writes `benchmarks/results/<machine>.json` and the same as a table, `<machine>.md`, which is printed too. What the file
has from an earlier run and this one does not measure stays, if the machine and the versions are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
VERSIONS = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy")


def main() -> None:
    """Measure all suites and single figures, write the results."""
    parser = argparse.ArgumentParser(description="measure speed and memory on this machine")
    parser.add_argument("--quick", action="store_true", help="a smoke run: as little as shows that all runs")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="suites and single figures to measure; none: all")
    parser.add_argument(
        "--squad-folder", type=Path, help="has train-v2.0.json and dev-v2.0.json; none: skips two figures"
    )
    parser.add_argument("--tokenizer", help="for these files: folder or hub id; none: one is trained")
    parser.add_argument("--peers", type=Path, help="Python of the peers' environment; none: without them")
    parser.add_argument("--threads", type=int, help="of every process; none: torch's choice")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--systems", nargs="+", metavar="NAME", help="of the suites these alone, as ft 'kd cached'")
    parser.add_argument("--rounds", type=int, help="of each suite (5)")
    options = parser.parse_args()
    special = {name: value for name in ("systems", "rounds") if (value := getattr(options, name)) is not None}
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: give 1 or more")
    if special and options.results == HERE / "results":
        parser.error(f"--{next(iter(special))}: give --results another folder: these are not the benchmark's figures")
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    began = time.monotonic()
    # Not before: torch reads the number of threads when it is imported.
    from benchmarks import machine, report, single, suites

    plans = {plan.name: replace(plan, **special) for plan in suites.plans(options.quick)}
    known = [*plans, *single.NAMES]
    if unknown := set(options.only or ()) - set(known):
        parser.error(f"--only {' '.join(sorted(unknown))}: known are {', '.join(known)}")
    wanted = options.only or known
    if options.systems:
        there = {name: suites.names(plans[name], options.peers) for name in wanted if name in plans}
        if unknown := [name for name in options.systems if not any(name in names for names in there.values())]:
            has = "; ".join(f"suite {name}: {', '.join(names)}" for name, names in there.items())
            parser.error(f"--systems '{unknown[0]}': none of them. {has or '--only names no suite'}")
        wanted = [name for name in there if set(options.systems) & set(there[name])]
    described, versions = machine.describe(), report.versions(VERSIONS) | _peers(options.peers)
    target = options.results / f"{report.machine_name(described)}{'-quick' if options.quick else ''}.json"
    earlier = report.read(target) if target.exists() else None
    other = report.other_conditions(earlier, described, versions) if earlier else []
    if options.only and other:
        parser.error(
            f"--only: {target} was measured with {'; '.join(other)}: measure everything again (without --only), or"
            " write into another folder (--results)"
        )
    found: dict[str, report.Suite] = {}
    goals: dict[str, report.Goal] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name in [name for name in plans if name in wanted]:
            print(f"{name}: {plans[name].title}", flush=True)
            suite = suites.run(plans[name], Path(folder), options.peers)
            found[name] = suite.model_copy(update={"measured": report.today()})
            print(f"  {(time.monotonic() - began) / 60:.1f} minutes so far", flush=True)
    for name in [name for name in single.NAMES if name in wanted]:
        goal = single.run(name, options.squad_folder, options.tokenizer, options.quick)
        goals[name] = goal if goal.value is None else goal.model_copy(update={"measured": report.today()})
        print(f"{name}: {goals[name].value} {goals[name].unit}", flush=True)
    result = report.Report(
        format=report.FORMAT,
        machine=described,
        versions=versions,
        quick=options.quick,
        suites=found,
        goals=goals,
    )
    if earlier and not other:
        result = report.merged(earlier, result)
    elif earlier and (lost := {*earlier.suites, *earlier.goals} - {*result.suites, *result.goals}):
        print(f"left out, as it was measured with {'; '.join(other)}: {', '.join(sorted(lost))}", flush=True)
    report.write(result, target)
    print(f"\n{report.table(result)}\nwrote {target} in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


def _peers(python: Path | None) -> dict[str, str]:
    """Versions of the peers in their environment."""
    if python is None:
        return {}
    names = "'textbrewer', 'torchdistill'"
    code = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in ({names})}}))"
    return json.loads(
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8").stdout
    )


if __name__ == "__main__":
    main()
