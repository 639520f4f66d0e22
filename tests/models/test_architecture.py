"""Architectures that compute with padding are refused from their configuration alone, before anything is trained."""

import pytest

from distill.errors import UserError
from distill.models import architecture
from tests.helpers import families, family_batches

REFUSED = {"convbert", "nystromformer", "yoso", "fnet", "funnel", "xlnet"}


@pytest.mark.parametrize(
    "family",
    [*sorted(REFUSED), "bert", "roberta", "deberta-v2 (v3)", "modernbert", "mobilebert", "longformer", "big_bird"],
)
def test_the_small_copy_agrees_with_the_whole_model(family):
    for name in ("classification", "qa"):
        task, config = family_batches.TASKS[name], families.config(family, num_labels=7)
        before = config.to_dict()
        assert architecture.small(config, task) is not None
        if family in REFUSED and (family, name) != ("xlnet", "qa"):
            with pytest.raises(UserError, match=rf"params.yaml: student.model: padding .* this {family} by up to"):
                architecture.check(config, task, "student")
        else:
            architecture.check(config, task, "student")
        assert config.to_dict() == before


def test_a_copy_that_cannot_be_built_is_left_to_the_stage_that_trains_the_model():
    config = families.config("bert", num_attention_heads=3)
    assert architecture.small(config, family_batches.TASKS["qa"]) is None
    architecture.check(config, family_batches.TASKS["qa"], "student")
