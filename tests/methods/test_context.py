"""context: words and layers in value and gradient, on models of other widths; refusals; padding; kill and resume."""

import itertools

import pytest
import torch
from pydantic import ValidationError

from distill.errors import UserError
from distill.methods import registry
from distill.signals.states import Reads
from tests.helpers import reference, states, tiny

VALUES = {
    "task_weight": 1,
    "kl_alpha": 2,
    "temperature": 2,
    "word_alpha": 5,
    "layer_alpha": 7,
    "angle_weight": 0.5,
    "window": 5,
    "layer_map": "uniform",
}
LAYERS = [0, 2, 4, 6]  # of the teacher's six, for the student's embeddings and three layers
CONTEXT = registry.load("context")


def gaps(own, other, reach):
    """(pairs' squared differences of cosines, triples' of angles) of two lists of points."""
    unit = states.unit
    pairs, triples = [], []
    for i, j in itertools.permutations(range(len(own)), 2):
        a, b = ((unit(side[i]) * unit(side[j])).sum() for side in (own, other))
        pairs.append((a - b) ** 2)
    for j in range(len(own)):
        near = [i for i in range(len(own)) if i != j and abs(i - j) <= reach]
        for i, k in itertools.combinations(near, 2):
            a, b = ((unit(side[i] - side[j]) * unit(side[k] - side[j])).sum() for side in (own, other))
            triples.append((a - b) ** 2)
    return pairs, triples


def mean(found):
    pairs, triples = (list(itertools.chain.from_iterable(part)) for part in zip(*found, strict=True))
    return sum(pairs) / len(pairs) + 0.5 * sum(triples) / len(triples)


def word(_, own, other, lengths):
    total = 0.0
    for k, layer in enumerate(LAYERS[1:], start=1):
        total = total + mean([gaps(own[k][i, :n], other[layer][i, :n], 2) for i, n in enumerate(lengths)])
    return total / 3


def layer(_, own, other, lengths):
    places = [(i, place) for i, n in enumerate(lengths) for place in range(n)]
    return mean([gaps([s[at] for s in own], [other[k][at] for k in LAYERS], 9) for at in places])


@pytest.mark.parametrize(("term", "by_hand", "place"), [("word", word, 0), ("layer", layer, 1)])
def test_value_and_gradient_are_the_formula(term, by_hand, place):
    """One term at a time: the other one's weight is 0."""
    other = ("layer", "word")[place]
    values = VALUES | {f"{other}_alpha": 0}
    student, teacher = states.models_of()
    objective = states.objective_of("context", values, student, teacher)
    batch = tiny.batch()
    student64, teacher64 = tiny.double(student), tiny.double(teacher).eval()
    terms = objective(**batch)
    assert list(terms) == ["loss", "task", "kl", "word", "layer"]
    terms["loss"].backward()
    logits, hidden = reference.outputs(student64, batch)
    with torch.no_grad():
        target, given = reference.outputs(teacher64, batch)
    own = by_hand(None, hidden, given, reference.lengths(batch))
    kl = reference.soft(logits, target, batch, 2)
    total = reference.task(logits, batch) + 2 * kl + VALUES[f"{term}_alpha"] * own
    total.backward()
    reference.same_value(terms[term], own)
    reference.same_value(terms["loss"], total)
    reference.same_gradients(student, student64)
    reference.teacher_is_left_alone(objective, teacher, student)
    assert not list(objective.method.parameters())


def test_more_padding_changes_no_term():
    states.check_padding("context", VALUES)


def test_angles_can_be_left_out():
    batch, pair = tiny.batch(), states.models_of()
    with_angles, without = (
        states.objective_of("context", VALUES | {"angle_weight": weight}, *pair)(**batch) for weight in (0.5, 0)
    )
    for term in ("word", "layer"):
        assert without[term] < with_angles[term]


def test_it_trains_and_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    states.check_trains_and_resumes("context", VALUES, "word", tmp_path)


def test_it_reads_the_embeddings_and_the_layers_of_the_map():
    params = states.load("context", (3, 6))
    assert CONTEXT.reads(params, 3, 6) == Reads(hidden=(0, 2, 4, 6))


def test_impossible_settings_are_refused_before_any_stage():
    with pytest.raises(UserError, match=r"context\.layer_map: 'uniform' .* student has 6, the teacher 3"):
        states.load("context", (6, 3))
    with pytest.raises(UserError, match=r"context\.window: 20 has no middle: give an odd number"):
        states.load("context", (3, 6), window=20)
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        CONTEXT.Config(**VALUES | {"window": 1})
