"""The differences of a finished run as a file, with what their intervals are made of. Runs inside the run's folder.

python -m pipeline.study.differences FILE BASELINE [BASELINE …]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from distill.analysis import example_groups
from distill.analysis.significance import Scored
from distill.runtime.files import write_text
from pipeline.process import command
from pipeline.stage import paths
from pipeline.stage.inputs import open_data
from pipeline.summary import controls, runs


def main(argv: list[str] | None = None) -> None:
    """Write the file."""
    target, *baselines = sys.argv[1:] if argv is None else argv
    params = paths.params()
    data, task = open_data(params, reported=True)
    tables = runs.read_tables(runs.compared(params), task)
    scored = runs.scored(tables, params.methods, task, data, params)
    groups = example_groups.of(task.name, data.examples("validation"))
    found = {
        "metric": task.main_metric,
        "against": {name: against(scored, params.methods, name) for name in baselines},
        "controls": controls.compared(params, task, tables, data.meta.get("labels", ()), groups),
    }
    write_text(Path(target), json.dumps(found, indent=2) + "\n")


def against(scored: Scored, methods: list[str], baseline: str) -> dict[str, dict[str, Any]]:
    """Method → its difference to the baseline: value, interval, p; standard errors of examples and seeds; freedom."""
    rivals = [name for name in methods if name != baseline]
    noise = scored.noise(rivals, baseline)
    rows = {}
    for name in rivals:
        found = scored.difference(name, baseline, noise)
        rows[name] = {"value": found.value, "low": found.low, "high": found.high, "p": found.p}
        if found.noise is not None and noise is not None:
            errors = {"shared": found.noise.shared, "seeds": found.noise.seeds, "freedom": float(noise.freedom)}
            rows[name] |= errors
    return rows


if __name__ == "__main__":
    sys.exit(command.run(main))
