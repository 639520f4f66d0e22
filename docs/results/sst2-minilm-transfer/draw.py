"""Draws the files of this result: 1,000 labelled rows, 19,000 without labels, 1,000 for selection; and validation.

    python docs/results/sst2-minilm-transfer/draw.py train.tsv dev.tsv test data/raw/mine

train.tsv and dev.tsv are those of GLUE's SST-2; test has the labelled test sentences of the Stanford Sentiment
Treebank, `text<TAB>0 or 1`. Texts of less than three words and repeated ones are left out of train.
"""

import csv
import random
import sys
from pathlib import Path


def table(path: str) -> list[tuple[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["sentence"].strip(), row["label"]) for row in rows]


def write(path: Path, rows: list[tuple[str, str]], labelled: bool = True) -> None:
    lines = [f"{text}\t{label}" if labelled else text for text, label in rows]
    path.write_text("\n".join(["sentence\tlabel" if labelled else "sentence", *lines]) + "\n", encoding="utf-8")


train, dev, test, target = sys.argv[1:]
rows = table(train)
random.Random(13).shuffle(rows)
known = {text: label for text, label in reversed(rows) if len(text.split()) >= 3}
drawn = [(text, known.pop(text)) for text, _ in rows if text in known]
folder = Path(target)
write(folder / "labelled.tsv", drawn[:1000])
write(folder / "unlabelled.tsv", drawn[1000:20000], labelled=False)
write(folder / "selection.tsv", drawn[20000:21000])
sentences = [tuple(line.split("\t")) for line in Path(test).read_text(encoding="utf-8").splitlines()]
reported = dict([*reversed([(text.strip(), label) for text, label in sentences]), *reversed(table(dev))])
order = dict.fromkeys(text for text, _ in [*table(dev), *((text.strip(), label) for text, label in sentences)])
write(folder / "validation.tsv", [(text, reported[text]) for text in order])
