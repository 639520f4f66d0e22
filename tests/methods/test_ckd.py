"""ckd: student layers against concatenated groups of the teacher's, in value and gradient."""

import pytest
import torch
from pydantic import ValidationError

from distill.errors import UserError
from distill.methods import registry
from distill.training.objective import Progress
from tests.helpers import states, tiny
from tests.helpers.states import unit

CKD = registry.load("ckd")
VALUES = {"alpha": 0.2, "beta": 0.7, "temperature": 2, "layer_groups": "regular"}
WEIGHTS = [0.1, 0.2, 0.7]


def term(groups):
    """Mean over student layers of the squared distance of unit vectors, summed over width, averaged over tokens."""

    def own(maps, hidden, others, lengths):
        total = 0.0
        for k, group in enumerate(groups):
            for row, length in enumerate(lengths):
                for token in range(length):
                    student = unit(hidden[k + 1][row, token] @ maps[k].T)
                    teacher = unit(torch.cat([others[layer][row, token] for layer in group]))
                    total = total + ((student - teacher) ** 2).sum()
        return total / (sum(lengths) * len(groups))

    return own


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("regular", [[1, 2, 3], [4, 5, 6]]),
        ("overlap", [[1, 2, 3, 4], [3, 4, 5, 6]]),
        ("skip_middle", [[1, 2], [5, 6]]),
        ("cross", [[1, 3], [4, 6]]),
        ([[6], [5, 1, 2]], [[6], [5, 1, 2]]),
    ],
)
def test_value_and_gradient_are_the_formula(groups, expected, width):
    values = VALUES | {"layer_groups": groups}
    states.check_on_questions("ckd", values, term(expected), "internal", WEIGHTS, depths=(2, 6), width=width)


def test_value_and_gradient_on_classification_and_regression():
    groups = [[1, 2], [3, 4], [5, 6]]
    states.check_on_texts("ckd", VALUES, term(groups), "internal", WEIGHTS)


def test_each_layer_is_lifted_to_the_width_of_its_group():
    groups = [[6], [5, 1, 2]]
    method = states.build("ckd", VALUES | {"layer_groups": groups}, *states.models_of((2, 6)))
    assert [tuple(linear.weight.shape) for linear in method.maps] == [(12, 8), (36, 8)]


def test_the_internal_term_is_at_most_four_whatever_the_widths():
    method = states.build("ckd", VALUES, *states.models_of((2, 6)))
    hidden = [torch.randn(3, 12, 8) for _ in range(3)]
    with torch.no_grad():
        for linear in method.maps:
            linear.weight.zero_()
            linear.weight[:, 0] = 1.0
    batch = tiny.batch()
    logits, others = torch.randn(3, 12, 2), [-hidden[0][..., :1].expand(-1, -1, 12)] * 7
    opposite = method.terms(batch, states.Outputs(logits, [hidden[0]] * 3), states.Outputs(logits, others))
    assert opposite["internal"].item() == pytest.approx(4, rel=1e-5)


def test_weights_follow_their_schedules():
    values = VALUES | {
        "alpha": {"value": 1, "schedule": "cosine_descent", "warmup": 0.0},
        "beta": {"value": 1, "schedule": "cosine_growth", "warmup": 0.0},
    }
    objective = states.objective_of("ckd", values, *states.models_of((2, 6)))
    for step in (0, 40, 100):
        objective.set_progress(Progress(step, 101, 0))
        alpha = torch.cos(torch.tensor(torch.pi / 2 * step / 100)).item()
        assert objective.weights() == pytest.approx({"task": 0, "kl": alpha, "internal": 1 - alpha}, abs=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": 0.6, "beta": 0.6},
        {"alpha": 0.5, "beta": {"value": 0.6, "schedule": "cosine_peak", "warmup": 0.1}},
    ],
)
def test_shares_above_one_are_refused(changes):
    with pytest.raises(ValidationError, match="alpha and beta add up to 1.[12]"):
        CKD.Config(**VALUES | changes)


def test_more_padding_changes_no_term():
    states.check_padding("ckd", VALUES, (2, 6))


def test_maps_train_and_are_dropped():
    states.check_maps_train_and_are_dropped("ckd", VALUES, 2, (2, 6))


def test_impossible_pairs_are_refused_early_and_late():
    message = "ckd.layer_groups: 'cross' skips the inside of blocks of three layers or more: 3 student layers need 9"
    with pytest.raises(UserError, match=message):
        states.build("ckd", VALUES | {"layer_groups": "cross"}, *states.models_of((3, 6)))
    with pytest.raises(UserError, match=message):
        states.load("ckd", (3, 6), layer_groups="cross")
    assert states.load("ckd", (2, 6), layer_groups="cross").methods == ["ckd"]
    with pytest.raises(UserError, match="ckd.layer_groups: 'crossed'"):
        states.load("ckd", (2, 6), layer_groups="crossed")
    with pytest.raises(UserError, match="ckd.layer_groups"):
        states.load("ckd", (2, 6), layer_groups=[[1], []])


def test_it_trains_and_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    states.check_trains_and_resumes("ckd", VALUES, "internal", tmp_path, (2, 6))
