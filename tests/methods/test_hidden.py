"""hidden: first-token states of chosen layers, with α on the task loss and 1 − α on the rest, in value and gradient."""

import math

import pytest
from pydantic import ValidationError

from distill.errors import UserError
from distill.methods import registry
from distill.training.objective import Progress
from tests.helpers import states, tiny
from tests.helpers.states import first_token_gap, lifted

HIDDEN = registry.load("hidden")
VALUES = {"alpha": 0.3, "hidden_beta": 50, "temperature": 2, "layers": "all", "layer_map": "uniform"}
WEIGHTS = [0.3, 0.7, 0.7 * 50]


def term(pairs):
    """Σ over (student layer, teacher layer)."""

    def own(maps, hidden, others, lengths):
        return sum(
            first_token_gap(lifted(maps, i, hidden[layer][:, 0]), others[teacher][:, 0])
            for i, (layer, teacher) in enumerate(pairs)
        )

    return own


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize(
    ("layers", "layer_map", "pairs"),
    [
        ("all", "uniform", [(1, 2), (2, 4), (3, 6)]),
        ([1, 3], "uniform", [(1, 2), (3, 6)]),
        ([3, 1], "last", [(3, 6), (1, 4)]),
        ([2], [6, 1, 3], [(2, 1)]),
    ],
)
def test_value_and_gradient_are_the_formula(layers, layer_map, pairs, width):
    values = VALUES | {"layers": layers, "layer_map": layer_map}
    states.check_on_questions("hidden", values, term(pairs), "hidden", WEIGHTS, width=width)


def test_value_and_gradient_on_classification_and_regression():
    states.check_on_texts("hidden", VALUES, term([(1, 2), (2, 4), (3, 6)]), "hidden", WEIGHTS)


@pytest.mark.parametrize("schedule", ["cosine_growth", "cosine_descent", "cosine_v", "cosine_peak", "linear"])
def test_the_distillation_terms_always_get_what_alpha_leaves(schedule):
    values = VALUES | {"alpha": {"value": 0.8, "schedule": schedule, "warmup": 0.1}}
    objective = states.objective_of("hidden", values, *states.models_of())
    seen = set()
    for step in (0, 10, 40, 55, 80, 100):
        objective.set_progress(Progress(step, 101, 0))
        share = step / 100
        after, half = max(share - 0.1, 0) / 0.9, max(share - 0.1, 0) / 0.45
        valley = math.cos(math.pi / 2 * half) if half <= 1 else math.sin(math.pi / 2 * (half - 1))
        alpha = (
            0.8
            * {
                "cosine_growth": 1 - math.cos(math.pi / 2 * after),
                "cosine_descent": math.cos(math.pi / 2 * after),
                "cosine_v": valley,
                "cosine_peak": 1 - valley,
                "linear": after,
            }[schedule]
        )
        expected = {"task": alpha, "kl": 1 - alpha, "hidden": (1 - alpha) * 50}
        assert objective.weights() == pytest.approx(expected, abs=1e-9)
        seen.add(round(alpha, 3))
    assert len(seen) > 3
    terms = objective(**tiny.batch())
    total = sum(objective.weights()[name] * terms[name] for name in ("task", "kl", "hidden"))
    assert terms["loss"].item() == pytest.approx(total.item(), rel=1e-5)


def test_hidden_beta_may_have_a_schedule_of_its_own():
    values = VALUES | {"hidden_beta": {"value": 100, "schedule": "linear", "warmup": 0.0}}
    objective = states.objective_of("hidden", values, *states.models_of())
    objective.set_progress(Progress(25, 101, 0))
    assert objective.weights() == pytest.approx({"task": 0.3, "kl": 0.7, "hidden": 0.7 * 25})


def test_more_padding_changes_no_term():
    states.check_padding("hidden", VALUES)


def test_states_of_the_first_token_alone_are_enough():
    states.check_first_tokens("hidden", VALUES)


def test_maps_train_and_are_dropped():
    states.check_maps_train_and_are_dropped("hidden", VALUES | {"layers": [1, 3]}, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [1, 4]}, r"hidden.layers: layer 4 is not among the student's 1…3"),
        ({"layers": [1, 1]}, r"hidden.layers: \[1, 1\] names a layer twice"),
        ({"layer_map": [1, 2]}, r"hidden.layer_map: \[1, 2\]: 2 entries for 3 student layers"),
    ],
)
def test_layers_that_are_not_there_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        states.build("hidden", VALUES | changes, *states.models_of())


@pytest.mark.parametrize("changes", [{"layers": []}, {"layers": "some"}, {"layers": [0]}, {"alpha": 1.2}])
def test_impossible_values_are_refused(changes):
    with pytest.raises(ValidationError):
        HIDDEN.Config(**VALUES | changes)


def test_stated_depths_are_checked_before_any_stage_runs():
    with pytest.raises(UserError, match="hidden.layers: layer 9 is not among the student's"):
        states.load("hidden", (3, 6), layers=[9])
    assert states.load("hidden", (3, 6), layers=[3]).sections["hidden"].layers == [3]


def test_it_trains_and_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    states.check_trains_and_resumes("hidden", VALUES, "hidden", tmp_path)
