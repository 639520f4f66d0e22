"""The sentence on what was compared."""

from dataclasses import replace

import pytest

from distill.report.subject import sentence
from tests.helpers import made_up

ROWS = {"train": 8000, "selection": 1000, "validation": 2693, "mismatched": 90, "transfer": 0}
FILES = {"data.source": "files", "data.train": "data/raw/mine/train.tsv", "data.validation": "dev.tsv"}
MODELS = {"teacher.source": "model", "teacher.model.path": "org/large", "student.model.path": "org/small"}


def said(**settings):
    results = made_up.results()
    named = FILES | MODELS | {name.replace("__", "."): value for name, value in settings.items()}
    return sentence(replace(results, settings=named, analysis=results.analysis | {"rows": ROWS}))


def test_data_rows_and_models():
    assert said() == (
        "Data: data/raw/mine/train.tsv and dev.tsv (rows: 8,000 to train on, 1,000 to select on, 2,693 to report on, 90"
        " of mismatched). Teacher: org/large. Student: org/small."
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"data__source": "hub", "data__name": "nyu-mll/glue", "data__subset": "sst2"}, "Data: nyu-mll/glue/sst2 ("),
        ({"data__source": "embedded", "data__embedded": "pairs"}, "Data: the embedded corpus, pairs ("),
        ({"data__train": "data/none"}, "Data: dev.tsv ("),
        (
            {"teacher__source": "predictions", "teacher__predictions": "said.jsonl"},
            "Teacher: outputs stored in said.js",
        ),
        ({"teacher__source": "ensemble", "ensemble__members": ["a", "b"]}, "Teacher: an ensemble of a and b."),
        (
            {"student__model__path": None, "student__init": "teacher_layers", "student__layers": [2, 4, 6]},
            "Student: made of the teacher's layers 2, 4 and 6.",
        ),
        (
            {"teacher__model__path": None, "teacher__model__config__model_type": "bert"}
            | {"teacher__model__config__num_hidden_layers": 4, "teacher__model__config__hidden_size": 1024},
            "Teacher: bert of random weights (4 layers, 1,024 wide).",
        ),
    ],
)
def test_other_data_and_models(settings, text):
    assert text in said(**settings)


def test_nothing_where_no_parameters_are_known():
    assert sentence(replace(made_up.results(), settings={})) == ""
