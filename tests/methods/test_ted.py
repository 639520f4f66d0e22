"""ted: filtered hidden states, in value and gradient; with the identity as g_t it is lwd."""

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.methods.shared.filters import FilterBank
from distill.models import loading
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from tests.helpers import reference, tiny

TASK = load_task("qa")
TED = registry.load("ted")
LWD = registry.load("lwd")


def banks(nonlinear=False, activation="gelu", teacher_layers=(2, 4)):
    torch.manual_seed(4)
    return (
        FilterBank([1, 2], 8, 6, nonlinear, activation),
        FilterBank(list(teacher_layers), 12, 6, nonlinear, activation),
    )


def build(student, teacher, student_filters, teacher_filters, **changes):
    values = {"task_weight": 1, "kl_alpha": 10, "mse_alpha": 1000, "temperature": 2, "filter_interval": 1}
    values |= {"pairing": "in_order", "mask": True}
    setup = Setup(
        TASK, student.config, teacher.config, student_filters=student_filters, teacher_filters=teacher_filters
    )
    method = TED(TED.Config(**values | changes), setup)
    return Distillation(student, method, OnlineTeacher(teacher, TASK, hidden=True, precision="fp32")).train()


def activate(name, x):
    if name == "gelu":
        return x * 0.5 * (1 + torch.erf(x / 2**0.5))
    return x.clamp(min=0) if name == "relu" else (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())


def filtered(one, state, activation):
    """A filter by hand, from its weights alone."""
    weights = list(one.parameters())
    if len(weights) == 2:
        return state @ weights[0].T + weights[1]
    return activate(activation, state @ weights[0].T + weights[1]) @ weights[2].T + weights[3]


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(("nonlinear", "activation"), [(False, "gelu"), (True, "gelu"), (True, "relu"), (True, "tanh")])
def test_value_and_gradient_are_the_formula(nonlinear, activation, mask):
    student, teacher, student64, teacher64 = reference.pair()
    own, others = banks(nonlinear, activation)
    own64, others64 = tiny.double(own), tiny.double(others)
    batch = tiny.batch()
    objective = build(student, teacher, own, others, mask=mask)
    terms = objective(**batch)
    terms["loss"].backward()
    logits, hidden = reference.outputs(student64, batch)
    with torch.no_grad():
        target, states = reference.outputs(teacher64, batch)
        targets = [filtered(others64.filters[k], states[layer], activation) for k, layer in enumerate((2, 4))]
    task, kl = reference.task(logits, batch), reference.soft(logits, target, batch, 2)
    mse = 0.0
    for k in (0, 1):
        mse = mse + reference.mse(filtered(own64.filters[k], hidden[k + 1], activation), targets[k], batch, mask) / 2
    (task + 10 * kl + 1000 * mse).backward()
    for name, expected in {"task": task, "kl": kl, "mse": mse, "loss": task + 10 * kl + 1000 * mse}.items():
        reference.same_value(terms[name], expected)
    reference.same_gradients(student, student64)
    reference.same_gradients(own, own64)
    reference.teacher_is_left_alone(objective, teacher, student)
    reference.teacher_is_left_alone(objective, others, student)


def test_reversed_pairs_compare_the_first_filter_with_the_last():
    student, teacher, *_ = reference.pair()
    own, others = banks()
    batch = tiny.batch()
    forth, back = (build(student, teacher, own, others, pairing=name)(**batch) for name in ("in_order", "reversed"))
    hidden, given = (reference.outputs(tiny.double(model).eval(), batch)[1] for model in (student, teacher))
    expected = 0.0
    for k, layer in ((0, 1), (1, 0)):
        s = filtered(tiny.double(own.filters[k]), hidden[k + 1], "gelu")
        t = filtered(tiny.double(others.filters[layer]), given[(2, 4)[layer]], "gelu")
        expected = expected + reference.mse(s, t, batch) / 2
    reference.same_value(back["mse"], expected)
    assert abs(back["mse"] - forth["mse"]) > 1e-3
    assert back["kl"] == forth["kl"]


def test_an_interval_takes_every_nth_pair_of_the_trained_filters():
    """Of layers 1 and 2 of the student and 2 and 4 of the teacher the second pair: the loss of that pair alone."""
    student, teacher, student64, teacher64 = reference.pair()
    own, others = banks()
    own64, others64, batch = tiny.double(own), tiny.double(others), tiny.batch()
    objective = build(student, teacher, own, others, filter_interval=2)
    value = objective(**batch)["mse"]
    (_, hidden), (_, states) = reference.outputs(student64, batch), reference.outputs(teacher64, batch)
    pair = filtered(own64.filters[1], hidden[2], "gelu"), filtered(others64.filters[1], states[4], "gelu")
    reference.same_value(value, reference.mse(*pair, batch, True))
    trained = {name for name, _ in objective.named_parameters() if ".filters." in name}
    assert trained == {"method.filters.filters.0.weight", "method.filters.filters.0.bias"}
    with pytest.raises(UserError, match="ted.filter_interval: 3: there are only 2 pairs of filters"):
        build(student, teacher, own, others, filter_interval=3)


def test_an_interval_of_1_draws_no_random_number(tmp_path):
    """Results of the present filters stay as they are."""
    own, _ = banks()
    state = torch.get_rng_state()
    bank = own.every(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(bank.state_dict()) == list(own.state_dict()) and bank.layers == own.layers


@pytest.mark.parametrize("mask", [True, False])
def test_with_the_identity_for_the_teacher_and_linear_student_filters_it_is_lwd(mask):
    student, teacher, *_ = reference.pair()
    values = {"task_weight": 1, "kl_alpha": 10, "mse_alpha": 100, "temperature": 2, "mask": mask}
    setup = Setup(TASK, student.config, teacher.config)
    lwd = LWD(LWD.Config(**values, layer_map="uniform"), setup)
    signals = OnlineTeacher(teacher, TASK, hidden=True, precision="fp32")
    own, others = FilterBank([1, 2], 8, 12, False, "gelu"), FilterBank([2, 4], 12, 12, False, "gelu")
    with torch.no_grad():
        for k in (0, 1):
            others.filters[k].weight.copy_(torch.eye(12))
            others.filters[k].bias.zero_()
            own.filters[k].weight.copy_(lwd.maps[k].weight)
            own.filters[k].bias.zero_()
    gradients = []
    for objective in (Distillation(student, lwd, signals), build(student, teacher, own, others, **values)):
        student.zero_grad()
        terms = objective(**tiny.batch())
        terms["loss"].backward()
        gradients.append((terms, [p.grad.clone() for p in student.parameters() if p.grad is not None]))
    (lwd_terms, lwd_gradients), (ted_terms, ted_gradients) = gradients
    torch.testing.assert_close(ted_terms, lwd_terms)
    torch.testing.assert_close(ted_gradients, lwd_gradients, rtol=1e-4, atol=1e-5)
    for k in (0, 1):
        torch.testing.assert_close(own.filters[k].weight.grad, lwd.maps[k].weight.grad, rtol=1e-4, atol=1e-5)


def test_more_padding_changes_no_term_unless_the_mask_is_off():
    student, teacher, *_ = reference.pair()
    batch, wider = tiny.batch(), tiny.wider(tiny.batch(), 9)
    masked, unmasked = (build(student, teacher, *banks(), mask=mask) for mask in (True, False))
    narrow, wide = masked(**batch), masked(**wider)
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)
    assert abs(unmasked(**wider)["mse"] - unmasked(**batch)["mse"]) > 1e-3


def test_the_students_filters_train_the_teachers_do_not_and_neither_is_saved(tmp_path):
    student, teacher, *_ = reference.pair()
    own, others = banks()
    objective = build(student, teacher, own, others)
    frozen = [p.clone() for p in others.parameters()]
    before = [p.clone() for p in own.parameters()]
    assert {name for name in objective.state_dict() if name.startswith("method.")} == {
        f"method.filters.filters.{k}.{part}" for k in (0, 1) for part in ("weight", "bias")
    }
    objective(**tiny.batch())["loss"].backward()
    torch.optim.SGD(objective.parameters(), 1e-3).step()
    assert not any(torch.equal(a, b) for a, b in zip(before, own.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(frozen, others.parameters(), strict=True))
    loading.save(student, tiny.tokenizer(), tmp_path)
    saved = loading.from_pretrained(str(tmp_path), TASK)
    assert set(saved.state_dict()) == set(tiny.model("bert").state_dict())


def test_filters_that_do_not_match_are_refused_with_both_numbers():
    student, teacher, *_ = reference.pair()
    own, others = banks(teacher_layers=(1, 2, 4))
    with pytest.raises(UserError, match="teacher has 3 filters.*student 2 "):
        build(student, teacher, own, others)
    with pytest.raises(UserError, match="needs the filters of both models"):
        build(student, teacher, own, None)
