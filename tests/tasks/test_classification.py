"""Classification: loss, distillation loss and head as formulas in float64; scores and prediction file."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from distill.errors import UserError
from distill.tasks.classification import TASK as Classification
from tests.helpers import reference, text

TASK = Classification(labels=text.CLASSES)


def logits(seed=0, rows=3, classes=3):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def check(found_of, expected_of, given):
    """Value and gradient of a loss against the formula in float64."""
    single = given.clone().requires_grad_()
    double = given.double().requires_grad_()
    found, expected = found_of(single), expected_of(double)
    reference.same_value(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-4, atol=1e-6)
    assert double.grad.abs().sum() > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_cross_entropy_smoothed_over_all_classes(smoothing):
    batch = text.batch()

    def expected(given):
        total = 0.0
        for row, gold in enumerate(batch["labels"].tolist()):
            log_p = reference.log_p(given[row])
            total = total - (1 - smoothing) * log_p[gold] - smoothing * sum(log_p) / 3
        return total / 3

    check(lambda given: TASK.loss(given, batch, smoothing), expected, logits())


def test_soft_is_t_squared_kl_of_teacher_and_student():
    batch, teacher = text.batch(), logits(1)

    def rows(given):
        for row in range(3):
            s, t = reference.log_p(given[row] / 2.5), reference.log_p(teacher[row].double() / 2.5)
            yield 2.5**2 * sum(t.exp() * (t - s))

    check(lambda given: TASK.soft(given, teacher, batch, 2.5), lambda given: sum(rows(given)) / 3, logits())
    found = TASK.soft_rows(logits(), teacher, batch, 2.5)
    assert found.shape == (3,)
    reference.same_value(found, torch.stack(list(rows(logits().double()))))


def test_logit_mse_is_the_mean_over_rows_and_classes():
    teacher = logits(1)
    check(
        lambda given: TASK.logit_mse(given, teacher, text.batch()),
        lambda given: sum((given[i, c] - teacher[i, c].double()) ** 2 for i in range(3) for c in range(3)) / 9,
        logits(),
    )


@pytest.mark.parametrize("loss", ["soft", "logit_mse"])
def test_no_gradient_flows_into_the_teacher(loss):
    student, teacher = logits().requires_grad_(), logits(1).requires_grad_()
    further = (2.0,) if loss == "soft" else ()
    getattr(TASK, loss)(student, teacher, text.batch(), *further).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_the_head_reads_the_first_token_alone_and_is_teds():
    torch.manual_seed(0)
    head = TASK.head(6, 0.3)
    hidden = torch.randn(3, 7, 6)
    (dense, bias), (out, last) = [(m.weight.double(), m.bias.double()) for m in (head.dense, head.out)]
    expected = torch.tanh(hidden[:, 0].double() @ dense.T + bias) @ out.T + last
    assert torch.is_grad_enabled() and dense.shape == (6, 6) and out.shape == (3, 6)
    torch.testing.assert_close(head.eval()(hidden).double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(head(hidden), head(hidden[:, :1]))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_head_drops_its_share_twice_while_it_trains(share):
    torch.manual_seed(0)
    head = TASK.head(400, share).train()
    with torch.no_grad():
        head.dense.weight.copy_(torch.eye(400))
        head.dense.bias.zero_()
        head.out.weight.fill_(1.0)
        head.out.bias.zero_()
    left = 1 - share
    kept = head(torch.full((200, 1, 400), 0.1))[:, 0] / (400 * math.tanh(0.1 / left) / left)
    assert kept.mean().item() == pytest.approx(left**2, abs=0.01)


def test_editable_are_the_real_tokens():
    batch = text.batch()
    assert torch.equal(TASK.editable(batch), batch["attention_mask"].bool())


def test_a_model_gets_as_many_outputs_as_classes_by_their_names():
    fields = TASK.model_fields()
    assert fields["num_labels"] == TASK.channels == 3 and fields["id2label"][2] == "good"
    assert fields["label2id"] == {"bad": 0, "middling": 1, "good": 2}
    model = text.model(**{name: fields[name] for name in ("id2label", "label2id", "problem_type")})
    assert isinstance(model, TASK.auto_class()._model_mapping[type(model.config)])
    inputs = {name: text.batch()[name] for name in ("input_ids", "attention_mask")}
    assert TASK.logits(model(**inputs)).shape == (3, 3)


def test_noisy_labels_are_wrong_in_exactly_that_share_of_rows():
    features = text.features(200)
    before = np.asarray(features["labels"])
    found = TASK.noisy(features, 0.3, seed=1)["labels"]
    assert found.dtype == np.int64 and (found != before).sum() == 60 and set(found) == {0, 1, 2}
    assert np.array_equal(found, TASK.noisy(features, 0.3, seed=1)["labels"])
    assert not np.array_equal(found, TASK.noisy(features, 0.3, seed=2)["labels"])
    assert np.array_equal(TASK.noisy(features, 0.0, seed=1)["labels"], before)
    assert (TASK.noisy(features, 1.0, seed=1)["labels"] != before).all()
    assert np.array_equal(np.asarray(features["labels"]), before)


@pytest.fixture
def splits():
    validation = text.predicted(np.eye(3)[[0, 1, 2, 0]] * 4, [0, 1, 1, 0], "v")
    selection = text.predicted(np.eye(3)[[2, 1]], [2, 0], "s")
    return selection, validation


def test_the_report_has_scores_of_both_splits_and_a_prediction_for_every_row(splits):
    report = TASK.report(*splits, text.SETTINGS)
    assert report.scores["accuracy"] == 75.0 and report.scores["selection_accuracy"] == 50.0
    assert report.scores["examples"] == 4 and not any(name.startswith("mismatched") for name in report.scores)
    assert set(report.files) == {".json", ".null_odds.json"} and report.files[".null_odds.json"] == {}
    predictions = report.files[".json"]
    assert list(predictions) == ["v0", "v1", "v2", "v3"]
    assert [item["label"] for item in predictions.values()] == ["bad", "middling", "good", "bad"]
    high, low = math.exp(4) / (math.exp(4) + 2), 1 / (math.exp(4) + 2)
    assert predictions["v2"]["probabilities"] == {
        "bad": round(low, 6),
        "middling": round(low, 6),
        "good": round(high, 6),
    }
    assert report.scores == TASK.report(*splits, text.SETTINGS).scores
    assert {name: report.scores[name] for name in TASK.score(splits[1], text.SETTINGS)} == TASK.score(
        splits[1], text.SETTINGS
    )


@pytest.mark.parametrize("classes", [3, 100, 101, 10_000])
def test_the_predictions_grow_with_the_rows_not_with_the_classes(classes):
    task = Classification(labels=[f"class {i}" for i in range(classes)])
    logits = np.random.default_rng(0).normal(size=(6, classes))
    logits[0] = 0.0  # all equal: the first ones, among them the prediction
    logits[1, -3:] = 9.0
    predicted = text.predicted(logits, [0, 1, 2, 0, 1, 2], "v")
    predictions = task.report(predicted, predicted, text.SETTINGS).files[".json"]
    number = {name: i for i, name in enumerate(task.classes)}
    for row, item in zip(logits.astype(np.float32).astype(np.float64), predictions.values(), strict=True):
        shares, names = softmax(row), list(item["probabilities"])
        assert len(names) == min(classes, 100) and names == sorted(names, key=number.get)
        assert item["label"] == task.classes[row.argmax()] and item["label"] in names
        assert item["probabilities"] == {name: round(float(shares[number[name]]), 6) for name in names}
        left_out = np.delete(shares, [number[name] for name in names])
        assert left_out.max(initial=0.0) <= min(shares[number[name]] for name in names)
    assert len(json.dumps(predictions)) < 6 * 100 * 40


def test_the_table_of_examples_says_what_is_right_and_how_sure_the_model_was(splits):
    report = TASK.report(*splits, text.SETTINGS)
    table = {name: list(values) for name, values in report.examples.items()}
    assert table["id"] == ["v0", "v1", "v2", "v3"] and table["accuracy"] == [100, 100, 0, 100]
    assert table["gold"] == ["bad", "middling", "middling", "bad"] and table["correct"] == [1, 1, 0, 1]
    assert table["predicted"] == ["bad", "middling", "good", "bad"]
    temperature = report.scores["temperature"]
    for name, scale in (("confidence", 1.0), ("calibrated", temperature)):
        sure = math.exp(4 / scale) / (math.exp(4 / scale) + 2)
        assert table[name] == pytest.approx([sure] * 4, abs=1e-6)
    high = math.exp(4) / (math.exp(4) + 2)
    assert report.scores["ece"] == pytest.approx(100 * abs(0.75 - high), abs=1e-3)


def test_the_temperature_comes_from_the_selection_split_alone(splits):
    selection, validation = splits
    found = TASK.report(selection, validation, text.SETTINGS).scores["temperature"]
    assert TASK.report(selection, selection, text.SETTINGS).scores["temperature"] == found
    assert TASK.report(validation, validation, text.SETTINGS).scores["temperature"] != found


def test_a_second_validation_split_is_scored_beside_the_first(splits):
    mismatched = text.predicted(np.eye(3)[[0, 0]], [0, 1], "m")
    news = text.predicted(np.eye(3)[[0, 0, 0, 1]], [0, 1, 1, 1], "n")
    report = TASK.report(*splits, text.SETTINGS, {"mismatched": mismatched, "news": news})
    assert (report.scores["news_accuracy"], report.scores["news_examples"]) == (50.0, 4)
    assert list(report.inputs) == ["", "mismatched_", "news_"]
    assert (report.scores["mismatched_accuracy"], report.scores["mismatched_examples"]) == (50.0, 2)
    assert report.scores["accuracy"] == 75.0 and list(report.files[".json"]) == ["v0", "v1", "v2", "v3"]
    assert set(TASK.shown) <= set(report.scores)


def test_logits_that_are_not_finite_are_refused(splits):
    splits[1].logits[2, 1] = np.nan
    with pytest.raises(UserError, match="logits: not a finite number in feature 2"):
        TASK.report(*splits, text.SETTINGS)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "mcc", "macro_f1"])
def test_the_metric_that_decides_is_one_of_the_scores(metric, splits):
    task = Classification(metric=metric, labels=text.CLASSES)
    assert task.main_metric == metric and metric in task.score(splits[1], text.SETTINGS)


def test_another_metric_or_one_class_is_refused():
    with pytest.raises(UserError, match=r"params.yaml: evaluate.metric: 'em'.*accuracy, f1, mcc, macro_f1"):
        Classification(metric="em", labels=text.CLASSES)
    with pytest.raises(ValueError, match="two classes"):
        Classification(labels=["only"])
