"""Several labels per text: losses as formulas in float64; scores, tables, files and what is tuned."""

import json
import math

import datasets
import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.nn import functional as F

from distill.errors import UserError
from distill.losses.terms import TEACHER_WEIGHT, soft_rows
from distill.tasks import class_weights, label_noise
from distill.tasks.base import Predicted, labelled
from distill.tasks.multi_label import MOST_PROBABILITIES
from distill.tasks.multi_label import TASK as MultiLabel
from tests.helpers import reference, text

CLASSES = ("late", "rude", "wrong")
TASK = MultiLabel(labels=CLASSES)
LABELS = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [math.nan] * 3, [1.0, 1.0, 1.0]]


def logits(seed=0, rows=4, classes=3):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def batch(**more):
    return {"labels": torch.tensor(LABELS), **more}


def check(found_of, expected_of, given):
    """Value and gradient of a loss against the formula in float64."""
    single, double = given.clone().requires_grad_(), given.double().requires_grad_()
    found, expected = found_of(single), expected_of(double)
    reference.same_value(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-4, atol=1e-6)
    assert double.grad.abs().sum() > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 3.0)])
def test_the_loss_is_binary_cross_entropy_over_the_classes_of_the_labelled_rows(smoothing, weights):
    task = TASK if weights is None else TASK.weighted(weights)

    def expected(given):
        total = 0.0
        for row in (0, 1, 3):
            for c in range(3):
                p = 1 / (1 + (-given[row, c]).exp())
                target = (1 - smoothing) * LABELS[row][c] + smoothing / 2
                total = total - (weights or (1, 1, 1))[c] * target * p.log() - (1 - target) * (1 - p).log()
        return total / 9

    check(lambda given: task.loss(given, batch(), smoothing), expected, logits())


def test_a_batch_without_labels_has_loss_0_and_gradient_0():
    given = logits().requires_grad_()
    loss = TASK.loss(given, {"labels": torch.full((4, 3), math.nan)})
    loss.backward()
    assert loss.item() == 0 and not given.grad.any()
    assert labelled(batch(), TASK.labels).tolist() == [True, True, False, True]


def test_soft_targets_are_bernoulli_kl_mean_over_classes_also_of_rows_without_a_label():
    teacher, t = logits(1), 2.5

    def rows(given):
        for row in range(4):
            total = 0.0
            for c in range(3):
                s, q = 1 / (1 + (-given[row, c] / t).exp()), 1 / (1 + (-teacher[row, c].double() / t).exp())
                total = total + q * (q / s).log() + (1 - q) * ((1 - q) / (1 - s)).log()
            yield t**2 * total / 3

    check(lambda given: TASK.soft(given, teacher, batch(), t), lambda given: sum(rows(given)) / 4, logits())
    reference.same_value(TASK.soft_rows(logits(), teacher, batch(), t), torch.stack(list(rows(logits().double()))))
    weight = torch.tensor([0.0, 2.0, 1.0, 0.0])
    weighted = TASK.soft(logits(), teacher, batch(**{TEACHER_WEIGHT: weight}), t)
    each = list(rows(logits().double()))
    reference.same_value(weighted, (2 * each[1] + each[2]) / 3)


def test_soft_targets_stay_finite_and_do_not_reach_the_teacher():
    student, teacher = (100 * logits(seed) for seed in (0, 1))
    student, teacher = student.requires_grad_(), teacher.requires_grad_()
    loss = TASK.soft(student, teacher, batch(), 1.0)
    loss.backward()
    assert math.isfinite(loss.item()) and student.grad.isfinite().all() and teacher.grad is None


def test_class_rows_are_a_choice_for_each_class_whose_kl_is_the_soft_target():
    rows = TASK.class_rows(logits(), batch())
    assert len(rows) == 3 and {part.logits.shape for part in rows} == {(4, 2)}
    for number, part in enumerate(rows):
        shares = part.logits.softmax(-1)
        torch.testing.assert_close(shares[:, 1], logits()[:, number].sigmoid())
        assert part.gold.tolist() == [-100 if math.isnan(row[number]) else int(row[number]) for row in LABELS]
    others = TASK.class_rows(logits(1), batch())
    means = [soft_rows(own.logits, other.logits, 2.0).mean() for own, other in zip(rows, others, strict=True)]
    torch.testing.assert_close(sum(means) / 3, TASK.soft(logits(), logits(1), batch(), 2.0))


def test_logit_mse_is_the_mean_over_rows_and_classes():
    teacher = logits(1)
    check(
        lambda given: TASK.logit_mse(given, teacher, batch()),
        lambda given: sum((given[i, c] - teacher[i, c].double()) ** 2 for i in range(4) for c in range(3)) / 12,
        logits(),
    )


def test_a_model_gets_the_problem_type_and_gives_log_odds():
    fields = TASK.model_fields()
    assert fields["problem_type"] == "multi_label_classification" and fields["id2label"][2] == "wrong"
    model = text.model(**{name: fields[name] for name in ("id2label", "label2id", "problem_type")})
    made = text.batch()
    inputs = {name: made[name] for name in ("input_ids", "attention_mask")}
    found = TASK.logits(model(**inputs, labels=torch.tensor(LABELS)[[0, 1, 3]]))
    assert found.shape == (3, 3)
    own = model(**inputs, labels=torch.tensor(LABELS)[[0, 1, 3]]).loss  # transformers' own loss for the problem type
    torch.testing.assert_close(TASK.loss(found, {"labels": torch.tensor(LABELS)[[0, 1, 3]]}), own)


def test_probabilities_are_each_for_itself_and_the_likeliest_of_many():
    (row,) = TASK.probabilities(torch.tensor([[0.0, 2.0, -800.0]]), {})
    assert row == {"late": 0.5, "rude": round(1 / (1 + math.exp(-2)), 6), "wrong": 0.0}
    many = MultiLabel(labels=[f"c{i}" for i in range(MOST_PROBABILITIES + 20)])
    (row,) = many.probabilities(torch.arange(MOST_PROBABILITIES + 20.0)[None] - 60, {})
    assert list(row) == [f"c{i}" for i in range(20, MOST_PROBABILITIES + 20)]


def table(sets: list[list[int]]) -> datasets.Dataset:
    values = np.zeros((len(sets), 3), np.float32)
    for row, numbers in zip(values, sets, strict=True):
        row[numbers] = 1
    sets = datasets.Sequence(datasets.Value("float32"), length=3)
    kind = datasets.Features({"length": datasets.Value("int32"), "labels": sets})
    return datasets.Dataset.from_dict({"length": [5] * len(values), "labels": values.tolist()}, features=kind)


def test_noisy_rows_get_the_labels_of_a_row_that_has_others():
    sets = [[0], [0], [0, 1], [], [0], [2], [], [0, 1, 2]] * 10
    features = table(sets)
    before = np.array(features["labels"])
    after = TASK.noisy(features, 0.25, 3)["labels"]
    changed = (before != after).any(1)
    assert changed.sum() == 20 and after.dtype == np.float32
    assert {tuple(row) for row in after} <= {tuple(row) for row in before}
    assert (TASK.noisy(features, 0.25, 4)["labels"] != after).any()
    alike = TASK.noisy(table([[1]] * 5), 1.0, 0)["labels"]
    assert (alike == [0, 1, 0]).all()
    noised = label_noise.noised(features, TASK, 0.25, 3)
    assert noised.features == features.features and np.array_equal(np.array(noised["labels"]), after)
    augmented = datasets.concatenate_datasets([features, table([row for row in sets for _ in range(2)])])
    copied = np.array(label_noise.noised(augmented, TASK, 0.25, 3, originals=80)["labels"])
    assert np.array_equal(copied, np.concatenate([after, np.repeat(after, 2, axis=0)]))


def test_each_other_set_is_equally_likely():
    features = table([[0]] + [[1]] * 2 + [[2]])
    drawn = np.array([TASK.noisy(features, 1.0, seed)["labels"] for seed in range(600)])
    share = (drawn[:, 0] == [0, 1, 0]).all(1).mean()  # of the three other rows, two have class 1
    assert share == pytest.approx(2 / 3, abs=0.07)


def test_balanced_weights_make_both_sides_of_a_class_weigh_the_same():
    labels = np.array([[1, 0], [1, 1], [0, 0], [1, 0], [math.nan] * 2], np.float32)
    weights = class_weights.of("balanced", ("a", "b"), labels, "distill")
    assert weights == pytest.approx([1 / 3, 3.0])
    with pytest.raises(UserError, match="no training row has class 'b'"):
        class_weights.of("balanced", ("a", "b"), labels[[0, 2]], "distill")
    with pytest.raises(UserError, match="all training rows have class 'a'"):
        class_weights.of("balanced", ("a", "b"), labels[:2], "distill")
    given = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    loss = MultiLabel(labels=("a", "b")).weighted(weights).loss(given, {"labels": torch.tensor(labels[:4])})
    own = F.binary_cross_entropy_with_logits(given, torch.tensor(labels[:4]), pos_weight=torch.tensor(weights))
    torch.testing.assert_close(loss, own)


def predicted(values: np.ndarray, sets: list[list[int]], prefix: str = "") -> Predicted:
    examples = datasets.Dataset.from_dict({"id": [f"{prefix}{i}" for i in range(len(sets))], "label": sets})
    meta = {"splits": {"train": {"labels": [50, 4, 30]}}}
    return Predicted(examples, None, values.astype(np.float32), np.arange(len(sets) + 1), meta)


def drawn(seed: int, rows: int) -> tuple[np.ndarray, list[list[int]]]:
    """Logits that say too little, and labels."""
    random = np.random.default_rng(seed)
    gold = random.random((rows, 3)) < [0.5, 0.15, 0.3]
    gold[0] = [True, False, False]
    values = 2 * gold + random.normal(-2, 1, gold.shape)
    return values, [np.flatnonzero(row).tolist() for row in gold]


@pytest.fixture(scope="module")
def report():
    selection, validation = (predicted(*drawn(seed, 80), prefix) for seed, prefix in ((1, "s"), (2, "v")))
    mismatched = predicted(*drawn(3, 20))
    return TASK.report(selection, validation, text.SETTINGS, {"mismatched": mismatched})


def test_scores_are_scikit_learns(report):
    values, sets = drawn(2, 80)
    gold = np.array([[number in row for number in range(3)] for row in sets])
    said = values.astype(np.float32) > 0
    scores = report.scores
    for name in ("micro", "macro"):
        assert scores[f"{name}_f1"] == pytest.approx(100 * metrics.f1_score(gold, said, average=name, zero_division=0))
        found = metrics.average_precision_score(gold, values.astype(np.float32), average=name)
        assert scores[f"{name}_ap"] == pytest.approx(100 * found)
    by_row = metrics.f1_score(gold, said, average="samples", zero_division=1)
    assert scores["example_f1"] == pytest.approx(100 * by_row)
    assert scores["subset_accuracy"] == pytest.approx(100 * metrics.accuracy_score(gold, said))
    assert scores["hamming_loss"] == pytest.approx(100 * metrics.hamming_loss(gold, said))
    assert scores["minority_recall"] == pytest.approx(100 * metrics.recall_score(gold[:, 1], said[:, 1]))
    assert scores["ap_2"] == pytest.approx(100 * metrics.average_precision_score(gold[:, 2], values[:, 2]))
    assert scores == scores | TASK.score(predicted(values, sets), text.SETTINGS)
    assert {"selection_micro_f1", "mismatched_micro_f1", "mismatched_macro_ap", "examples"} <= set(scores)


def test_tuned_scores_are_those_of_the_selection_splits_thresholds(report):
    values, sets = drawn(2, 80)
    gold = np.array([[number in row for number in range(3)] for row in sets])
    bounds = np.array([report.scores[f"tuned_threshold_{number}"] for number in range(3)])
    said = 1 / (1 + np.exp(-values.astype(np.float32).astype(float))) > bounds
    assert (bounds < 0.5).all()  # the logits say too little
    assert report.scores["tuned_macro_f1"] == pytest.approx(100 * metrics.f1_score(gold, said, average="macro"))
    assert report.scores["tuned_macro_f1"] > report.scores["macro_f1"]
    assert report.examples["tuned"] == [json.dumps([CLASSES[i] for i in np.flatnonzero(row)]) for row in said]


def test_the_table_has_a_score_for_each_example_and_the_confidence_in_all_its_classes(report):
    values, sets = drawn(2, 80)
    columns = report.examples
    assert np.mean(columns["example_f1"]) == pytest.approx(report.scores["example_f1"])
    assert np.mean(columns["subset_accuracy"]) == pytest.approx(report.scores["subset_accuracy"])
    assert columns["gold"] == [json.dumps([CLASSES[i] for i in row]) for row in sets]
    p = 1 / (1 + np.exp(-values))
    assert columns["confidence"] == pytest.approx(np.maximum(p, 1 - p).prod(1), abs=1e-5)
    assert report.scores["temperature"] > 0 and 0 <= report.scores["ece_calibrated"] <= 100


def test_predictions_are_the_names_and_the_probabilities(report):
    values, _ = drawn(2, 80)
    row = report.files[".json"]["v3"]
    assert row["labels"] == [name for name, value in zip(CLASSES, values[3], strict=True) if value > 0]
    assert row["probabilities"]["rude"] == pytest.approx(1 / (1 + math.exp(-values[3, 1])), abs=1e-6)
    inputs = report.inputs["mismatched_"]
    assert len(inputs.predictions) == 20 and set(map(len, inputs.references)) == {3}


def test_another_metric_and_one_class_are_refused():
    assert MultiLabel("macro_f1").main_metric == "macro_f1" and TASK.main_metric == "micro_f1"
    with pytest.raises(UserError, match="evaluate.metric: 'accuracy'"):
        MultiLabel("accuracy")
    with pytest.raises(ValueError, match="two classes"):
        MultiLabel(labels=["a"])


def test_a_broken_model_is_refused():
    values, sets = drawn(2, 5)
    values[3, 1] = math.nan
    with pytest.raises(UserError, match="feature 3"):
        TASK.score(predicted(values, sets), text.SETTINGS)
