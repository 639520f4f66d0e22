"""Regression: squared errors of (B,), never of all pairs of rows; correlations; what it refuses."""

import math

import numpy as np
import pytest
import torch

from distill.errors import UserError
from distill.tasks.regression import TASK as Regression
from tests.helpers import reference, text
from tests.tasks.test_classification import check

TASK = Regression()


def logits(seed=0, rows=3):
    return torch.randn(rows, 1, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_the_mean_squared_error():
    batch = text.batch(numeric=True)
    check(
        lambda given: TASK.loss(given, batch),
        lambda given: sum((given[i, 0] - batch["labels"][i].double()) ** 2 for i in range(3)) / 3,
        logits(),
    )


@pytest.mark.parametrize("loss", ["soft", "logit_mse"])
def test_distillation_is_the_mean_squared_error_of_the_outputs(loss):
    teacher, further = logits(1), (2.0,) if loss == "soft" else ()
    check(
        lambda given: getattr(TASK, loss)(given, teacher, text.batch(numeric=True), *further),
        lambda given: sum((given[i, 0] - teacher[i, 0].double()) ** 2 for i in range(3)) / 3,
        logits(),
    )
    rows = TASK.soft_rows(logits(), teacher, text.batch(numeric=True), 2.0)
    assert rows.shape == (3,)
    reference.same_value(rows, (logits().double() - teacher.double())[:, 0] ** 2)


def test_b_by_1_never_broadcasts_against_b():
    """Perfect outputs cost nothing; all pairs of rows would cost their spread. Other shapes are refused."""
    batch = text.batch(numeric=True)
    perfect = batch["labels"].unsqueeze(1)
    assert perfect.std() > 0.5
    assert TASK.loss(perfect, batch) == TASK.soft(perfect, perfect, batch, 1.0) == 0
    assert TASK.logit_mse(perfect, perfect, batch) == 0
    with pytest.raises(ValueError, match=r"labels have shape \(3, 1\)"):
        TASK.loss(perfect, batch | {"labels": perfect})
    with pytest.raises(IndexError):
        TASK.soft(perfect, perfect[:, 0], batch, 1.0)


def test_no_gradient_flows_into_the_teacher():
    student, teacher = logits().requires_grad_(), logits(1).requires_grad_()
    TASK.soft(student, teacher, text.batch(numeric=True), 1.0).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_label_smoothing_is_refused():
    with pytest.raises(UserError, match="label_smoothing: 0.1: task regression has no classes"):
        TASK.loss(logits(), text.batch(numeric=True), 0.1)


def test_the_head_and_a_model_give_one_output():
    head = TASK.head(6, 0.3)
    assert head(torch.randn(3, 7, 6)).shape == (3, 1) and head.dropout.p == 0.3
    fields = TASK.model_fields()
    assert (fields["num_labels"], fields["problem_type"], TASK.channels) == (1, "regression", 1)
    model = text.model(channels=1)
    inputs = {name: text.batch()[name] for name in ("input_ids", "attention_mask")}
    assert TASK.logits(model(**inputs)).shape == (3, 1)


def test_noisy_labels_come_from_other_rows():
    features = text.features(200, numeric=True)
    before = np.asarray(features["labels"], np.float32)
    found = TASK.noisy(features, 0.5, seed=1)["labels"]
    assert found.dtype == np.float32 and set(found) <= set(before)
    # A row may draw its own label, which is rare among 200.
    assert 90 <= (found != before).sum() <= 100
    assert np.array_equal(found, TASK.noisy(features, 0.5, seed=1)["labels"])
    assert np.array_equal(TASK.noisy(features, 0.0, seed=1)["labels"], before)


def test_the_report_has_correlations_counts_and_the_numbers():
    gold = [0.0, 2.5, 5.0, 1.0]
    selection = text.predicted(np.array([[1.0], [2.0]]), [2.0, 4.0], "s")
    validation = text.predicted(np.array([[0.25], [2.0], [4.0], [3.0]]), gold, "v")
    report = TASK.report(selection, validation, text.SETTINGS, {"mismatched": selection})
    assert report.scores["selection_pearson"] == pytest.approx(100) == report.scores["mismatched_pearson"]
    assert report.scores["mse"] == pytest.approx((0.0625 + 0.25 + 1 + 4) / 4)
    assert report.scores["examples"] == 4 and set(TASK.shown) <= set(report.scores)
    assert report.files == {".json": {"v0": 0.25, "v1": 2.0, "v2": 4.0, "v3": 3.0}, ".null_odds.json": {}}
    assert list(report.examples) == ["id", "gold", "predicted"] and report.examples["gold"] == gold
    assert report.examples["predicted"].tolist() == [0.25, 2.0, 4.0, 3.0]


def test_a_constant_prediction_scores_0_and_not_nan():
    split = text.predicted(np.full((4, 1), 2.0), [0.0, 1.0, 2.0, 5.0])
    scores = TASK.score(split, text.SETTINGS)
    assert (scores["pearson"], scores["spearman"]) == (0.0, 0.0) and math.isfinite(scores["mse"])


def test_the_metric_that_decides_is_a_correlation():
    assert TASK.main_metric == "pearson" and Regression(metric="spearman").main_metric == "spearman"
    assert not TASK.has_classes and not TASK.per_token
    with pytest.raises(UserError, match=r"evaluate.metric: 'mse'.*pearson, spearman"):
        Regression(metric="mse")
