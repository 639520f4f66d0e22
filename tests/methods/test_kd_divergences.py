"""kd's divergences and options on every task, and where they are refused (formulas: tests/losses/test_divergences)."""

from types import SimpleNamespace

import pytest
import torch

from distill.errors import UserError
from distill.losses import divergences
from distill.losses.terms import soft_rows
from distill.methods import registry
from distill.methods.base import Setup
from distill.models.forward import Outputs
from distill.tasks.registry import load_task
from tests.helpers import text, tiny
from tests.methods.test_kd import PLAIN

KD = registry.load("kd")
QA, NUMBER = load_task("qa"), load_task("regression")
CLASSES, TWO = (load_task("classification", labels=names) for names in (("a", "b", "c"), ("a", "b")))
CHANGES = {
    "reverse": {"divergence": "reverse"},
    "js": {"divergence": "js"},
    "tv": {"divergence": "tv"},
    "mse": {"divergence": "mse"},
    "standardize": {"standardize": True},
    "standardized mse": {"standardize": True, "divergence": "mse"},
    "decoupled": {"decoupled": True},
}


def build(task, **changes):
    config = KD.Config(**{"task_weight": 1, "kl_alpha": 10, "temperature": 2} | PLAIN | changes)
    shape = tiny.model().config
    return KD(config, Setup(task, shape, shape))


def logits(width=None, channels=2):
    """Logits of student and teacher for the batch of `tiny`, or (3, channels) where there is no width."""
    draw = torch.Generator().manual_seed(4)
    return [torch.randn((3, channels) if width is None else (3, width, 2), generator=draw) for _ in range(2)]


def rows(name, student, teacher, gold, mask=None):
    """The divergence of each row, from `divergences`."""
    if name.startswith("standardize"):
        student, teacher = (divergences.standardized(side, mask) for side in (student, teacher))
    return {
        "reverse": lambda: divergences.reverse_rows(student, teacher, 2, mask),
        "js": lambda: divergences.jensen_shannon_rows(student, teacher, 2, mask),
        "tv": lambda: divergences.total_variation_rows(student, teacher, 2, mask),
        "mse": lambda: divergences.squared_rows(student, teacher, mask),
        "standardize": lambda: soft_rows(student, teacher, 2, mask),
        "standardized mse": lambda: divergences.squared_rows(student, teacher, mask),
        "decoupled": lambda: divergences.decoupled_rows(student, teacher, gold, 2, 1, 8, mask),
    }[name]()


@pytest.mark.parametrize("name", CHANGES)
def test_the_term_is_the_mean_over_rows_and_sides(name):
    method, batch = build(CLASSES, **CHANGES[name]), text.batch()
    student, teacher = logits(channels=3)
    term = CHANGES[name].get("divergence", "kl").replace("reverse", "kl")
    found = method.terms(batch, Outputs(student), Outputs(teacher))
    assert list(found) == list(method.weights()) == ["task", term]
    torch.testing.assert_close(found["task"], CLASSES.loss(student, batch))
    torch.testing.assert_close(found[term], rows(name, student, teacher, batch["labels"]).mean())

    method, batch = build(QA, **CHANGES[name]), tiny.batch()
    mask = batch["attention_mask"].bool()
    student, teacher = logits(mask.shape[1])
    found = method.terms(batch, Outputs(student), Outputs(teacher))
    sides = [
        rows(name, student[..., side], teacher[..., side], batch[column], mask).mean()
        for side, column in enumerate(QA.labels)
    ]
    if name != "mse":  # that of the task: its mean runs over all real tokens
        torch.testing.assert_close(found[term], sum(sides) / 2)
    else:
        torch.testing.assert_close(found[term], QA.logit_mse(student, teacher, batch))


@pytest.mark.parametrize("name", CHANGES)
def test_more_padding_changes_no_term(name):
    method, batch = build(QA, **CHANGES[name]), tiny.batch()
    student, teacher = logits(batch["attention_mask"].shape[1])
    padded = [torch.cat((side, torch.full((3, 9, 2), 50.0 * k - 20)), 1) for k, side in enumerate((student, teacher))]
    wide = tiny.wider(batch, 9)
    narrow = method.terms(batch, Outputs(student), Outputs(teacher))
    for key, value in method.terms(wide, *map(Outputs, padded)).items():
        torch.testing.assert_close(value, narrow[key])


def test_rows_without_a_label_do_not_count_in_the_decoupled_term():
    method, batch = build(CLASSES, decoupled=True), text.batch()
    student, teacher = logits(channels=3)
    batch["labels"] = torch.tensor([1, 7, 0])
    found = method.terms(batch, Outputs(student), Outputs(teacher))["kl"]
    kept = rows("decoupled", student, teacher, batch["labels"])[[0, 2]]
    torch.testing.assert_close(found, kept.mean())


@pytest.mark.parametrize("name", CHANGES)
def test_rows_weigh_as_the_teacher_says(name):
    method, batch = build(CLASSES, **CHANGES[name]), text.batch()
    student, teacher = logits(channels=3)
    term = list(method.weights())[1]
    each = rows(name, student, teacher, batch["labels"])
    for weight in ([1.0, 0.0, 3.0], [0.0, 0.0, 0.0]):
        found = method.terms(batch | {"teacher_weight": torch.tensor(weight)}, Outputs(student), Outputs(teacher))[term]
        torch.testing.assert_close(found, (each[0] + 3 * each[2]) / 4 if any(weight) else torch.tensor(0.0))


def params(task="qa", labels=None, transfer=False, **changes):
    config = KD.Config(**{"task_weight": 1, "kl_alpha": 10, "temperature": 2} | PLAIN | changes)
    data = SimpleNamespace(labels=labels, has_transfer=transfer)
    return SimpleNamespace(sections={"kd": config}, task=task, data=data)


@pytest.mark.parametrize(
    ("task", "labels", "changes", "message"),
    [
        ("regression", None, {"divergence": "reverse"}, r"kd\.divergence: 'reverse' .* regression has none"),
        ("regression", None, {"divergence": "tv"}, r"kd\.divergence: 'tv'"),
        (
            "regression",
            None,
            {"standardize": True},
            r"kd\.standardize: true, but task regression has a number and no classes",
        ),
        (
            "regression",
            None,
            {"decoupled": True},
            r"kd\.decoupled: true, but task regression has a number and no classes",
        ),
        ("classification", ["a", "b"], {"standardize": True}, r"kd\.standardize: true, .* ±0\.7071.* set it to false"),
        ("classification", ["a", "b"], {"decoupled": True}, r"kd\.decoupled: true, .* always 1: set it to false"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_stage_or_before_the_student(task, labels, changes, message):
    with pytest.raises(UserError, match=message):
        KD.check(params(task, labels, **changes))
    with pytest.raises(UserError, match=message):
        build(NUMBER if task == "regression" else TWO, **changes)


def test_a_label_is_needed_to_decouple_and_the_forward_divergence():
    with pytest.raises(UserError, match=r"kd\.decoupled: true, but the texts of data\.transfer .* no gold class"):
        KD.check(params(transfer=True, decoupled=True))
    with pytest.raises(ValueError, match=r"divergence is 'js', but decoupled splits the forward divergence"):
        params(divergence="js", decoupled=True)


def test_what_makes_sense_is_not_refused():
    for changes in CHANGES.values():
        KD.check(params("qa", **changes))
        KD.check(params("classification", ["a", "b", "c"], **changes))
        KD.check(params("classification", None, **changes))  # the data know the classes
    for divergence in ("reverse", "js", "tv", "mse"):
        KD.check(params("classification", ["a", "b"], divergence=divergence))
    KD.check(params("regression", divergence="mse"))


def test_numbers_have_the_squared_error_under_both_names():
    student, teacher = logits(channels=1)
    batch = text.batch(numeric=True)
    plain, squared = (
        build(NUMBER, divergence=name).terms(batch, Outputs(student), Outputs(teacher)) for name in ("forward", "mse")
    )
    assert torch.equal(plain["kl"], squared["mse"])


def test_the_default_is_the_tasks_own_soft_target_to_the_last_bit():
    for task, batch, (student, teacher) in (
        (QA, tiny.batch(), logits(tiny.batch()["input_ids"].shape[1])),
        (CLASSES, text.batch(), logits(channels=3)),
        (NUMBER, text.batch(numeric=True), logits(channels=1)),
    ):
        found = build(task).terms(batch, Outputs(student), Outputs(teacher))
        assert list(found) == ["task", "kl"]
        assert torch.equal(found["kl"], task.soft(student, teacher, batch, 2))
