"""Put a preset's values into params.yaml: `python -m pipeline.commands.preset squad_v2-deberta_v3`.

Several are applied in turn: `python -m pipeline.commands.preset glue-bert4 tasks/cola`.

`--diff` shows what would change, `--print` gives the same as `-S` pairs for an experiment:
`python -m pipeline.commands.preset NAME --print | xargs -r dvc exp run`. `--list` shows all presets.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import sys
from pathlib import Path

from distill import parameters
from distill.config import reading
from distill.errors import UserError
from distill.experiments import presets
from pipeline.process import command


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (2: something that the user can mend)."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.commands.preset", description=__doc__)
    parser.add_argument("preset", nargs="*", help="names (--list), tasks (tasks/cola), paths of YAML files")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="file to change")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--list", action="store_true", help="list the presets")
    mode.add_argument("--print", action="store_true", help="print -S pairs, change nothing")
    mode.add_argument("--diff", action="store_true", help="print the difference, change nothing")
    options = parser.parse_args(argv)
    if not options.preset and not options.list:
        parser.error("name a preset, or ask for --list")
    try:
        if options.list:
            _list()
        else:
            _apply(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _list() -> None:
    for name in presets.names():
        fields = presets.header(name)
        print(f"{name}: {fields.get('description', '')}")
        if published := fields.get("published"):
            print(f"    published: {published}")


def _apply(options: argparse.Namespace) -> None:
    preset = presets.load_all(options.preset)
    label = f"preset {' '.join(options.preset)}"
    try:
        text = options.params.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{options.params}: no such file: run from the project's root") from None
    changes = presets.changes(text, preset, label)
    merged = presets.merge(text, preset, label)
    # Before anything is written or printed: the stages must accept the merged file.
    parameters.parse(reading.parse(merged, options.params), Path(f"{options.params} with {label}"))
    if options.print:
        pairs = presets.as_overrides(text, preset, label)
        print(" ".join(f"-S {shlex.quote(pair)}" for pair in pairs))
    elif options.diff:
        before, after = text.splitlines(keepends=True), merged.splitlines(keepends=True)
        name = str(options.params)
        sys.stdout.writelines(difflib.unified_diff(before, after, name, f"{name} with {label}"))
    else:
        if changes:
            _write(options.params, merged)
        print(f"{options.params}: {len(changes)} values changed by {label}")
        for change in changes:
            print(f"  {change}")


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, so that an interruption leaves the old one whole."""
    scratch = path.with_name(f"{path.name}.new")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)


if __name__ == "__main__":
    sys.exit(command.run(main))
