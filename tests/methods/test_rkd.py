"""rkd: soft targets and task loss whose weights add up to 1, in value and gradient; kd with those weights."""

import pytest
import torch
from pydantic import ValidationError

from distill.methods import registry
from distill.training.objective import Progress
from tests.helpers import states, tiny

RKD = registry.load("rkd")
VALUES = {"alpha": 0.7, "temperature": 3}


def test_value_and_gradient_are_the_formula():
    states.check_on_questions("rkd", VALUES, None, "", [0.3, 0.7])


def test_value_and_gradient_on_classification_and_regression():
    states.check_on_texts("rkd", VALUES, None, "", [0.3, 0.7])


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_it_is_kd_with_alpha_and_its_rest(alpha):
    student, teacher = states.models_of()
    found = []
    plain = {"divergence": "forward", "standardize": False, "decoupled": False}
    plain |= {"decoupled_alpha": 1, "decoupled_beta": 8, "task_weight": 1 - alpha, "kl_alpha": alpha}
    for name, values in (("rkd", {"alpha": alpha}), ("kd", plain)):
        student.zero_grad()
        terms = states.objective_of(name, values | {"temperature": 3}, student, teacher)(**tiny.batch())
        terms["loss"].backward()
        found.append((terms, [p.grad.clone() for p in student.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[0], found[1])


def test_alpha_may_follow_a_schedule():
    values = VALUES | {"alpha": {"value": 1, "schedule": "linear", "warmup": 0.0}}
    objective = states.objective_of("rkd", values, *states.models_of())
    for step in (0, 30, 100):
        objective.set_progress(Progress(step, 101, 0))
        assert objective.weights() == pytest.approx({"task": 1 - step / 100, "kl": step / 100})


def test_more_padding_changes_no_term():
    states.check_padding("rkd", VALUES)


def test_it_asks_for_logits_alone_and_brings_no_parameters():
    method = states.build("rkd", VALUES, *states.models_of())
    assert method.needs == {"logits"} and not list(method.parameters())
    with pytest.raises(ValidationError, match="is no share"):
        RKD.Config(alpha=-0.1, temperature=1)


def test_it_trains_and_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    states.check_trains_and_resumes("rkd", VALUES, "kl", tmp_path)
