"""What the commands `distill.answer`, `classify`, `tag` and `rank` share: options, which model, errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from distill.errors import UserError
from distill.inference.model import RUNTIMES, SETTINGS

#: Where stage export writes.
EXPORTS = Path("data/export")


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that all commands have."""
    built = argparse.ArgumentParser(prog=f"python -m {command}", description=description)
    where = f"an exported folder, a transformers checkpoint or a hub id (default: the only one below {EXPORTS})"
    built.add_argument("--model", help=where)
    add_forms(built)
    built.add_argument("--json", action="store_true", help="print JSON")
    return built


def add_forms(parser: argparse.ArgumentParser) -> None:
    """Options that say which form of an exported model runs, and on what."""
    parser.add_argument("--int8", action="store_true", help="the quantized model of an exported folder")
    shown = "what runs an exported model (default: %(default)s)"
    parser.add_argument("--runtime", choices=RUNTIMES, default=RUNTIMES[0], help=shown)


def model_path(option: str | None) -> str:
    """The model to load: that of option --model, or the only one that was exported here.

    Raises:
        UserError: the option is not given, and there is no exported model or more than one.
    """
    if option:
        return option
    exported = sorted(path.parent.as_posix() for path in EXPORTS.glob(f"*/*/{SETTINGS}"))
    if len(exported) == 1:
        return exported[0]
    if exported:
        raise UserError(f"--model: {len(exported)} exported models are here: name one of {', '.join(exported)}")
    raise UserError(
        f"--model: {EXPORTS} has no exported model: name a checkpoint such as data/models/distill/kd/1, or set"
        " export.methods in params.yaml and run `dvc repro`"
    )


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run a command with the process's arguments; a UserError is one line and exit code 2, as in stages."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `… | head` has seen enough
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
