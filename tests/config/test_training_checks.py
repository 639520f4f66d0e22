"""Settings of trainings that do not go together, or with the task, are refused before anything runs."""

import pytest

from distill.errors import UserError
from tests.config.test_data_checks import SENTENCES, SIMILARITY, read

READY = SENTENCES | {"teacher.train": False, "teacher.model.path": "mine", "features.tokenizer.path": "mine"}
READY |= {"teacher.model.config": {}}


def message(changes):
    with pytest.raises(UserError) as caught:
        read(changes)
    text = str(caught.value)
    assert text.startswith("params.yaml: ") and "\n" not in text
    return text


def test_a_ready_teacher_is_read():
    assert read(READY).teacher.labels is None
    assert read(READY | {"teacher.labels": [True, "yes", 1]}).teacher.labels == ["true", "yes", "1"]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"teacher.train": False}, "train is false but model.path is null"),
        (READY | {"teacher.label_noise": 0.2}, "label_noise is 0.2 but train is false"),
        (READY | {"teacher.model.config": {"id2label": {0: "a"}}}, "name the rows of the head in labels"),
        (READY | {"teacher.labels": ["a", "b", "a"]}, "labels: 'a' is listed twice"),
        (SENTENCES | {"teacher.labels": ["a", "b"]}, "labels is ['a', 'b'] but train is true"),
        (READY | SIMILARITY | {"teacher.labels": ["a", "b"]}, "but task is 'regression', whose heads have no classes"),
    ],
)
def test_a_ready_teacher_that_cannot_be_is_refused(changes, part):
    text = message(changes)
    assert "teacher" in text and part in text
