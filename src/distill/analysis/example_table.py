"""data/predictions/<label>.examples.csv: a row per validation example: what the model got right, and how sure it was.

Columns: `id`; then, where the task's score is a mean over examples, one per such score (0–100, named as in
metrics/runs); `gold` and `predicted` (classification: names, several labels: JSON lists of names, regression: numbers);
where answers are right or wrong,
`confidence` and `calibrated` (0–1, see `distill.tasks.calibration`) and `correct` (0 or 1); `tuned`, the class that is
said with the decision tuned on the selection split (`distill.tasks.decision`); in token classification `entities`,
`entities_said`, `entities_right`, `words` and `words_right`, from whose sums the scores follow. A text that a
spreadsheet would calculate has a `'` in front (`distill.runtime.csv_files`), which `read` takes away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from distill.errors import UserError
from distill.runtime import csv_files

FIX = "run `dvc repro`, which evaluates every method and seed of params.yaml"


def write(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Write a table; the same columns give the same bytes, and numbers lose no digit."""
    csv_files.write_frame(pd.DataFrame(columns), path, exact=True)


def read(path: Path, numbers: bool = False) -> pd.DataFrame:
    """A table with the ids as its index, in the data's order.

    Args:
        numbers: whether `gold` and `predicted` are numbers (regression).

    Raises:
        UserError: there is no such file, or it is no such table.
    """
    texts = dict.fromkeys(("id", *(() if numbers else ("gold", "predicted", "tuned"))), pa.string())
    try:
        # Arrow's reader gives back every digit, and takes no text for a missing value: a class may be called NA.
        options = pyarrow.csv.ConvertOptions(column_types=texts)
        lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
        table = pyarrow.csv.read_csv(path, parse_options=lines, convert_options=options).to_pandas()
        for name in table.columns.difference(list(texts)):
            if table[name].dtype.kind not in "biuf" or table[name].isnull().any():
                raise ValueError(f"column {name}: expected a number in every row")
        texts = {name: table[name].map(csv_files.unescape) for name in texts if name in table}
        return table.assign(**texts).set_index("id")
    except FileNotFoundError:
        raise UserError(f"{path}: missing: {FIX}") from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a table of examples ({str(error).splitlines()[0]}): {FIX}") from None


def check_same(tables: Mapping[str, pd.DataFrame]) -> None:
    """Raise a UserError that names the first table (by its file) whose rows or columns are not those of the first."""
    (reference_name, reference), *remaining = tables.items()
    for name, table in remaining:
        if not table.index.equals(reference.index):
            raise UserError(f"{name}: has other examples than {reference_name}: {FIX}")
        if set(table) != set(reference):
            raise UserError(f"{name}: has other columns than {reference_name}: {FIX}")
