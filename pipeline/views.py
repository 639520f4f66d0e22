"""What stage predict_teacher kept of the teacher's states for each reader: `data/states/views/<reader>.json`.

A view names the arrays by content. Who reads states depends on its view alone, so that nothing is trained again when,
within the budget, states for another method come or go. Readers are methods, and FILTERS.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from distill.errors import UserError
from distill.runtime.files import tree_hash
from distill.signals.states import Reads
from pipeline.stage import paths

#: The reader that stands for stage train_teacher_filters.
FILTERS = "teacher_filters"


def write(folder: Path, reads: Mapping[str, Reads], served: Iterable[str]) -> None:
    """Write the view of every reader: name of each array → hash of its bytes; {} for those who run the teacher.

    Args:
        folder: of the cache.
        served: the readers whose states were all kept.
    """
    hashes: dict[str, str] = {}
    (folder / "views").mkdir(exist_ok=True)
    for reader, wanted in reads.items():
        names = wanted.names() if reader in served else []
        hashes |= {name: tree_hash(folder / name) for name in names if name not in hashes}
        content = {name: hashes[name] for name in names}
        (folder / "views" / f"{reader}.json").write_text(json.dumps(content, indent=2) + "\n")


def kept(reader: str, wanted: Reads) -> bool:
    """Whether all the states that a reader wants were kept.

    Raises:
        UserError: its view cannot be read.
    """
    file = paths.view(reader)
    try:
        return bool(wanted) and set(wanted.names()) <= set(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: cannot be read ({error}): run `dvc repro predict_teacher`") from error
