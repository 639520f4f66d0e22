"""Section `teacher`: a source and what it needs go together, or the parameters are refused."""

import pytest

from distill import parameters
from distill.errors import UserError


def load(root, **changes):
    return parameters.load(
        root / "tests/params.yaml", {"methods": []} | {f"teacher.{k}": v for k, v in changes.items()}
    )


def test_stored_predictions_need_a_file(root):
    with pytest.raises(UserError, match="teacher.source is 'predictions' but teacher.predictions is data/none: name"):
        load(root, source="predictions")
    assert load(root, source="predictions", predictions="x.jsonl").teacher.predictions == "x.jsonl"


def test_a_file_that_nobody_reads_is_refused(root):
    with pytest.raises(UserError, match="teacher.predictions is 'x.csv' but teacher.source is 'model', which reads"):
        load(root, predictions="x.csv")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "predictions", "predictions": "x.jsonl"}, "teacher.source is 'predictions': there is no training"),
        (
            {"train": False, "model.path": "someone/ready", "tokenizer.path": "someone/ready"},
            "teacher.train is false: there is no training to keep",
        ),
        ({"patience": 1, "evaluations": 4}, "teacher.patience is 1, which may end the training before the last"),
    ],
)
def test_snapshots_need_a_training_whose_length_is_known(root, changes, said):
    with pytest.raises(UserError, match=f"teacher.snapshots: 2, but {said}"):
        load(root, snapshots=2, **changes)
    load(root, snapshots=0, **changes)


def test_a_member_of_an_ensemble_keeps_no_snapshots(root):
    changes = {"second.teacher": {"seed": 2}, "third.teacher": {"seed": 3, "snapshots": 1}}
    values = {"methods": [], "teacher.source": "ensemble", "ensemble.members": ["second", "third"]} | changes
    with pytest.raises(UserError, match="third.teacher.snapshots: 1, but students learn from an ensemble's mean"):
        parameters.load(root / "tests/params.yaml", values)
