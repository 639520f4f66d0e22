"""Token classification: losses over words as loops in float64, windows put together, scores, table and files."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from distill.analysis.bootstrap import score_of
from distill.config.scoring import Evaluate
from distill.data.loading.batches import Collator, Rows
from distill.errors import UserError
from distill.losses.terms import TEACHER_WEIGHT
from distill.models.predict import layout
from distill.tasks import label_noise
from distill.tasks.base import Predicted, label_column, labelled
from distill.tasks.token_classification import TASK as TokenClassification
from tests.helpers import reference, words

TASK = TokenClassification(labels=words.TAGS)
PLACES = [
    (row, place, label) for row, part in enumerate(words.LABELS) for place, label in enumerate(part) if label > -100
]


def logits(seed=0, width=6):
    return torch.randn(3, width, 3, generator=torch.Generator().manual_seed(seed))


def check(found_of, expected_of, given):
    """Value and gradient of a loss against the formula in float64."""
    single, double = given.clone().requires_grad_(), given.double().requires_grad_()
    found, expected = found_of(single), expected_of(double)
    reference.same_value(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-4, atol=1e-6)
    assert double.grad.abs().sum() > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [None, (1.0, 3.0, 0.5)])
def test_the_loss_is_the_mean_over_tagged_words(smoothing, weights):
    task = TASK if weights is None else TASK.weighted(weights)

    def expected(given):
        total = below = 0.0
        for row, place, label in PLACES:
            if label < 0:
                continue
            log_p = reference.log_p(given[row, place])
            each = weights or (1.0, 1.0, 1.0)
            spread = sum(w * p for w, p in zip(each, log_p, strict=True)) / 3
            total = total - (1 - smoothing) * each[label] * log_p[label] - smoothing * spread
            below += each[label]
        return total / below

    check(lambda given: task.loss(given, words.batch(), smoothing), expected, logits())


def soft_by_hand(given, teacher, temperature, rows):
    s, t = (reference.log_p(side[rows[0], rows[1]].double() / temperature) for side in (given, teacher))
    return temperature**2 * (t.exp() * (t - s)).sum()


@pytest.mark.parametrize("weight", [None, (0.5, 2.0, 1.0), (0.0, 0.0, 0.0)])
def test_soft_targets_count_for_words_tagged_or_not_and_for_no_other_token(weight):
    teacher, batch = logits(1), words.batch()
    if weight is not None:
        batch[TEACHER_WEIGHT] = torch.tensor(weight)
    each = weight or (1.0, 1.0, 1.0)
    below = sum(each[row] for row, _, _ in PLACES)

    def soft(given):
        parts = [each[row] * soft_by_hand(given, teacher, 2.5, (row, place)) for row, place, _ in PLACES]
        return sum(parts) / max(below, 1e-9)

    def squared(given):
        gaps = [each[r] * (given[r, p] - teacher[r, p].double()).square().mean() for r, p, _ in PLACES]
        return sum(gaps) / max(below, 1e-9)

    if not below:
        assert TASK.soft(logits(), teacher, batch, 2.5) == 0 == TASK.logit_mse(logits(), teacher, batch)
        return
    check(lambda given: TASK.soft(given, teacher, batch, 2.5), soft, logits())
    check(lambda given: TASK.logit_mse(given, teacher, batch), squared, logits())


def test_soft_rows_are_means_over_a_rows_words():
    teacher = logits(1)
    found = TASK.soft_rows(logits(), teacher, words.batch(), 2.0)
    for row in range(3):
        mine = [soft_by_hand(logits(), teacher, 2.0, (r, place)) for r, place, _ in PLACES if r == row]
        reference.same_value(found[row], sum(mine) / len(mine))


def test_class_rows_are_the_words_with_their_rows():
    (rows,) = TASK.class_rows(logits(), words.batch())
    assert rows.row.tolist() == [row for row, _, _ in PLACES] and rows.mask is None
    assert rows.gold.tolist() == [label for _, _, label in PLACES]
    assert torch.equal(rows.logits, torch.stack([logits()[row, place] for row, place, _ in PLACES]))


def test_padding_changes_nothing():
    wide = {
        name: torch.nn.functional.pad(value, (0, 3), value=-100 if name == "labels" else 0 if name != "entity" else -1)
        if value.dim() == 2
        else value
        for name, value in words.batch().items()
    }
    more = torch.cat([logits(), 50 * torch.ones(3, 3, 3)], 1)
    teacher = torch.cat([logits(1), torch.full((3, 3, 3), -50.0)], 1)
    for loss in (
        lambda given, batch, other: TASK.loss(given, batch),
        lambda given, batch, other: TASK.soft(given, other, batch, 2.0),
        lambda given, batch, other: TASK.logit_mse(given, other, batch),
    ):
        assert torch.equal(loss(logits(), words.batch(), logits(1)), loss(more, wide, teacher))


def test_a_row_is_labelled_where_one_of_its_words_is():
    assert labelled(words.batch(), TASK.labels).tolist() == [True, True, False]
    nobody = words.batch() | {"labels": words.batch()["labels"].clamp(max=-1)}
    assert TASK.loss(logits().requires_grad_(), nobody) == 0


def test_editable_are_tokens_outside_of_entities():
    expected = [[True, False, True, False, True, True], [True, True, False, True, False, False], [True] * 5 + [False]]
    assert TASK.editable(words.batch()).tolist() == expected


def test_probabilities_are_geometric_means_over_words():
    batch = {name: value[:2] for name, value in words.batch().items()}
    found = TASK.probabilities(logits()[:2], batch)
    for row, values in enumerate(found):
        shares = [(reference.log_p(logits()[r, p].double()), label) for r, p, label in PLACES if r == row]
        tagged = np.exp(np.mean([float(log_p[label]) for log_p, label in shares]))
        likeliest = np.exp(np.mean([float(log_p.max()) for log_p, _ in shares]))
        assert values == {"tagged": round(tagged, 6), "likeliest": round(likeliest, 6)}
    assert set(TASK.probabilities(logits(), words.batch())[2]) == {"likeliest"}


def test_the_head_gives_logits_for_each_token():
    head = TASK.head(5, 0.5).eval()
    assert head(torch.randn(3, 6, 5)).shape == (3, 6, 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return words.prepared(tmp_path_factory.mktemp("words"))


def perfect(data, split, wrong=0.0, seed=0) -> Predicted:
    """Logits that are right but for a share of the tokens."""
    features = data.features(split)
    labels, generator = label_column(features, "labels"), np.random.default_rng(seed)
    classes = len(data.meta["labels"])
    values = generator.normal(0, 0.1, (len(labels), classes)).astype(np.float32)
    said = np.where(generator.random(len(labels)) < wrong, generator.integers(0, classes, len(labels)), labels)
    values[np.arange(len(labels)), np.clip(said, 0, None)] += 3
    return Predicted(data.examples(split), features, values, layout(features, True), data.meta)


def task_of(data, **more):
    return TokenClassification(labels=data.meta["labels"], **more)


def test_right_tags_in_every_window_make_every_entity(data):
    task = task_of(data)
    assert data.meta["splits"]["validation"]["windowed_texts"] > 0
    assert set(task.score(perfect(data, "validation"), words.SETTINGS).values()) == {100.0}
    report = task.report(perfect(data, "selection"), perfect(data, "validation"), words.SETTINGS)
    given = {text["id"]: text for text in _corpus(data)}
    assert {key: [(e["start"], e["end"], e["type"]) for e in item["entities"]] for key, item in
            report.files[".json"].items()} == {
        key: [(e["start"], e["end"], e["label"]) for e in text["entities"]] for key, text in given.items()
    }  # fmt: skip


def _corpus(data):

    return [json.loads(line) for line in (data.folder.parent / "entities/validation.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("metric", ["f1", "precision", "recall", "accuracy"])
def test_the_table_has_what_resampled_scores_are_made_of(data, metric):

    task = task_of(data, metric=metric)
    report = task.report(perfect(data, "selection", 0.3), perfect(data, "validation", 0.3), words.SETTINGS)
    table = pd.DataFrame(report.examples)
    assert 0 < report.scores[metric] < 100
    whole = score_of(metric, [table], data.meta["labels"])(np.ones((len(table), 1)))
    assert whole[0, 0] == pytest.approx(report.scores[metric], abs=1e-9)
    twice = score_of(metric, [pd.concat([table, table[:3]])])(np.ones((len(table) + 3, 1)))
    counts = np.array([2.0] * 3 + [1.0] * (len(table) - 3))[:, None]
    assert twice == pytest.approx(score_of(metric, [table])(counts))


def test_further_splits_and_the_selection_split_are_scored_too(data):
    task, whole = task_of(data), perfect(data, "validation")
    report = task.report(perfect(data, "selection", 0.3), whole, words.SETTINGS, {"mismatched": whole})
    assert report.scores["mismatched_f1"] == 100 > report.scores["selection_f1"]
    assert set(report.inputs) == {"", "mismatched_"} and report.scores["temperature"] > 0
    assert {"ece", "ece_calibrated", "accuracy", "default_f1", "examples"} <= set(report.scores)


def test_noise_changes_all_words_of_drawn_texts_and_no_other_token(data):
    task, features = task_of(data), data.features("train")
    noisy = label_noise.noised(features, task, 0.5, 1)
    changed = []
    for before, after in zip(features["labels"], noisy["labels"], strict=True):
        pairs = list(zip(before, after, strict=True))
        assert all(a == b for a, b in pairs if a < 0) and all(0 <= b < task.channels for a, b in pairs if a >= 0)
        assert len({a != b for a, b in pairs if a >= 0}) == 1, "all words of a row, or none"
        changed.append(before != after)
    assert sum(changed) == round(0.5 * len(features)) and noisy.features == features.features
    copies = features.select([*range(4), *(row for row in range(4) for _ in range(2))]).flatten_indices()
    with_copies = label_noise.noised(copies, task, 0.5, 1, originals=4)["labels"]
    assert with_copies[4:] == [with_copies[row] for row in range(4) for _ in range(2)]


def test_batches_hold_labels_padded_with_no_word(data):
    rows = Rows(data.features("train"), ("input_ids", "labels", "entity"))
    lengths = rows.lengths[:4]
    batch = Collator(0, ("labels",), ("entity",))(rows.__getitems__([0, 1, 2, 3]))
    for row, length in enumerate(lengths):
        assert batch["labels"][row, :length].tolist() == data.features("train")[row]["labels"]
        assert (batch["labels"][row, length:] == -100).all() and (batch["entity"][row, length:] == -1).all()


def test_other_metrics_and_broken_logits_are_refused(data):
    with pytest.raises(UserError, match=r"evaluate.metric: 'mcc'.*f1, precision, recall, accuracy"):
        TokenClassification(metric="mcc")
    broken = perfect(data, "validation")
    broken.logits[3, 1] = np.nan
    with pytest.raises(UserError, match="not a finite number"):
        task_of(data).score(broken, Evaluate(**words.SETTINGS.model_dump()))
