"""Predictions for GLUE's leaderboard: asks a model for each task and writes the zip that the leaderboard takes.

    python -m pipeline.commands.glue_submission SST-2=data/models/distill/ted/1 --data glue_data

A model is a fine-tuned or distilled student, an exported folder or a hub id. MNLI's answers three files: MNLI-m,
MNLI-mm and AX, the diagnostic set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from distill.errors import UserError
from distill.inference import glue_submission
from distill.inference.glue_tasks import FILES, TASKS, File
from distill.inference.model import load
from pipeline.process import command


def main(words: Sequence[str]) -> None:
    """Run the command.

    Raises:
        UserError: a task that there is not, a model or test file that cannot be read, or another task's classes.
    """
    options = _parser().parse_args(words)
    models = _pairs(options.models, TASKS, "TASK=MODEL")
    tests = _pairs(options.test, tuple(FILES), "--test FILE=PATH")
    if unused := [name for name in tests if FILES[name].model not in models]:
        raise UserError(f"--test {unused[0]}: there is no model for it: add {FILES[unused[0]].model}=MODEL")
    written: dict[str, list[tuple[int, str]]] = {}
    for task, path in models.items():
        model = load(path, defaults={"temperature": 1.0, "max_length": options.max_length})
        for file in (file for file in FILES.values() if file.model == task):
            test = _test(file, tests.get(file.name), options.data)
            if test is None:
                continue
            answers = glue_submission.predictions(file, model, test)
            written[file.name] = list(zip(test.index, answers, strict=True))
            _say(file, path, test, model.settings.max_length)
    left = [name for name in FILES if name not in written]
    if options.placeholders:
        for name in left:
            written[name] = glue_submission.placeholder(FILES[name])
            print(f"  {name:<8} PLACEHOLDER: {FILES[name].rows:,} times {written[name][0][1]}: its score is no model's")
    elif left:
        print(f"  left out: {', '.join(left)}; the leaderboard takes all {len(FILES)} files: --placeholders adds them")
    glue_submission.write_zip(options.output, {name: written[name] for name in FILES if name in written})
    print(f"{options.output}: {len(written)} files")


def _test(file: File, path: str | None, folder: Path | None) -> glue_submission.Inputs | None:
    """The test set of a file; None for a diagnostic set that nobody named and the folder lacks."""
    if path is not None:
        return glue_submission.read_file(file, Path(path))
    if folder is None:
        return glue_submission.read_hub(file)
    if file.name == "AX" and not (folder / file.path).is_file():
        return None
    return glue_submission.read_file(file, folder / file.path)


def _say(file: File, model: str, test: glue_submission.Inputs, length: int) -> None:
    """Prints what a file was made of."""
    count = len(test.index)
    notes = [f"{count:,} rows by {model}, texts of {length} tokens at most"]
    if count != file.rows:
        notes.append(f"the leaderboard expects {file.rows:,} rows")
    if test.empty:
        notes.append(f'"." stands for an empty text in {test.empty:,} of them')
    print(f"  {file.name:<8} {'; '.join(notes)}")


def _pairs(words: Sequence[str], names: Sequence[str], form: str) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping; capitals, "-" and "_" of names do not count."""
    known = {_plain(name): name for name in names}
    pairs: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if _plain(name) not in known or not value:
            raise UserError(f"{word}: give {form}, with one of {', '.join(names)}")
        if pairs.setdefault(known[_plain(name)], value) != value:
            raise UserError(f"{word}: {known[_plain(name)]} is given twice: name one")
    return pairs


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def _length(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r}: give a whole number above 0")
    return int(word)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.glue_submission",
        description="Write test predictions in the format of GLUE's leaderboard.",
    )
    parser.add_argument("models", nargs="+", metavar="TASK=MODEL", help=f"a model for each of {', '.join(TASKS)}")
    parser.add_argument(
        "--data", type=Path, help=f"folder of GLUE's files as distributed (default: {glue_submission.HUB} of the hub)"
    )
    parser.add_argument("--test", action="append", default=[], metavar="FILE=PATH", help="another test file, for one")
    parser.add_argument("--output", type=Path, default=Path("submission.zip"), help="the zip (default: submission.zip)")
    parser.add_argument(
        "--max-length",
        type=_length,
        help="tokens of a text: features.max_length of the training (default: an export's own, a checkpoint's longest)",
    )
    parser.add_argument(
        "--placeholders", action="store_true", help="fill the files of tasks without a model with a constant"
    )
    return parser


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
