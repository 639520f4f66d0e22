"""pkd: first-token states of every layer but the last, in value and gradient."""

import pytest
from pydantic import ValidationError

from distill.errors import UserError
from distill.methods import registry
from distill.training.objective import Progress
from tests.helpers import states
from tests.helpers.states import first_token_gap, lifted

PKD = registry.load("pkd")
VALUES = {"alpha": 0.7, "beta": 500, "temperature": 4, "layer_map": "skip"}
WEIGHTS = [0.3, 0.7, 500]


def term(layers):
    """Mean over student layers 1…K−1 with these teacher layers."""

    def own(maps, hidden, others, lengths):
        gaps = [
            first_token_gap(lifted(maps, k, hidden[k + 1][:, 0]), others[layer][:, 0]) for k, layer in enumerate(layers)
        ]
        return sum(gaps) / len(layers)

    return own


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize(
    ("layer_map", "layers"), [("skip", [2, 4]), ("uniform", [2, 4]), ("last", [4, 5]), ([6, 1], [6, 1])]
)
def test_value_and_gradient_are_the_formula(layer_map, layers, width):
    states.check_on_questions("pkd", VALUES | {"layer_map": layer_map}, term(layers), "patient", WEIGHTS, width=width)


def test_value_and_gradient_on_classification_and_regression():
    states.check_on_texts("pkd", VALUES, term([2, 4]), "patient", WEIGHTS)


@pytest.mark.parametrize(
    ("layer_map", "layers"),
    [("skip", [2, 4, 6, 8, 10]), ("uniform", [2, 4, 6, 8, 10]), ("last", [7, 8, 9, 10, 11])],
)
def test_the_papers_layers_for_12_to_6(layer_map, layers):
    method = states.build("pkd", VALUES | {"layer_map": layer_map}, *states.models_of((6, 12)))
    assert method.layers == layers


def test_the_last_layer_of_the_student_takes_no_part():
    student, teacher = states.models_of()
    objective = states.objective_of("pkd", VALUES | {"alpha": 0.5}, student, teacher)
    batch = states.tiny.batch()
    before = objective(**batch)["patient"]
    for parameter in student.base_model.encoder.layer[-1].parameters():
        parameter.data.add_(1.0)
    after = objective(**batch)
    assert after["patient"] == before
    after["patient"].backward()
    assert not any(p.grad is not None and p.grad.any() for p in student.base_model.encoder.layer[-1].parameters())


def test_weights_follow_their_schedules():
    values = VALUES | {"alpha": {"value": 0.8, "schedule": "linear", "warmup": 0.0}}
    objective = states.objective_of("pkd", values, *states.models_of())
    for step, alpha in ((0, 0.0), (50, 0.4), (100, 0.8)):
        objective.set_progress(Progress(step, 101, 0))
        assert objective.weights() == pytest.approx({"task": 1 - alpha, "kl": alpha, "patient": 500})


def test_more_padding_changes_no_term():
    states.check_padding("pkd", VALUES)


def test_states_of_the_first_token_alone_are_enough():
    states.check_first_tokens("pkd", VALUES)


def test_maps_train_and_are_dropped():
    states.check_maps_train_and_are_dropped("pkd", VALUES, 2)


def test_models_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="pkd.layer_map: the student has 1 layer, and its last layer takes no part"):
        states.build("pkd", VALUES, *states.models_of((1, 6)))
    with pytest.raises(UserError, match=r"pkd.layer_map: \[1, 2, 3\]: 3 entries for student layers 1…2"):
        states.build("pkd", VALUES | {"layer_map": [1, 2, 3]}, *states.models_of())
    with pytest.raises(UserError, match="lack cls"):
        student, teacher = states.models_of()
        signals = states.OnlineTeacher(teacher, states.QA, hidden=False, precision="fp32")
        states.Distillation(student, states.build("pkd", VALUES, student, teacher), signals)


def test_stated_depths_are_checked_before_any_stage_runs():
    with pytest.raises(UserError, match="pkd.layer_map: the student has 1 layer"):
        states.load("pkd", (1, 6))
    with pytest.raises(UserError, match="pkd.layer_map: 'skip' takes every other layer"):
        states.load("pkd", (4, 6), layer_map="skip")
    assert states.load("pkd", (3, 6)).methods == ["pkd"]


def test_a_share_above_one_is_refused():
    with pytest.raises(ValidationError, match="is no share"):
        PKD.Config(**VALUES | {"alpha": 1.5})


def test_it_trains_and_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    states.check_trains_and_resumes("pkd", VALUES, "patient", tmp_path)
