"""What an annotator says of the embedded corpus's sentences: a teacher that left a file and no model.

For every sentence a class and how sure of it the annotator is, in the format of stored predictions (docs/teachers.md),
by the sentence itself. The annotator errs at the rate that the confidence states: of the classes given with 0.75 a
quarter is wrong. Over all sentences that is `ERROR`.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from statistics import fmean

from distill.data.synthetic.atlas_texts import COLUMNS, SENTENCE_CLASSES, Table

FILE = "annotator.jsonl"
#: Probabilities of the class that is given, each equally often, and the share of wrong ones that follows.
CONFIDENCES = (0.75, 0.95, 0.99)
ERROR = 1 - fmean(CONFIDENCES)


def annotate(rows: Table, seed: int) -> list[dict[str, str | float]]:
    """A record for each sentence: text, label, confidence.

    Args:
        rows: sentences of `atlas_texts.generate`.
        seed: another seed errs elsewhere.
    """
    draw, records = Random(f"{seed}/annotator"), []
    for row in rows:
        values = dict(zip(COLUMNS["sentences"], row, strict=True))
        confidence = draw.choice(CONFIDENCES)
        others = [name for name in SENTENCE_CLASSES if name != values["label"]]
        label = values["label"] if draw.random() < confidence else draw.choice(others)
        records.append({"text": values["sentence"], "label": label, "confidence": confidence})
    return records


def write(splits: dict[str, Table], seed: int, folder: Path) -> Path:
    """Write `<folder>/sentences/annotator.jsonl` on the sentences of all splits; returns the path."""
    path = folder / "sentences" / FILE
    records = [record for rows in splits.values() for record in annotate(rows, seed)]
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path
