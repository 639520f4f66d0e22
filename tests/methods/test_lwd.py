"""lwd: hidden states through one linear map per student layer, in value and gradient."""

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.models import loading
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from tests.helpers import reference, tiny

TASK = load_task("qa")
LWD = registry.load("lwd")


def build(student, teacher, hidden=True, **changes):
    values = {"task_weight": 1, "kl_alpha": 10, "mse_alpha": 100, "temperature": 2, "layer_map": "uniform"}
    config = LWD.Config(**values | {"mask": True} | changes)
    torch.manual_seed(3)
    method = LWD(config, Setup(TASK, student.config, teacher.config))
    return Distillation(student, method, OnlineTeacher(teacher, TASK, hidden, precision="fp32")).train()


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(
    ("layer_map", "layers"), [("uniform", [2, 4]), ("last", [3, 4]), ("skip", [2, 4]), ([4, 1], [4, 1])]
)
def test_value_and_gradient_are_the_formula(layer_map, layers, mask):
    student, teacher, student64, teacher64 = reference.pair()
    batch = tiny.batch()
    objective = build(student, teacher, layer_map=layer_map, mask=mask)
    maps = tiny.double(objective.method.maps)
    terms = objective(**batch)
    terms["loss"].backward()
    logits, hidden = reference.outputs(student64, batch)
    with torch.no_grad():
        target, states = reference.outputs(teacher64, batch)
    task, kl = reference.task(logits, batch), reference.soft(logits, target, batch, 2)
    mse = 0.0
    for k, layer in enumerate(layers, start=1):
        lifted = hidden[k] @ maps[k - 1].weight.T
        mse = mse + reference.mse(lifted, states[layer], batch, mask) / len(layers)
    (task + 10 * kl + 100 * mse).backward()
    assert list(terms) == ["loss", "task", "kl", "mse"]
    for name, expected in {"task": task, "kl": kl, "mse": mse, "loss": task + 10 * kl + 100 * mse}.items():
        reference.same_value(terms[name], expected)
    reference.same_gradients(student, student64)
    reference.same_gradients(objective.method.maps, maps)
    reference.teacher_is_left_alone(objective, teacher, student)


def test_more_padding_changes_no_term_unless_the_mask_is_off():
    student, teacher, *_ = reference.pair()
    batch, wider = tiny.batch(), tiny.wider(tiny.batch(), 9)
    masked, unmasked = build(student, teacher), build(student, teacher, mask=False)
    narrow, wide = masked(**batch), masked(**wider)
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)
    assert abs(unmasked(**wider)["mse"] - unmasked(**batch)["mse"]) > 1e-3


def test_maps_are_trained_with_the_student_and_dropped_from_what_is_saved(tmp_path):
    student, teacher, *_ = reference.pair()
    objective = build(student, teacher)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    assert {name for name in before if name.startswith("method.")} == {f"method.maps.{k}.weight" for k in (0, 1)}
    objective(**tiny.batch())["loss"].backward()
    torch.optim.SGD(objective.parameters(), 0.01).step()
    after = objective.state_dict()
    for name in ("method.maps.0.weight", "method.maps.1.weight", "student.qa_outputs.weight"):
        assert not torch.equal(before[name], after[name])
    loading.save(student, tiny.tokenizer(), tmp_path)
    saved = loading.from_pretrained(str(tmp_path), TASK)
    assert set(saved.state_dict()) == set(tiny.model("bert").state_dict())
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), student.parameters(), strict=True))


def test_maps_are_drawn_from_the_seed():
    student, teacher, *_ = reference.pair()
    first, second = (build(student, teacher).method.maps[0].weight for _ in range(2))
    assert torch.equal(first, second) and first.std() > 0


def test_errors_come_before_any_training():
    student, teacher, *_ = reference.pair()
    with pytest.raises(UserError, match=r"lwd.layer_map: \[1, 2, 3\]: 3 entries for 2 student layers"):
        build(student, teacher, layer_map=[1, 2, 3])
    with pytest.raises(UserError, match="lack hidden"):
        build(student, teacher, hidden=False)
