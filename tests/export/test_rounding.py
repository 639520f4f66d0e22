"""A student that is trained to bear int8."""

import copy

import torch
from torch import nn

from distill.export.rounding import Recovery, rounded
from distill.models.forward import forward_pass, freeze
from distill.tasks.registry import load_task
from tests.helpers import text

TASK = load_task("classification", labels=text.CLASSES)


def made(**changes):
    return text.batch(lengths=(9, 5, 7, 12), width=12, **changes)


def logits(model, batch) -> torch.Tensor:
    with torch.no_grad():
        return forward_pass(model, TASK, batch).logits


def test_inputs_and_weights_are_rounded_as_int8_is():
    """By the formulas, written out: one scale for a layer's input, one for each row of its weight."""
    model = text.model(layers=1, width=16).eval()
    layer = model.classifier
    weight, bias = layer.weight.detach().clone(), layer.bias.detach()
    given = torch.randn(5, 16)
    with rounded(model, 7):
        found = layer(given).detach()
        low, high = given.min().clamp(max=0), given.max().clamp(min=0)
        scale = (high - low) / 255
        zero = (-low / scale).round()
        inputs = (((given / scale).round() + zero).clamp(0, 255) - zero) * scale
        scales = weight.abs().amax(1, keepdim=True) / 64
        weights = (weight / scales).round().clamp(-64, 64) * scales
        torch.testing.assert_close(found, inputs @ weights.T + bias, atol=1e-5, rtol=0)
    torch.testing.assert_close(layer(given), given @ weight.T + bias)


def test_training_brings_the_rounded_model_closer_and_leaves_a_plain_one():
    model = text.model(layers=1, width=16)
    names, teacher = set(model.state_dict()), freeze(copy.deepcopy(model))
    with rounded(model, 4):  # so few bits that the rounding costs something
        objective = Recovery(model, teacher, TASK, 1.0)
        trained = [weight for weight in objective.parameters() if weight.requires_grad]
        assert len(trained) == len(list(model.parameters())) and objective.companions() == [teacher]
        optimizer = torch.optim.Adam(trained, 2e-3)
        losses = []
        for step in range(40):
            optimizer.zero_grad()
            values = objective(**made(seed=step % 4))
            values["loss"].backward()
            optimizer.step()
            losses.append(float(values["loss"].detach()))
        assert sum(losses[-8:]) < 0.5 * sum(losses[:8])
    assert set(model.state_dict()) == names and not any(hasattr(m, "parametrizations") for m in model.modules())
    assert all(type(m) is nn.Linear for name, m in model.named_modules() if name.endswith(("dense", "classifier")))
    assert torch.any(logits(model.eval(), made()) != logits(teacher, made()))


def test_being_scored_changes_no_range_and_nothing_is_dropped():
    model = text.model(layers=1, width=16, hidden_dropout_prob=0.5)
    teacher = freeze(copy.deepcopy(model))
    with rounded(model, 4):
        objective = Recovery(model, teacher, TASK, 1.0)
        objective.train()
        losses = [float(objective(**made(seed=1))["loss"].detach()) for _ in range(2)]
        assert losses[0] == losses[1] > 0
        before = {name: value.clone() for name, value in model.state_dict().items()}
        batch = made(seed=2)
        batch["input_ids"] = batch["input_ids"].flip(0)
        first = objective.scored_logits(batch)
        torch.testing.assert_close(objective.scored_logits(batch), first, atol=0, rtol=0)
        changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
        assert changed == []
        objective(**batch)  # in training they follow
        assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
