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


@pytest.mark.parametrize(
    ("family", "takes", "said"),
    [
        ("funnel", "hidden", "does not give the state of every token after the embeddings and each of its 3 layers"),
        ("yoso", "attention", "0 attention scores were seen for 2 layers"),
        ("xlnet", "qkv", "its layers have no projections"),
        ("longformer", "embeddings", "other logits for word embeddings than for the words themselves"),
        ("bert", "hidden attention qkv embeddings", ""),
        ("modernbert", "hidden attention qkv embeddings", ""),
        ("albert", "hidden attention qkv embeddings", ""),
    ],
)
def test_what_an_architecture_lacks_is_named_with_the_method_and_the_role(family, takes, said):
    for name in ("classification", "regression"):  # of one number there is no standard deviation
        model = architecture.small(families.config(family), family_batches.TASKS[name])
        use = architecture.Use("mine", "teacher", frozenset(takes.split()))
        if not said:
            architecture.check_use(model, family_batches.TASKS[name], use)
            continue
        with pytest.raises(UserError, match=f"params.yaml: methods: mine: the teacher is a {family}: .*{said}"):
            architecture.check_use(model, family_batches.TASKS[name], use)


def test_a_copy_that_cannot_be_built_is_left_to_the_stage_that_trains_the_model():
    config = families.config("bert", num_attention_heads=3)
    assert architecture.small(config, family_batches.TASKS["qa"]) is None
    architecture.check(config, family_batches.TASKS["qa"], "student")
