"""Makes the report again from the metrics files, with sweeps and exports that were made after the run.

    python -m pipeline.commands.report

It writes beside DVC's own pages, so that the page that DVC keeps stays as it is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from distill.errors import UserError
from distill.report import page
from distill.runtime import json_files
from distill.runtime.files import write_text
from pipeline.process import command
from pipeline.stage import paths
from pipeline.summary import contents
from pipeline.summary.reporting import DISAGREEMENTS, gather

PAGE = Path("dvc_plots/report.html")


def main(argv: list[str] | None = None) -> None:
    """Make the report again.

    Raises:
        UserError: there is no finished run.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline.commands.report", description=__doc__)
    parser.add_argument("--output", type=Path, default=PAGE, help=f"the page (default: {PAGE})")
    output = parser.parse_args(argv).output
    files = {name: paths.METRICS / f"{name}.json" for name in ("summary", "analysis", "training")}
    for path in files.values():
        if not path.is_file():
            raise UserError(f"{path}: missing: run `dvc repro` first, which writes it in stage summarize")
    kinds = {"summary": contents.SUMMARY, "training": contents.TRAINING, "analysis": json_files.MAPPING}
    parts = {name: contents.read(path, kinds[name]) for name, path in files.items()}
    parts["confirm"] = contents.read(paths.METRICS / "confirm.json", contents.SUMMARY)
    results = gather(paths.params(), **parts, disagreements=contents.read(DISAGREEMENTS), later=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, page.html(results))
    print(f"{output}: {len(results.summary)} models")


if __name__ == "__main__":
    sys.exit(command.run(main))
