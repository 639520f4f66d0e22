"""Puts the `src/` beside this folder first on the import path.

`dvc exp run --temp` and `--queue` run the stages in a copy of the repository. An editable install points at the
original, so without this line the copy's parameters would run with the original's code.
"""

import sys
from pathlib import Path

_SOURCE = str(Path(__file__).resolve().parents[1] / "src")
sys.path[:] = [_SOURCE, *(entry for entry in sys.path if entry != _SOURCE)]
