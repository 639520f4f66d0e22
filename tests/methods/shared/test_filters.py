"""Stage I of TED: filters and their heads train on a frozen backbone; banks are saved, loaded and compared."""

import json

import pytest
import torch

from distill.errors import UserError
from distill.methods.shared.filters import FilterBank, FilterTraining, check_match, selected_layers
from distill.models.forward import in_eval
from distill.tasks.registry import load_task
from tests.helpers import bits, reference, text, tiny

TASK = load_task("qa")


def stage_one(backbone, dropout=False, nonlinear=False):
    torch.manual_seed(4)
    bank = FilterBank([2, 4], 8, 6, nonlinear, "tanh")
    return FilterTraining(backbone, bank, TASK, dropout, head_dropout=0.1).train()


@pytest.mark.parametrize(
    ("layers", "interval", "expected"),
    [(4, 1, [1, 2, 3, 4]), (4, 2, [2, 4]), (12, 3, [3, 6, 9, 12]), (5, 2, [2, 4]), (3, 3, [3])],
)
def test_every_layer_that_the_interval_divides_counted_from_one(layers, interval, expected):
    assert selected_layers(layers, interval, "teacher") == expected


def test_an_interval_that_selects_no_layer_is_an_error():
    with pytest.raises(UserError, match=r"student_filters.filter_interval: 3 selects none of the student's 2 layers"):
        selected_layers(2, 3, "student")


@pytest.mark.parametrize("nonlinear", [False, True])
def test_value_and_gradient_are_the_mean_of_each_heads_task_loss(nonlinear):
    backbone = tiny.model("deberta-v2", layers=4)
    objective = stage_one(backbone, nonlinear=nonlinear)
    bank, heads = tiny.double(objective.bank), tiny.double(objective.heads)
    batch = tiny.batch()
    terms = objective(**batch)
    terms["loss"].backward()
    _, hidden = reference.outputs(tiny.double(backbone).eval(), batch)
    expected = {}
    for k, layer in enumerate((2, 4)):
        weights = list(bank.filters[k].parameters())
        state = hidden[layer].detach()
        if nonlinear:
            state = (state @ weights[0].T + weights[1]).tanh()
        state = state @ weights[-2].T + weights[-1]
        logits = state @ heads[k].weight.T + heads[k].bias
        expected[f"layer_{layer}"] = reference.task(logits, batch)
    expected["loss"] = sum(expected.values()) / 2
    expected["loss"].backward()
    assert set(terms) == {"loss", "layer_2", "layer_4"}
    for name, value in expected.items():
        reference.same_value(terms[name], value)
    reference.same_gradients(objective.bank, bank)
    reference.same_gradients(objective.heads, heads)


def test_the_backbone_is_frozen_in_evaluation_mode_and_unchanged():
    backbone = tiny.model("bert", layers=4, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    objective = stage_one(backbone)
    assert not any(module.training for module in backbone.modules())
    assert {name.split(".")[0] for name in objective.state_dict()} == {"bank", "heads"}
    trained = [p.clone() for p in objective.parameters()]
    first, again = objective(**tiny.batch()), objective(**tiny.batch())
    assert torch.equal(first["loss"], again["loss"])
    first["loss"].backward()
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())
    # A bias moves all tokens' logits alike, which softmax does not see: its gradient is rounding, and may be exactly 0.
    assert all(p.grad is not None and (p.grad.any() or p.dim() == 1) for p in objective.parameters())
    torch.optim.AdamW(objective.parameters(), 0.1).step()
    objective.eval(), objective.train()
    assert not backbone.training
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert not any(torch.equal(a, b) for a, b in zip(trained, objective.parameters(), strict=True))


def test_backbone_dropout_leaves_the_frozen_models_dropout_on_as_the_official_code_does():
    backbone = tiny.model("bert", layers=4, hidden_dropout_prob=0.5)
    objective = stage_one(backbone, dropout=True)
    assert all(module.training for module in backbone.modules())
    first, again = objective(**tiny.batch()), objective(**tiny.batch())
    assert not torch.equal(first["loss"], again["loss"])
    first["loss"].backward()
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())
    with in_eval(backbone):  # as the stage does around its evaluations
        assert torch.equal(objective(**tiny.batch())["loss"], objective(**tiny.batch())["loss"])
    assert backbone.training


def test_one_backbone_pass_per_batch_whatever_the_number_of_filters():
    backbone, calls = tiny.model("bert", layers=4), []
    backbone.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    objective = stage_one(backbone)
    for _ in range(3):
        objective(**tiny.batch())["loss"].backward()
    assert calls == [False] * 3


def test_more_padding_changes_no_loss():
    objective = stage_one(tiny.model("bert", layers=4))
    narrow, wide = objective(**tiny.batch()), objective(**tiny.wider(tiny.batch(), 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nonlinear", [False, True])
def test_a_saved_bank_comes_back_without_heads(tmp_path, nonlinear):
    bank = FilterBank([1, 3], 8, 5, nonlinear, "relu")
    bank.save(tmp_path / "bank")
    files = ["checksums.json", "config.json", "filters.safetensors"]
    assert sorted(path.name for path in (tmp_path / "bank").iterdir()) == files
    again = FilterBank.load(tmp_path / "bank")
    hidden = tuple(torch.randn(2, 4, 8) for _ in range(4))
    for a, b in zip(bank(hidden), again(hidden), strict=True):
        assert a.shape == (2, 4, 5) and torch.equal(a, b)
    assert (again.layers, again.width, again.output_dim) == ([1, 3], 8, 5)
    assert (again.nonlinear, again.activation) == (nonlinear, "relu")
    bank.save(tmp_path / "twice")
    for name in files:
        assert (tmp_path / "bank" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


@pytest.mark.parametrize(
    "damage", ["no folder", "cut weights", "no weights", "cut config", "foreign config", "other", "flipped bit"]
)
def test_damaged_banks_give_one_line_with_the_fix(tmp_path, damage):
    folder = tmp_path / "bank"
    FilterBank([1], 8, 5, False, "relu").save(folder)
    weights, config = folder / "filters.safetensors", folder / "config.json"
    if damage == "no folder":
        folder = tmp_path / "none"
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-4])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "cut config":
        config.write_text(config.read_text()[:-5])
    elif damage == "foreign config":
        config.write_text("[]")
    elif damage == "flipped bit":
        bits.flip(weights)
    else:
        config.write_text(json.dumps(json.loads(config.read_text()) | {"output_dim": 6}))
    with pytest.raises(UserError) as caught:
        FilterBank.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{folder}: the filters cannot be read") and f"dvc checkout {folder}" in message


def test_banks_that_match_may_differ_in_layers_and_widths():
    check_match(FilterBank([6, 12], 12, 5, False, "gelu"), FilterBank([1, 2], 8, 5, True, "tanh"))


@pytest.mark.parametrize(
    ("student", "parts"),
    [
        (([1, 2, 3], 5), ["filter_interval", "teacher has 2 filters", "[2, 4]", "student 3", "[1, 2, 3]"]),
        (([1, 2], 7), ["filter_output_dim", "teacher's filters give 5", "student's 7"]),
    ],
)
def test_banks_that_do_not_match_are_an_error_that_names_both_numbers(student, parts):
    with pytest.raises(UserError) as caught:
        check_match(FilterBank([2, 4], 12, 5, False, "gelu"), FilterBank(student[0], 8, student[1], False, "gelu"))
    message = str(caught.value)
    assert message.startswith("params.yaml: ") and "\n" not in message
    for part in [*parts, "teacher_filters.", "student_filters."]:
        assert part in message


def test_scores_on_the_selection_split_draw_no_dropout():
    """Classification heads have dropout of their own; scoring leaves training as it was."""
    task = load_task("classification", labels=["a", "b", "c"])
    backbone = text.model()
    bank = FilterBank([1, 2], 8, 6, False, "gelu")
    objective = FilterTraining(backbone, bank, task, dropout=True, head_dropout=0.1).train()
    batch = text.batch()
    state = torch.get_rng_state()
    first, again = objective.scored_logits(batch), objective.scored_logits(batch)
    assert torch.equal(first, again) and first.shape[-1] == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert objective.training and backbone.training
    first, second = (objective.logits(objective.hidden(batch))[0] for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("share", "drawn"), [(0.0, False), (0.4, True)])
def test_the_heads_have_the_dropout_that_is_asked_for(share, drawn):
    task = load_task("classification", labels=["a", "b", "c"])
    bank = FilterBank([1, 2], 8, 6, False, "gelu")
    objective = FilterTraining(text.model(), bank, task, dropout=False, head_dropout=share).train()
    assert {head.dropout.p for head in objective.heads} == {share}
    first, again = (objective(**text.batch())["loss"] for _ in range(2))
    assert torch.equal(first, again) != drawn
