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


WEIGHTS = {"favourable": 1, "unfavourable": 4}
NO_LABELS = {"data.source": "files", "data.train": "data/none", "data.transfer": "texts.tsv", "data.selection": "s.tsv"}
NO_LABELS |= {"data.labels": ["a", "b"], "teacher.train": False, "teacher.model.path": "mine"}
NO_LABELS |= {"features.tokenizer.path": "mine"}


def test_class_weights_are_read_by_every_training_or_by_one():
    shared = read(SENTENCES | {"training.class_weights": "balanced"})
    assert shared.teacher.class_weights == shared.distill.class_weights == "balanced"
    one = read(SENTENCES | {"distill.class_weights": {True: 1, "no": 2.5}})
    assert one.distill.class_weights == {"true": 1.0, "no": 2.5} and one.teacher.class_weights is None
    labels = {"data.labels": list(WEIGHTS), "student.class_weights": WEIGHTS}
    assert read(SENTENCES | labels).student.class_weights == WEIGHTS


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"training.class_weights": "balanced"}, "training.class_weights is balanced but task is 'qa'"),
        (SIMILARITY | {"distill.class_weights": WEIGHTS}, "distill.class_weights is"),
        (SENTENCES | {"generator.class_weights": "balanced"}, "a generator has no classes"),
        (SENTENCES | NO_LABELS | {"training.class_weights": "balanced"}, "no row has a label to weigh (data.train)"),
        (SENTENCES | {"training.class_weights": {"a": 1, "b": 0}}, "class_weights.b"),
        (SENTENCES | {"training.class_weights": {"a": -1}}, "class_weights.a"),
        (SENTENCES | {"training.class_weights": "even"}, "balanced"),
        (SENTENCES | {"data.labels": ["a", "b"], "training.class_weights": {"a": 1, "c": 1}}, "'c' is in one of them"),
        (SENTENCES | {"data.labels": ["a", "b"], "training.class_weights": {"a": 1}}, "'b' is in one of them"),
    ],
)
def test_class_weights_of_no_classes_are_refused(changes, part):
    assert part in message(changes)


SCORED = {f"{name}.evaluations": 4 for name in ("teacher", "student", "assistant", "distill")}
SCORED |= {f"{name}_filters.evaluations": 4 for name in ("teacher", "student")}


def test_patience_of_all_trainings_is_none_of_the_generator_s_and_of_a_ready_teacher_s():
    params = read(SCORED | {"training.patience": 3})
    assert params.distill.patience == params.teacher_filters.patience == 3 and params.generator.evaluations == 0
    assert read(READY | SCORED | {"training.patience": 3, "teacher.evaluations": 0}).teacher.patience == 3


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"distill.patience": 1}, "distill: patience is 1 but evaluations is 0"),
        (SCORED | {"training.patience": 4}, "teacher: patience is 4 but evaluations is 4"),
        (SCORED | {"training.patience": 0}, "training.patience"),
        ({"generator.patience": 2}, "generator.patience is 2, but a generator has no score"),
    ],
)
def test_a_patience_that_could_never_end_is_refused(changes, part):
    assert part in message(changes)
