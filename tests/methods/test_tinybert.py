"""tinybert: attention scores and hidden states, then soft targets, in value and gradient; the public code's faults."""

import json
from types import SimpleNamespace

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from distill.training import phases
from distill.training.run import TrainingRun
from tests.helpers import reference, text, tiny

TASK = load_task("qa")
TINYBERT = registry.load("tinybert")
VALUES = {
    "phase1_share": 0.5,
    "phase2_learning_rate": None,
    "attention_weight": 0.7,
    "hidden_weight": 3,
    "soft_weight": 2,
    "temperature": 1,
    "layer_map": "uniform",
    "heads": "match",
    "mask": True,
}


def build(student, teacher, task=TASK, phase=0, **changes):
    torch.manual_seed(4)
    method = TINYBERT(TINYBERT.Config(**VALUES | changes), Setup(task, student.config, teacher.config))
    signals = OnlineTeacher(teacher, task, hidden=True, precision="fp32", attention=True)
    objective = Distillation(student, method, signals).train()
    objective.phases(tiny.training())
    objective.begin(phase)
    return objective


def pair(heads=2, **fields):
    """A BERT of 2 layers × 8, one of 4 × 12 as its teacher, each with a copy in float64."""
    student = tiny.model("bert", layers=2, width=8, seed=1)
    teacher = tiny.model("bert", layers=4, width=12, seed=2, num_attention_heads=heads, **fields)
    return student, teacher, tiny.double(student), tiny.double(teacher).eval()


def states_of(model, batch):
    """(hidden states, each layer's Q·Kᵀ/√d before any mask (B, heads, L, L)) of a float64 BERT, from its weights."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    hidden = model(**inputs, output_hidden_states=True).hidden_states
    scores = []
    for layer, before in zip(model.bert.encoder.layer, hidden, strict=False):
        own = layer.attention.self
        heads = own.num_attention_heads
        size = before.shape[-1] // heads
        query, key = (
            (before @ part.weight.T + part.bias).unflatten(-1, (heads, size)).transpose(1, 2)
            for part in (own.query, own.key)
        )
        scores.append(query @ key.transpose(-1, -2) / size**0.5)
    return hidden, scores


def attention_gap(own, other, batch, heads):
    """Mean squared difference over pairs of real tokens and heads, row by row."""
    total, pairs = 0.0, 0
    for row, length in enumerate(reference.lengths(batch)):
        a, b = own[row, :, :length, :length], other[row, :, :length, :length]
        a, b = (torch.where(x <= -100, 0.0, x) for x in (a, b))
        if heads == "mean":
            a, b = a.sum(0, keepdim=True) / len(a), b.sum(0, keepdim=True) / len(b)
        total, pairs = total + ((a - b) ** 2).sum() / len(a), pairs + length**2
    return total / pairs


@pytest.mark.parametrize(("heads", "teacher_heads"), [("match", 2), ("mean", 2), ("mean", 3)])
def test_phase_1_value_and_gradient_are_the_formula(heads, teacher_heads):
    student, teacher, student64, teacher64 = pair(teacher_heads)
    batch = tiny.batch()
    objective = build(student, teacher, heads=heads)
    weight64 = objective.method.map.weight.detach().double().requires_grad_()
    terms = objective(**batch)
    terms["loss"].backward()
    hidden, scores = states_of(student64, batch)
    with torch.no_grad():
        targets, target_scores = states_of(teacher64, batch)
    states = sum(reference.mse(hidden[k] @ weight64.T, targets[layer], batch) for k, layer in enumerate((0, 2, 4)))
    attention = sum(attention_gap(scores[k], target_scores[layer], batch, heads) for k, layer in enumerate((1, 3)))
    expected = {"attention": attention, "hidden": states, "loss": 0.7 * attention + 3 * states}
    expected["loss"].backward()
    assert set(terms) == set(expected)
    assert attention > 0.01 and states > 0.01
    for name, value in expected.items():
        reference.same_value(terms[name], value)
    reference.same_gradients(student, student64)
    torch.testing.assert_close(objective.method.map.weight.grad.double(), weight64.grad, rtol=1e-4, atol=1e-6)
    reference.teacher_is_left_alone(objective, teacher, student)


def test_phase_2_value_and_gradient_are_the_formula():
    student, teacher, student64, teacher64 = pair()
    batch = tiny.batch()
    objective = build(student, teacher, phase=1, temperature=1.5)
    terms = objective(**batch)
    terms["loss"].backward()
    logits, _ = reference.outputs(student64, batch)
    with torch.no_grad():
        target, _ = reference.outputs(teacher64, batch)
    soft = reference.soft(logits, target, batch, 1.5)
    (2 * soft).backward()
    assert set(terms) == {"soft", "loss"}
    reference.same_value(terms["soft"], soft)
    reference.same_value(terms["loss"], 2 * soft)
    reference.same_gradients(student, student64)
    reference.teacher_is_left_alone(objective, teacher, student)


def test_phase_2_has_the_gradient_of_the_soft_cross_entropy():
    student, teacher, student64, teacher64 = pair()
    batch = tiny.batch()
    build(student, teacher, phase=1, soft_weight=1)(**batch)["loss"].backward()
    logits, _ = reference.outputs(student64, batch)
    with torch.no_grad():
        target, _ = reference.outputs(teacher64, batch)
    total = 0.0
    for side in (0, 1):
        for row, length in enumerate(reference.lengths(batch)):
            share = target[row, :length, side].exp() / target[row, :length, side].exp().sum()
            total = total - (share * reference.log_p(logits[row, :length, side])).sum() / 6
    total.backward()
    reference.same_gradients(student, student64)


def test_phase_2_of_classification_is_soft_and_of_regression_the_gold_labels():
    for labels, name in ((text.CLASSES, "soft"), ((), "task")):
        task = load_task("classification" if labels else "regression", labels=labels)
        student = text.model(width=8, seed=1, channels=len(labels) or 1)
        teacher = text.model(layers=4, width=12, seed=2, channels=len(labels) or 1)
        student64, teacher64 = tiny.double(student), tiny.double(teacher).eval()
        batch = text.batch(numeric=not labels)
        terms = build(student, teacher, task, phase=1)(**batch)
        terms["loss"].backward()
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        logits, target = student64(**inputs).logits, teacher64(**inputs).logits.detach()
        if labels:
            gaps = [
                reference.log_p(t).exp() * (reference.log_p(t) - reference.log_p(s))
                for s, t in zip(logits, target, strict=True)
            ]
            expected = sum(gap.sum() for gap in gaps) / len(gaps)
        else:
            expected = sum((logits[row, 0] - batch["labels"][row]) ** 2 for row in range(3)) / 3
        (2 * expected).backward()
        assert set(terms) == {name, "loss"}
        reference.same_value(terms[name], expected)
        reference.same_gradients(student, student64)


def test_phase_2_computes_neither_attention_nor_hidden_states(monkeypatch):
    student, teacher, *_ = pair()
    asked = []
    for model in (student, teacher):
        forward = model.forward

        def spy(*args, forward=forward, **inputs):
            asked.append(inputs.get("output_hidden_states"))
            return forward(*args, **inputs)

        monkeypatch.setattr(model, "forward", spy)
    monkeypatch.setattr(
        "distill.models.attention_scores.Scores.__enter__", lambda self: asked.append("attention") or self
    )
    build(student, teacher, phase=1)(**tiny.batch())
    assert asked == [False, False]


def test_the_models_attend_alike_in_phase_2_whether_or_not_this_process_has_seen_phase_1():
    batch, losses = tiny.batch(), []
    for through in (True, False):
        student, teacher, *_ = pair()
        objective = build(student, teacher)
        if through:
            objective(**batch)
        objective.begin(1)
        losses.append(objective(**batch)["loss"])
        assert student.config._attn_implementation == teacher.config._attn_implementation == "eager"
    assert torch.equal(*losses)


@pytest.mark.parametrize("heads", ["match", "mean"])
@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "distilbert"])
def test_more_padding_changes_no_term_of_either_phase(kind, heads):
    student, teacher = tiny.model("bert", 2, 8, seed=1), tiny.model(kind, 4, 12, seed=2)
    for phase in (0, 1):
        objective = build(student, teacher, phase=phase, heads=heads)
        narrow, wide = objective(**tiny.batch()), objective(**tiny.wider(tiny.batch(), 9))
        for name in narrow:
            torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-5)


def test_without_the_mask_phase_1_averages_over_padding_as_the_public_code_does():
    student, teacher, student64, teacher64 = pair()
    batch = tiny.batch()
    terms = build(student, teacher, mask=False)(**batch)
    with torch.no_grad():
        _, own = states_of(student64, batch)
        _, other = states_of(teacher64, batch)
    total = 0.0
    for k, layer in enumerate((1, 3)):
        for row, length in enumerate(reference.lengths(batch)):
            # A masked key is at the floor on both sides and counts as 0; a padded query is compared.
            total = total + ((own[k][row, :, :, :length] - other[layer][row, :, :, :length]) ** 2).sum()
    reference.same_value(terms["attention"], total / (3 * 2 * 12 * 12))
    wider = build(student, teacher, mask=False)(**tiny.wider(batch, 9))
    assert abs(wider["attention"] - terms["attention"]) > 1e-3
    assert abs(wider["hidden"] - terms["hidden"]) > 1e-4


def test_scores_at_or_below_the_floor_count_as_zero_on_both_sides():
    method = build(*pair()[:2]).method
    own, other = torch.full((1, 2, 1, 1), 1.0), torch.full((1, 2, 1, 1), 3.0)
    mask = torch.ones(1, 1, dtype=torch.bool)
    own[0, 0], other[0, 0] = -100.0, -1e30
    own[0, 1], other[0, 1] = -99.0, torch.finfo(torch.float32).min
    own.requires_grad_()
    gap = method._score_gap(own, other, mask)
    gap.backward()
    assert gap.item() == pytest.approx((0 + 99.0**2) / 2)
    torch.testing.assert_close(own.grad.flatten(), torch.tensor([0.0, -99.0]))


def test_uniform_map_embeddings_on_embeddings():
    student, teacher, *_ = pair()
    assert build(student, teacher).method.layers == [2, 4]
    assert build(student, teacher, layer_map=[1, 3]).method.layers == [1, 3]


def test_one_linear_map_for_all_layers_trains_and_is_all_that_is_added():
    student, teacher, *_ = pair()
    objective = build(student, teacher)
    own = [name for name in objective.state_dict() if name.startswith("method.")]
    assert own == ["method.map.weight"] and objective.method.map.weight.shape == (12, 8)


# Faults of the public code, by their names in the list of methods.


def test_public_code_leaves_the_teachers_dropout_on():
    student, teacher, *_ = pair(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    teacher.train()
    for phase in (0, 1):
        objective = build(student, teacher, phase=phase)
        first, again = objective(**tiny.batch()), objective(**tiny.batch())
        assert torch.equal(first["loss"], again["loss"])
        assert not any(module.training for module in teacher.modules())


def test_public_code_drops_the_last_partial_batch(tmp_path, monkeypatch):
    student, teacher, *_ = pair()
    objective = build(student, teacher)
    seen = {0: [], 1: []}
    compute = objective.method.compute

    def spy(batch, *models):
        seen[objective.method.phase] += batch["index"].tolist()
        return compute(batch, *models)

    monkeypatch.setattr(objective.method, "compute", spy)
    # Ten rows in batches of four: an epoch is three updates, the last of two rows; one epoch in each phase.
    settings = tiny.training(max_steps=None, epochs=2)
    given = (tiny.features(10), 0, TASK.labels, settings, tiny.runtime(), 1, tmp_path, "tinybert")
    result = phases.train(TrainingRun(objective, *given))
    assert result.steps == 6
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(10))


def test_phases_and_their_learning_rates():
    student, teacher, *_ = pair()
    first, second = build(student, teacher, phase1_share=0.8).method.phases(tiny.training(evaluations=2, keep="best"))
    assert (first.share, first.changes) == (0.8, {"evaluations": 0, "keep": "last"})
    assert second.share == pytest.approx(0.2) and second.changes == {}
    _, second = build(student, teacher, phase2_learning_rate=3e-5).method.phases(tiny.training())
    assert second.changes == {"learning_rate": 3e-5}


def test_heads_that_do_not_agree_are_refused_with_both_numbers():
    student, teacher, *_ = pair(heads=3)
    with pytest.raises(UserError, match=r"tinybert.heads: 'match' .* student has 2 heads and the teacher 3: .* mean"):
        build(student, teacher)


def stated(student, teacher, init="random", num_layers=None, attention="auto", **changes):
    """As much of the parameters as a check looks at; a model is a configuration, or the folder of one."""

    def model(one):
        known = isinstance(one, dict)
        return SimpleNamespace(path=None if known else str(one), config=one if known else {})

    return SimpleNamespace(
        runtime=SimpleNamespace(attention=attention),
        sections={"tinybert": TINYBERT.Config(**VALUES | changes)},
        distill=SimpleNamespace(init=init),
        student=SimpleNamespace(model=model(student), init="random", layers="uniform", num_layers=num_layers),
        teacher=SimpleNamespace(model=model(teacher)),
    )


def test_what_the_parameters_state_is_refused_before_any_stage():
    two, four = {"num_attention_heads": 2, "num_hidden_layers": 2}, {"num_attention_heads": 4, "num_hidden_layers": 4}
    with pytest.raises(UserError, match="2 heads and the teacher 4"):
        TINYBERT.check(stated(two, four))
    with pytest.raises(UserError, match="2 heads and the teacher 4"):
        TINYBERT.check(stated({"n_heads": 2}, four))  # DistilBERT's name of it
    with pytest.raises(UserError, match=r"tinybert.layer_map: 'uniform' maps onto fewer layers"):
        TINYBERT.check(stated(four, two, heads="mean"))
    with pytest.raises(UserError, match=r"3 entries for 2 student layers"):
        TINYBERT.check(stated(two, four, heads="mean", layer_map=[1, 2, 3]))
    TINYBERT.check(stated(two, four, heads="mean"))
    TINYBERT.check(stated({}, {}))  # checkpoints know
    # Copied layers have the teacher's heads, whatever the student's section says of another start.
    TINYBERT.check(stated({}, four, init="teacher_layers", num_layers=2))


def test_what_local_checkpoints_state_is_refused_before_any_stage(tmp_path):
    folders = {}
    for layers, heads in ((6, 4), (8, 4), (6, 2)):
        folders[layers, heads] = tmp_path / f"{layers}-{heads}"
        folders[layers, heads].mkdir()
        fields = {"num_hidden_layers": layers, "num_attention_heads": heads}
        (folders[layers, heads] / "config.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match="2 heads and the teacher 4"):
        TINYBERT.check(stated(folders[6, 2], folders[6, 4]))
    with pytest.raises(UserError, match=r"tinybert.layer_map: 'uniform' .* the student has 8, the teacher 6"):
        TINYBERT.check(stated(folders[8, 4], folders[6, 4]))
    TINYBERT.check(stated(folders[6, 4], folders[8, 4]))
    TINYBERT.check(stated(folders[6, 2], folders[6, 4], heads="mean"))


@pytest.mark.parametrize(
    ("student", "teacher", "refused"),
    [
        ({"model_type": "deberta-v2"}, {"model_type": "deberta-v2"}, True),
        ({"model_type": "bert"}, {"model_type": "deberta-v2"}, True),
        ({"model_type": "deberta-v2"}, {"model_type": "bert"}, True),
        ({"model_type": "bert"}, {"model_type": "bert"}, False),
        ({"model_type": "bert"}, {}, True),  # of the hub: it may be a DeBERTa
    ],
)
def test_a_kernel_that_hides_the_scores_is_refused_before_any_stage(student, teacher, refused):
    TINYBERT.check(stated(student, teacher))
    params = stated(student, teacher, attention="disentangled_flash")
    if not refused:
        TINYBERT.check(params)
        return
    with pytest.raises(
        UserError, match=r"runtime\.attention: 'disentangled_flash' .* set it to auto, or take tinybert"
    ):
        TINYBERT.check(params)


def test_the_architecture_of_a_student_made_of_layers_is_the_teachers():
    for kind, refused in (("bert", False), ("deberta-v2", True)):
        params = stated({}, {"model_type": kind}, init="teacher_layers", num_layers=1, attention="disentangled_flash")
        if refused:
            with pytest.raises(UserError, match="disentangled_flash"):
                TINYBERT.check(params)
        else:
            TINYBERT.check(params)
