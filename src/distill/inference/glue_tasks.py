"""The files of a submission to GLUE's leaderboard: what each asks, where its test data lies, what its predictions are.

Wang et al. 2018 (arXiv 1804.07461), https://gluebenchmark.com. Names of files, header and class names are those that
the submission writers of jiant (the group of the benchmark's authors) and of Keras use; numbers of rows and columns are
those of nyu-mll/glue and of the files that the benchmark distributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Least and greatest score of STS-B.
RANGE = (0.0, 5.0)

_PAIR = ("sentence1", "sentence2")
_NLI = ("premise", "hypothesis")
_THREE = {name: (name,) for name in ("entailment", "neutral", "contradiction")}
_TWO = {name: (name,) for name in ("entailment", "not_entailment")}


@dataclass(frozen=True)
class File:
    """A file of the submission.

    Attributes:
        name: its name, without .tsv.
        model: the task whose model answers: MNLI's answers three files.
        path: the test file in the folder that GLUE's files are distributed in.
        columns: columns of the text or the two texts in that file; a column index or id stands beside them.
        subset, split: configuration and split of nyu-mll/glue with the same rows.
        hub_columns: columns of the texts there; idx stands beside them.
        rows: number of rows.
        classes: prediction → names that a model may have for this class; none for a number (STS-B).
    """

    name: str
    model: str
    path: str
    columns: tuple[str, ...]
    subset: str
    hub_columns: tuple[str, ...]
    rows: int
    split: str = "test"
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _binary(no: str, yes: str) -> dict[str, tuple[str, ...]]:
    """Predictions 0 and 1, with the names of the hub's data set."""
    return {"0": ("0", no), "1": ("1", yes)}


FILES = {
    file.name: file
    for file in (
        File("CoLA", "CoLA", "CoLA/test.tsv", ("sentence",), "cola", ("sentence",), 1063,
             classes=_binary("unacceptable", "acceptable")),
        File("SST-2", "SST-2", "SST-2/test.tsv", ("sentence",), "sst2", ("sentence",), 1821,
             classes=_binary("negative", "positive")),
        File("MRPC", "MRPC", "MRPC/test.tsv", ("#1 String", "#2 String"), "mrpc", _PAIR, 1725,
             classes=_binary("not_equivalent", "equivalent")),
        File("STS-B", "STS-B", "STS-B/test.tsv", _PAIR, "stsb", _PAIR, 1379),
        File("QQP", "QQP", "QQP/test.tsv", ("question1", "question2"), "qqp", ("question1", "question2"), 390_965,
             classes=_binary("not_duplicate", "duplicate")),
        File("MNLI-m", "MNLI", "MNLI/test_matched.tsv", _PAIR, "mnli", _NLI, 9796, "test_matched", _THREE),
        File("MNLI-mm", "MNLI", "MNLI/test_mismatched.tsv", _PAIR, "mnli", _NLI, 9847, "test_mismatched", _THREE),
        File("QNLI", "QNLI", "QNLI/test.tsv", ("question", "sentence"), "qnli", ("question", "sentence"), 5463,
             classes=_TWO),
        File("RTE", "RTE", "RTE/test.tsv", _PAIR, "rte", _PAIR, 3000, classes=_TWO),
        File("WNLI", "WNLI", "WNLI/test.tsv", _PAIR, "wnli", _PAIR, 146,
             classes=_binary("not_entailment", "entailment")),
        File("AX", "MNLI", "diagnostic/diagnostic.tsv", _PAIR, "ax", _NLI, 1104, classes=_THREE),
    )
}  # fmt: skip
#: The tasks that a model can be given for.
TASKS = tuple(dict.fromkeys(file.model for file in FILES.values()))
