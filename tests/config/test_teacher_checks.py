"""Section `teacher`: a source and what it needs go together, or the parameters are refused."""

import pytest

from distill import parameters
from distill.errors import UserError


def load(root, **changes):
    return parameters.load(root / "params.yaml", {"methods": []} | {f"teacher.{k}": v for k, v in changes.items()})


def test_stored_predictions_need_a_file(root):
    with pytest.raises(UserError, match="teacher.source is 'predictions' but teacher.predictions is data/none: name"):
        load(root, source="predictions")
    assert load(root, source="predictions", predictions="x.jsonl").teacher.predictions == "x.jsonl"


def test_a_file_that_nobody_reads_is_refused(root):
    with pytest.raises(UserError, match="teacher.predictions is 'x.csv' but teacher.source is 'model', which reads"):
        load(root, predictions="x.csv")
