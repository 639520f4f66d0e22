"""rail: pkd with layers that are drawn anew each epoch, in value and gradient; the draw survives a restart."""

from itertools import combinations

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.rail import pooled
from distill.signals.states import Reads
from distill.training.objective import Progress
from tests.helpers import states, tiny
from tests.helpers.states import first_token_gap, lifted

VALUES = {"alpha": 0.7, "beta": 100, "temperature": 4, "form": "layer_wise", "pooling": "first"}
VALUES |= {"pairing": "in_order"}
WEIGHTS = [0.3, 0.7, 100]
FORMS = ["layer_wise", "concatenated"]
POOLINGS = ["first", "mean"]


def vectors(states, lengths, pooling):
    """A vector for each row, token by token: the first state, or the sum of the real ones over their number."""
    if pooling == "first":
        return states[:, 0]
    return torch.stack(
        [sum(row[token] for token in range(length)) / length for row, length in zip(states, lengths, strict=True)]
    )


def term(layers, form, pooling="first"):
    def own(maps, hidden, others, lengths):
        students = [vectors(hidden[k + 1], lengths, pooling) for k in range(len(layers))]
        teachers = [vectors(others[layer], lengths, pooling) for layer in layers]
        if form == "concatenated":
            return first_token_gap(lifted(maps, 0, torch.cat(students, -1)), torch.cat(teachers, -1))
        gaps = [first_token_gap(lifted(maps, k, students[k]), teachers[k]) for k in range(len(layers))]
        return sum(gaps) / len(layers)

    return own


def layers_in(epoch, seed=0, depths=(3, 6)):
    """What the method says that it draws."""
    method = states.build("rail", VALUES, *states.models_of(depths), seed=seed)
    method.progress = Progress(0, 1, epoch)
    return method.layers


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize("epoch", [0, 5])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_value_and_gradient_are_the_formula(pooling, form, epoch, width):
    own = term(layers_in(epoch), form, pooling)
    values = VALUES | {"form": form, "pooling": pooling}
    progress = Progress(3, 10, epoch)
    states.check_on_questions("rail", values, own, "layers", WEIGHTS, width=width, progress=progress)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_value_and_gradient_on_classification_and_regression(pooling, form):
    values = VALUES | {"form": form, "pooling": pooling}
    states.check_on_texts("rail", values, term(layers_in(0), form, pooling), "layers", WEIGHTS)


def test_a_draw_has_k_different_layers_in_ascending_order_and_every_choice_comes_up_as_often():
    counts = dict.fromkeys(combinations(range(1, 5), 2), 0)
    method = states.build("rail", VALUES, *states.models_of((2, 4)))
    for epoch in range(3000):
        method.progress = Progress(0, 1, epoch)
        counts[tuple(method.layers)] += 1
    # 500 expected each, standard deviation 20.4
    assert all(abs(count - 500) < 100 for count in counts.values())


def test_layers_are_drawn_once_an_epoch_from_seed_and_epoch_alone():
    first = [layers_in(epoch, seed=4) for epoch in range(12)]
    torch.manual_seed(99)
    torch.rand(17)
    assert [layers_in(epoch, seed=4) for epoch in range(12)] == first
    assert [layers_in(epoch, seed=5) for epoch in range(12)] != first
    assert len({tuple(layers) for layers in first}) > 4
    method = states.build("rail", VALUES, *states.models_of(), seed=4)
    for step in range(4):  # within an epoch, steps change nothing
        method.progress = Progress(step, 40, 7)
        assert method.layers == first[7]


def test_drawing_leaves_the_global_generator_alone():
    objective = states.objective_of("rail", VALUES, *states.models_of())
    torch.manual_seed(1)
    state = torch.get_rng_state()
    objective(**tiny.batch())
    assert torch.equal(torch.get_rng_state(), state)


def test_with_as_many_layers_all_are_drawn():
    assert layers_in(0, depths=(4, 4)) == layers_in(9, depths=(4, 4)) == [1, 2, 3, 4]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_more_padding_changes_no_term(pooling, form):
    states.check_padding("rail", VALUES | {"form": form, "pooling": pooling})


def test_a_state_at_padding_is_not_read_even_where_it_is_no_number():
    rows = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [torch.nan, torch.inf]], [[5.0, 6.0], [7.0, 8.0], [9.0, 10.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    rows.requires_grad_()
    found = pooled(rows, mask, "mean")
    assert found.tolist() == [[2.0, 3.0], [7.0, 8.0]]
    found.sum().backward()
    assert rows.grad.tolist() == [[[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]], [[pytest.approx(1 / 3)] * 2] * 3]


@pytest.mark.parametrize(("pooling", "kind"), [("first", "cls"), ("mean", "hidden")])
def test_the_mean_needs_the_states_of_all_tokens(pooling, kind):
    values = VALUES | {"pooling": pooling}
    assert states.build("rail", values, *states.models_of()).needs == {"logits", kind}
    params = states.load("rail", (2, 4), pooling=pooling)
    assert registry.load("rail").reads(params, 2, 4) == Reads.of(kind, [1, 2, 3, 4])


@pytest.mark.parametrize("form", FORMS)
def test_states_of_the_first_token_alone_are_enough(form):
    states.check_first_tokens("rail", VALUES | {"form": form})


@pytest.mark.parametrize(("form", "count"), [("layer_wise", 3), ("concatenated", 1)])
def test_maps_train_and_are_dropped(form, count):
    states.check_maps_train_and_are_dropped("rail", VALUES | {"form": form}, count)


def test_a_teacher_with_fewer_layers_is_refused_early_and_late():
    message = "rail draws a teacher layer for each student layer: the student has 3, the teacher 2"
    with pytest.raises(UserError, match=message):
        states.build("rail", VALUES, *states.models_of((3, 2)))
    with pytest.raises(UserError, match=message):
        states.load("rail", (3, 2))
    assert states.load("rail", (2, 2)).methods == ["rail"]


# Layers are drawn before either form has a part in it.
@pytest.mark.parametrize("form", [FORMS[0], pytest.param(FORMS[1], marks=pytest.mark.exhaustive)])
def test_it_trains_and_a_killed_training_draws_the_same_layers_and_gives_the_same_bytes(form, tmp_path):
    seen = states.check_trains_and_resumes("rail", VALUES | {"form": form}, "layers", tmp_path)
    # 6 steps an epoch; it went on from step 10
    assert seen == [layers_in(step // 6, seed=1) for step in range(10, 18)]
    assert seen[0] != seen[-1]


def test_reversed_pairs_draw_the_same_layers_in_descending_order():
    for epoch in range(3):
        method = states.build("rail", VALUES | {"pairing": "reversed"}, *states.models_of())
        method.progress = Progress(0, 1, epoch)
        assert method.layers == layers_in(epoch)[::-1]
    own = term(method.layers, "layer_wise")
    values = VALUES | {"pairing": "reversed"}
    states.check_on_questions("rail", values, own, "layers", WEIGHTS, progress=Progress(3, 10, 2))
