"""Lays out the data of the study: `python studies/which-method/make_data.py --help`.

Reads SST-2's `train.tsv` and `dev.tsv` (GLUE's columns), its labelled test sentences (text, tab, class), STS-B's
`train.tsv` and `dev.tsv`, SQuAD v2.0's `train` and `dev` JSON, and a folder with MiniLM's weights and tokenizer. Writes
`sst2/`, `pairs/`, `squad/`, `stsb/` and `minilm/` under the target, the same bytes each time.

The pairs are cut from SQuAD as QNLI's are (Wang et al. 2018, GLUE, section 3.2): a question with each sentence of its
paragraph, the class is whether the sentence holds the answer. To keep the task from being one of word overlap, as GLUE
does by dropping pairs with little of it, a question gives two pairs: the sentence with the answer, and the other
sentence of the paragraph that shares most words with the question. A question whose paragraph has one sentence, or
whose answer crosses two, gives none.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
_WORD = re.compile(r"\w+")


def main() -> None:
    """Write all folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sst2-train", "sst2-dev", "sst2-test", "stsb-train", "stsb-dev", "squad-train", "squad-dev", "minilm"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=5000, help="pairs that are reported on (default: 5000)")
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    target = options.target
    for name in ("sst2", "pairs", "squad", "stsb"):
        (target / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(options.sst2_train, target / "sst2/train.tsv")
    _write(target / "sst2/validation.tsv", ("sentence", "label"), sentences(options.sst2_dev, options.sst2_test))
    shutil.copyfile(options.stsb_train, target / "stsb/train.tsv")
    shutil.copyfile(options.stsb_dev, target / "stsb/validation.tsv")
    shutil.copyfile(options.squad_train, target / "squad/train.json")
    shutil.copyfile(options.squad_dev, target / "squad/validation.json")
    columns = ("question", "sentence", "label", "article")
    _write(target / "pairs/train.tsv", columns, pairs(options.squad_train))
    reported = list(pairs(options.squad_dev))
    # Both pairs of a question stay together.
    questions = list(dict.fromkeys(row[0] for row in reported))
    drawn = set(random.Random(13).sample(questions, min(options.pairs // 2, len(questions))))
    _write(target / "pairs/validation.tsv", columns, (row for row in reported if row[0] in drawn))
    shutil.copytree(options.minilm, target / "minilm", dirs_exist_ok=True)


def sentences(dev: Path, test: Path) -> Iterator[tuple[str, ...]]:
    """SST-2's dev sentences and its labelled test sentences: text and class."""
    with dev.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["sentence"].strip(), row["label"]
    for line in test.read_text(encoding="utf-8").splitlines():
        text, label = line.rsplit("\t", 1)
        yield text.strip(), label


def pairs(path: Path) -> Iterator[tuple[str, ...]]:
    """Question, sentence, `answer` or `none`, and article, of the answerable questions of a SQuAD file."""
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            parts = spans(paragraph["context"])
            for question in paragraph["qas"]:
                yield from _pairs_of(question, paragraph["context"], parts, article["title"])


def _pairs_of(
    question: dict[str, Any], context: str, parts: list[tuple[int, int]], title: str
) -> Iterator[tuple[str, ...]]:
    if question.get("is_impossible") or not question["answers"]:
        return
    answer = question["answers"][0]
    start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
    holding = [part for part in parts if part[0] <= start and end <= part[1]]
    others = [part for part in parts if part not in holding]
    if len(holding) != 1 or not others:
        return
    words = set(_words(question["question"]))
    # The first of those that share most words: no draw.
    nearest = max(others, key=lambda part: len(words & set(_words(context[slice(*part)]))))
    for part, label in ((holding[0], "answer"), (nearest, "none")):
        yield _line(question["question"]), _line(context[slice(*part)]), label, _line(title)


def spans(context: str) -> list[tuple[int, int]]:
    """First and last character (exclusive) of each sentence of a paragraph."""
    ends = [match.end() for match in _SENTENCE_END.finditer(context)]
    return list(zip([0, *ends], [*ends, len(context)], strict=True))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _line(text: str) -> str:
    """The text without tabs and line ends, which the file's form cannot hold."""
    return " ".join(text.split())


def _write(path: Path, columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(columns) + "\n")
        file.writelines("\t".join(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
