"""Rows without a label in the task losses, against a loop over the rows in float64."""

import math

import pytest
import torch

from distill.tasks.base import labelled
from distill.tasks.registry import load_task

CLASSES = ("a", "b", "c")


def log_softmax(values):
    largest = max(values)
    total = math.log(sum(math.exp(value - largest) for value in values)) + largest
    return [value - total for value in values]


def softmax(values):
    return [math.exp(value) for value in log_softmax(values)]


def classes(smoothing):
    """Task, logits and batch; the naive loss and its gradient, in lists of floats."""
    task, labels = load_task("classification", labels=CLASSES), [2, -100, 0, -100, 1]
    logits = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    known, loss, gradient = [i for i, label in enumerate(labels) if label >= 0], 0.0, torch.zeros(5, 3)
    for i in known:
        row = logits[i].tolist()
        target = [smoothing / 3 + (1 - smoothing) * (k == labels[i]) for k in range(3)]
        loss -= sum(t * p for t, p in zip(target, log_softmax(row), strict=True)) / len(known)
        gradient[i] = torch.tensor([(p - t) / len(known) for p, t in zip(softmax(row), target, strict=True)])
    return task, logits, {"labels": torch.tensor(labels)}, loss, gradient


def numbers():
    task, labels = load_task("regression"), [math.nan, 3.5, 0.25, math.nan]
    logits = torch.randn(4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    known, loss, gradient = [i for i, label in enumerate(labels) if label == label], 0.0, torch.zeros(4, 1)
    for i in known:
        gap = logits[i, 0].item() - labels[i]
        loss += gap**2 / len(known)
        gradient[i, 0] = 2 * gap / len(known)
    return task, logits, {"labels": torch.tensor(labels)}, loss, gradient


def spans(smoothing):
    task, lengths = load_task("qa"), [6, 4, 5]
    logits = torch.randn(3, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    places = [[-100, 2, 4], [-100, 3, 4]]
    mask = torch.tensor([[place < length for place in range(6)] for length in lengths])
    loss, gradient = 0.0, torch.zeros(3, 6, 2)
    for side in (0, 1):
        for i in (1, 2):
            row, n = logits[i, : lengths[i], side].tolist(), lengths[i]
            target = [smoothing / n + (1 - smoothing) * (k == places[side][i]) for k in range(n)]
            loss -= sum(t * p for t, p in zip(target, log_softmax(row), strict=True)) / 2 / 2
            gradient[i, :n, side] = torch.tensor([(p - t) / 4 for p, t in zip(softmax(row), target, strict=True)])
    batch = {"start_positions": torch.tensor(places[0]), "end_positions": torch.tensor(places[1])}
    return task, logits, batch | {"attention_mask": mask.long()}, loss, gradient


CASES = {
    "classification": lambda: (*classes(0.0), 0.0),
    "classification, smoothed": lambda: (*classes(0.2), 0.2),
    "regression": lambda: (*numbers(), 0.0),
    "qa": lambda: (*spans(0.0), 0.0),
    "qa, smoothed": lambda: (*spans(0.1), 0.1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_mean_over_the_labelled_rows(case):
    task, logits, batch, expected, gradient, smoothing = CASES[case]()
    logits = logits.requires_grad_()
    loss = task.loss(logits, batch, smoothing)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(logits.grad.float(), gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_batch_without_labels_has_loss_and_gradient_0(case):
    task, logits, batch, *_, smoothing = CASES[case]()
    batch |= {
        name: torch.full_like(batch[name], math.nan if name == "labels" and batch[name].is_floating_point() else -100)
        for name in task.labels
    }
    logits = logits.requires_grad_()
    loss = task.loss(logits, batch, smoothing)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any() and not labelled(batch, task.labels).any()


@pytest.mark.parametrize("case", CASES)
def test_a_batch_is_as_good_as_its_labelled_rows(case):
    task, logits, batch, *_, smoothing = CASES[case]()
    known = labelled(batch, task.labels)
    part = {name: value[known] for name, value in batch.items()}
    assert 0 < known.sum() < len(known)
    torch.testing.assert_close(task.loss(logits, batch, smoothing), task.loss(logits[known], part, smoothing))


@pytest.mark.parametrize("rows", [1, 7, 16, 33])
def test_with_all_labels_the_squared_error_has_the_bits_of_a_plain_mean(rows):
    generator = torch.Generator().manual_seed(rows)
    logits, labels = torch.randn(rows, 1, generator=generator), torch.randn(rows, generator=generator)
    mine, plain = (logits.clone().requires_grad_() for _ in range(2))
    loss, expected = load_task("regression").loss(mine, {"labels": labels}), (plain[:, 0] - labels).square().mean()
    loss.backward(), expected.backward()
    assert loss.item() == expected.item() and torch.equal(mine.grad, plain.grad)
