"""Every method on batches in which some rows have no label, which the transfer set brings.

The loss of a batch of n rows is linear in what its rows are labelled: n · L(all) = Σ n_i · L(part i labelled alone).
All terms that read no labels stay as they are. rw_kd alone is left out, where a label moves the weights of all rows:
test_rw_kd has its rows without labels.
"""

import math

import pytest
import torch

from distill.config import reading
from distill.methods import registry
from distill.methods.base import TASK, Distillation, Setup
from distill.methods.shared.filters import FilterBank
from distill.signals.teacher import OnlineTeacher
from distill.training.objective import Progress
from tests.helpers import masked, neighbours, text, tiny

TASKS = ("qa", "classification", "regression")
# Terms that are made of labels.
LABELLED = {"ft": {TASK}, "tfkd_reg": {TASK, "kl"}, "adv": {TASK, "adversarial"}}
# Methods that refuse a task.
REFUSED = {("tfkd_reg", "regression"), ("dist", "regression")}
# What a random start, or a second step, would draw differently.
CHANGES = {
    "freelb": {"steps": 1},
    "ted": {"filter_interval": 1},
    "hidden": {"layers": "all"},
}
PARTS = ((0, 2), (1,))


class Steady(OnlineTeacher):
    """A teacher whose checkpoints are all like it."""

    def __len__(self):
        return 2

    def of(self, number, batch):
        return self(batch)


def models(task):
    if task == "qa":
        return tiny.model("bert", 2, 8, seed=1), tiny.model("bert", 4, 8, seed=2)
    channels = 3 if task == "classification" else 1
    return text.model("bert", 2, 8, 1, channels), text.model("bert", 4, 8, 2, channels)


def bank(layers):
    torch.manual_seed(len(layers))
    return FilterBank(layers, 8, 4, False, "gelu")


def objective_of(name, task, root):
    """The method with the weights of params.yaml, without dropout."""
    student, teacher = models(task)
    kind = registry.load(name)
    if kind.taught_by == "generation":  # a student of the same shape
        teacher = models(task)[0]
    # It parses a text that it has parsed just now only once.
    values = reading.parse((root / "tests/params.yaml").read_text(), "params.yaml")[name] | CHANGES.get(name, {})
    built = masked.task(task)
    setup = Setup(built, student.config, teacher.config, 0, tiny.tokenizer())
    setup.student_filters, setup.teacher_filters = bank([1, 2]), bank([2, 4])
    setup.generator, setup.candidates = masked.generator(), neighbours.candidates(built, 3, 8)
    torch.manual_seed(0)
    method = kind(kind.Config.model_validate(values), setup)
    further = {need: need in method.needs for need in ("attention", "qkv")}
    source = Steady(teacher, built, True, "fp32", **further) if method.needs else None
    return Distillation(student, method, source).eval()


def with_labels_of(batch, task, rows):
    """The batch in which these rows alone are labelled."""
    made = dict(batch)
    for column in masked.task(task).labels:
        nothing = math.nan if batch[column].is_floating_point() else -100
        known = torch.zeros(len(batch[column]), dtype=torch.bool)
        known[list(rows)] = True
        made[column] = torch.where(known, batch[column], nothing)
    return made


def run(objective, batch):
    """Loss, terms and gradients, every draw the same."""
    objective.zero_grad()
    torch.manual_seed(5)
    terms = objective(**batch)
    terms["loss"].backward()
    gradients = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
    return {name: term.detach() for name, term in terms.items()}, gradients


def cases():
    for name in registry.available():
        for task in TASKS:
            if (name, task) not in REFUSED and name != "rw_kd":
                yield name, task


@pytest.mark.parametrize(("name", "task"), list(cases()))
def test_labels_that_are_missing_are_left_out_of_the_task_loss_alone(name, task, root):
    objective, batch = objective_of(name, task, root), masked.batch(task)
    for number, phase in enumerate(objective.phases(tiny.training())):
        objective.begin(number)
        # In the middle, where no schedule leaves out a term, in a step of the student.
        objective.set_progress(Progress(15, 31, 1))
        whole, slope = run(objective, batch)
        parts = [run(objective, with_labels_of(batch, task, rows)) for rows in PARTS]
        weights = [len(rows) / 3 for rows in PARTS]
        made_of_labels = LABELLED.get(name, {TASK})
        assert not phase.labels_alone or set(whole) == {"loss", TASK}
        for term, value in whole.items():
            if term == "loss" or term in made_of_labels:
                mean = sum(w * terms[term] for w, (terms, _) in zip(weights, parts, strict=True))
                torch.testing.assert_close(mean, value, atol=1e-6, rtol=1e-5)
            else:
                assert all(torch.equal(terms[term], value) for terms, _ in parts), term
        for parameter, value in slope.items():
            mean = sum(w * slopes[parameter] for w, (_, slopes) in zip(weights, parts, strict=True))
            torch.testing.assert_close(mean, value, atol=1e-5, rtol=1e-4)
        if TASK in whole:
            none, slopes = run(objective, with_labels_of(batch, task, ()))
            assert none[TASK] == 0 and all(value.isfinite().all() for value in slopes.values())


def test_rows_are_counted_by_their_labels(root):
    objective, batch = objective_of("kd", "classification", root), masked.batch("classification")
    objective.set_progress(Progress(0, 2, 0))
    run(objective, with_labels_of(batch, "classification", (1,)))
    run(objective, batch)
    assert {name: objective.passes()[name] for name in ("rows", "labelled", "unlabelled")} == {
        "rows": 6,
        "labelled": 4,
        "unlabelled": 2,
    }
