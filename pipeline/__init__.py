"""Puts the `src/` beside this folder first on the import path.

`dvc exp run --temp` and `--queue` run the stages in a copy of the repository. An editable install points at the
original, so without this line the copy's parameters would run with the original's code.

Where a script is being started, it also puts off the collection of garbage: what torch and transformers make while they
are imported lives to the end, and looking through it again and again takes a seventh of the time. `run_stage` sets the
threshold back.
"""

import gc
import sys
from pathlib import Path

_SOURCE = str(Path(__file__).resolve().parents[1] / "src")
sys.path[:] = [_SOURCE, *(entry for entry in sys.path if entry != _SOURCE)]

COLLECT = gc.get_threshold()
if sys.argv[:1] == ["-m"]:  # what it holds while `python -m` looks for the module
    gc.set_threshold(1_000_000)
