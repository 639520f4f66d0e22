"""alp: attention over teacher layers, in value and gradient, the gradient through the attention included."""

import pytest
import torch

from distill.errors import UserError
from distill.methods.alp import distance
from tests.helpers import states, tiny
from tests.helpers.states import lifted

VALUES = {
    "task_weight": 0.5,
    "kl_alpha": 2,
    "mse_alpha": 0.3,
    "temperature": 2,
    "layers": "all",
    "tokens": "first",
    "scale": True,
}
WEIGHTS = [0.5, 2, 0.3]
EVERY = [1, 2, 3, 4, 5, 6]


def term(layers, tokens="first", scale=True):
    """Σ over student layers of the mean over tokens and width, token by token."""

    def own(maps, hidden, others, lengths):
        lengths = [1] * len(lengths) if tokens == "first" else lengths
        total = 0.0
        for j, group in enumerate(layers):
            for row, length in enumerate(lengths):
                for token in range(length):
                    student = lifted(maps, j, hidden[j + 1][row, token])
                    teachers = [others[layer][row, token] for layer in group]
                    width = len(student)
                    powers = [((student * t).sum() / (width**0.5 if scale else 1)).exp() for t in teachers]
                    mix = sum(p / sum(powers) * t for p, t in zip(powers, teachers, strict=True))
                    total = total + ((student - mix) ** 2).sum() / (width * sum(lengths))
        return total

    return own


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize("tokens", ["first", "all"])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("all", [EVERY] * 3),
        ("regular", [[1, 2], [3, 4], [5, 6]]),
        ("overlap", [[1, 2, 3], [2, 3, 4, 5], [4, 5, 6]]),
        ([[6, 1], [2], [3, 5]], [[6, 1], [2], [3, 5]]),
    ],
)
def test_value_and_gradient_are_the_formula(layers, expected, scale, tokens, width):
    values = VALUES | {"layers": layers, "scale": scale, "tokens": tokens}
    states.check_on_questions("alp", values, term(expected, tokens, scale), "attended", WEIGHTS, width=width)


@pytest.mark.parametrize("tokens", ["first", "all"])
def test_value_and_gradient_on_classification_and_regression(tokens):
    states.check_on_texts("alp", VALUES | {"tokens": tokens}, term([EVERY] * 3, tokens), "attended", WEIGHTS)


def test_without_the_scale_one_layer_takes_all_the_weight():
    """Dot products 1.1 · 256, 1.0 · 256 and 0: their exponentials are far apart, those of the scaled ones are not."""
    own = torch.ones(1, 1, 256)
    others = torch.stack([1.1 * own, own, 0 * own], 2)
    mask = torch.ones(1, 1, dtype=torch.bool)
    nearest = distance(own, 1.1 * own.unsqueeze(2), mask, scale=False)
    assert distance(own, others, mask, scale=False).item() == pytest.approx(nearest.item(), rel=1e-5)
    a, b = (torch.tensor(share * 256 / 16, dtype=torch.float64).exp() for share in (1.1, 1.0))
    mix = (1.1 * a + b) / (a + b + 1)
    assert distance(own, others, mask, scale=True).item() == pytest.approx((1 - mix).square().item(), rel=1e-3)


def test_one_layer_is_plain_squared_error():
    student, teacher = states.models_of()
    layers = [[2], [4], [6]]
    terms = states.objective_of("alp", VALUES | {"layers": layers}, student, teacher)
    batch = tiny.batch()
    found = terms(**batch)["attended"]
    with torch.no_grad():
        own = student(**states.inputs(batch), output_hidden_states=True).hidden_states
        others = teacher(**states.inputs(batch), output_hidden_states=True).hidden_states
        gaps = [
            (lift(own[k][:, 0]) - others[2 * k][:, 0]).square().mean()
            for k, lift in enumerate(terms.method.lifts, start=1)
        ]
    torch.testing.assert_close(found, sum(gaps))


@pytest.mark.parametrize("tokens", ["first", "all"])
def test_more_padding_changes_no_term(tokens):
    states.check_padding("alp", VALUES | {"tokens": tokens})


def test_states_of_the_first_token_alone_are_enough():
    states.check_first_tokens("alp", VALUES)


def test_all_tokens_need_all_states():
    pair = states.models_of()
    assert states.build("alp", VALUES, *pair).needs == {"logits", "cls"}
    assert states.build("alp", VALUES | {"tokens": "all"}, *pair).needs == {"logits", "hidden"}
    with pytest.raises(UserError, match="lack hidden"):
        states.objective_of("alp", VALUES | {"tokens": "all"}, *pair, first_tokens=True)


def test_maps_train_and_are_dropped():
    states.check_maps_train_and_are_dropped("alp", VALUES, 3)


def test_the_attention_is_computed_in_float32_under_bf16():
    objective = states.objective_of("alp", VALUES | {"tokens": "all"}, *states.models_of((3, 6), 12))
    exact = objective(**tiny.batch())["attended"]
    with torch.autocast("cpu", torch.bfloat16):
        rough = objective(**tiny.batch())["attended"]
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0)


def test_impossible_pairs_are_refused_early_and_late():
    message = "alp.layers: 'regular' needs a teacher layer for each student layer: the student has 3, the teacher 2"
    with pytest.raises(UserError, match=message):
        states.build("alp", VALUES | {"layers": "regular"}, *states.models_of((3, 2)))
    with pytest.raises(UserError, match=message):
        states.load("alp", (3, 2), layers="regular")
    assert states.load("alp", (3, 2), layers="all").sections["alp"].layers == "all"


def test_no_for_alp_no_is_false_in_yaml_and_refused():
    with pytest.raises(UserError, match="alp.layers"):
        states.load("alp", (3, 6), layers=False)


@pytest.mark.exhaustive  # tests/pipeline/test_methods.py has it with the whole stage
def test_it_trains_and_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    states.check_trains_and_resumes("alp", VALUES, "attended", tmp_path)
