"""DVC with less reading: `python -m pipeline.commands.quick_dvc repro`, or `… exp run -S kd.temperature=4`

The words are DVC's own, and so are results, files and messages. Of many methods and seeds, DVC spends most of its time
on YAML: it parses params.yaml for every stage, and all of dvc.lock again for every stage that has run. Here each text
is parsed once (`pipeline.commands.dvc_reading`). With a version of DVC for which this is not tested, it runs as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import dvc
from dvc.cli import main as run_dvc

from pipeline.process import command

#: The versions of DVC whose reading and writing is compared with the short cuts', by their first two numbers.
TESTED = ("3.67",)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command of DVC, and return its exit code.

    Args:
        words: words of the command line, after `dvc`; None: those of this process.
    """
    if not shorten():
        print(f"note: no short cuts are tested for DVC {dvc.__version__}: it runs as it is", file=sys.stderr)
    return run_dvc(list(sys.argv[1:] if words is None else words))


def shorten() -> bool:
    """Install the short cuts in this process where they are tested for its DVC, and say whether they are."""
    if ".".join(dvc.__version__.split(".")[:2]) not in TESTED:
        return False
    from pipeline.commands import dvc_reading  # only here: another version may lack what it imports

    dvc_reading.install()
    return True


if __name__ == "__main__":
    sys.exit(command.run(main))
