"""kd on rankings: pairs and groups of passages, weights of soft targets, and what has no meaning elsewhere."""

import math

import pytest
import torch

from distill.errors import UserError
from distill.losses import pairs
from distill.losses.terms import TEACHER_WEIGHT
from distill.methods import registry
from distill.methods.base import Setup
from distill.models.forward import Outputs
from distill.tasks.registry import load_task
from tests.helpers import rankings, tiny
from tests.methods.test_kd import PLAIN

TASK, KD = load_task("ranking"), registry.load("kd")
RELEVANCE = [[1.0, 0.0, 0.0], [math.nan] * 4, [2.0, 1.0], [0.0, 0.0]]


def terms(batch, student, teacher, **changes):
    config = KD.Config(**{"task_weight": 1, "kl_alpha": 10, "temperature": 3} | PLAIN | changes)
    model = tiny.model("bert", layers=1)
    method = KD(config, Setup(TASK, model.config, model.config))
    return method.terms(batch, Outputs(student), Outputs(teacher)), method.weights()


def logits():
    generator = torch.Generator().manual_seed(1)
    return [2 * torch.randn(11, 1, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("divergence", ["margin_mse", "pairwise"])
@pytest.mark.parametrize("weighted", [False, True])
def test_pairs_are_averaged_over_groups_that_have_some(divergence, weighted):
    batch, (student, teacher) = rankings.batch(RELEVANCE), logits()
    weight = [0.5, 3.0, 1.0, 9.0] if weighted else [1.0] * 4  # the last group has no pair, whatever it weighs
    if weighted:
        batch[TEACHER_WEIGHT] = torch.tensor([weight[(40 - group) // 3] for group in batch["group"].tolist()])
    found, weights = terms(batch, student, teacher, divergence=divergence)
    assert set(found) == set(weights) == {"task", divergence}
    each = []
    for rows in rankings.groups(batch)[:3]:
        scores = [side[rows, 0][None] for side in (student, teacher)]
        grades, mask = batch["labels"][rows][None], torch.ones(1, len(rows), dtype=torch.bool)
        further = () if divergence == "margin_mse" else (3.0,)
        each.append(getattr(pairs, divergence)(*scores, grades, mask, *further)[0].item())
    expected = sum(w * value for w, value in zip(weight, each, strict=False)) / sum(weight[:3])
    assert found[divergence].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{"divergence": "reverse"}, {"divergence": "js"}, {"divergence": "tv"}, {"standardize": True}, {"decoupled": True}]
    + [{"divergence": "mse"}, {}],
)
def test_every_divergence_looks_at_one_query_at_a_time(changes):
    """Another level of a query's scores, on either side, changes nothing."""
    batch, (student, teacher) = rankings.batch(RELEVANCE), logits()
    found, weights = terms(batch, student, teacher, **changes)
    (term,) = set(found) - {"task"}
    lift = batch["group"][:, None] / 8
    lifted, _ = terms(batch, student + lift, teacher - 2 * lift, **changes)
    assert found[term].item() > 1e-3 and term in weights
    assert lifted[term].item() == pytest.approx(found[term].item(), rel=1e-4)


def test_pairs_of_passages_are_refused_where_there_are_none():
    config = KD.Config(**{"task_weight": 1, "kl_alpha": 10, "temperature": 3} | PLAIN | {"divergence": "pairwise"})
    model = tiny.model("bert", layers=1)
    with pytest.raises(UserError, match="compares the passages of a query, and task regression has none"):
        KD(config, Setup(load_task("regression"), model.config, model.config))
