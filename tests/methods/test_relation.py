"""relation: both forms in value and gradient, on models of other widths and heads; refusals; padding; kill, resume."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.models import query_key_value
from distill.models.forward import Outputs
from distill.models.query_key_value import QueryKeyValue
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from distill.training import trainer
from distill.training.run import TrainingRun
from tests.helpers import families, reference, states, text, tiny
from tests.losses.test_relations import kl, shares

TASK = load_task("qa")
RELATION = registry.load("relation")
VALUES = {
    "task_weight": 1,
    "kl_alpha": 2,
    "temperature": 2,
    "form": "relations",
    "relation_heads": 4,
    "query_weight": 0.5,
    "key_weight": 0.7,
    "value_weight": 3,
    "attention_weight": 1.5,
    "teacher_layer": None,
    "layer_map": "uniform",
    "heads": "mean",
}


def pair(heads=3):
    """A BERT of 2 layers × 8 with 2 heads, one of 4 × 12 as its teacher, each with a copy in float64."""
    student = tiny.model("bert", layers=2, width=8, seed=1)
    teacher = tiny.model("bert", layers=4, width=12, seed=2, num_attention_heads=heads)
    return student, teacher, tiny.double(student), tiny.double(teacher).eval()


def build(student, teacher, **changes):
    method = RELATION(RELATION.Config(**VALUES | changes), Setup(TASK, student.config, teacher.config))
    attention = "attention" in method.needs
    signals = OnlineTeacher(teacher, TASK, hidden=False, precision="fp32", attention=attention, qkv=True)
    return Distillation(student, method, signals).train()


def layers_of(model, batch):
    """(query, key, value) of every layer of a float64 BERT, from its weights; (logits) of the model."""
    logits, hidden = reference.outputs(model, batch)
    made = []
    for layer, before in zip(model.bert.encoder.layer, hidden, strict=False):
        own = layer.attention.self
        made.append([before @ part.weight.T + part.bias for part in (own.query, own.key, own.value)])
    return logits, made


def relation(own, other, batch, parts):
    """KL of relations, mean over parts and real tokens."""
    total, tokens = 0.0, sum(reference.lengths(batch))
    for row, n in enumerate(reference.lengths(batch)):
        for part in range(parts):
            p, q = (
                shares(x @ x.T / x.shape[1] ** 0.5)
                for side in (other, own)
                for x in [side[row, :n].unflatten(-1, (parts, -1))[:, part]]
            )
            total = total + kl(p, q)
    return total / (parts * tokens)


def attention(own, other, batch, heads, average):
    """KL of attention distributions, mean over heads and real tokens; `own` and `other` are (queries, keys, …)."""
    total = 0.0
    for row, n in enumerate(reference.lengths(batch)):
        both = []
        for (query, key, _), count in ((own, heads[0]), (other, heads[1])):
            q, k = (side[row, :n].unflatten(-1, (count, -1)).transpose(0, 1) for side in (query, key))
            p = shares(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5)
            both.append(p.sum(0, keepdim=True) / count if average else p)
        total = total + kl(both[1], both[0]) / len(both[0])
    return total / sum(reference.lengths(batch))


def check(changes, own_terms, student, teacher, student64, teacher64):
    batch = tiny.batch()
    objective = build(student, teacher, **changes)
    terms = objective(**batch)
    terms["loss"].backward()
    logits, own = layers_of(student64, batch)
    with torch.no_grad():
        target, other = layers_of(teacher64, batch)
    expected = {"task": reference.task(logits, batch), "kl": reference.soft(logits, target, batch, 2)}
    expected |= own_terms(own, other, batch)
    weights = {"task": 1, "kl": 2} | {name: (VALUES | changes)[f"{name}_weight"] for name in list(expected)[2:]}
    total = sum(weights[name] * value for name, value in expected.items())
    total.backward()
    assert list(terms) == ["loss", *expected]
    for name, value in {**expected, "loss": total}.items():
        assert value > 1e-4
        reference.same_value(terms[name], value)
    reference.same_gradients(student, student64)
    reference.teacher_is_left_alone(objective, teacher, student)
    assert not [name for name in objective.state_dict() if name.startswith("method.")]


@pytest.mark.parametrize(("teacher_layer", "used"), [(None, 4), (3, 3)])
@pytest.mark.parametrize("parts", [1, 4])
def test_the_relations_of_one_layer_in_value_and_gradient(parts, teacher_layer, used):
    def terms(own, other, batch):
        three = enumerate(("query", "key", "value"))
        return {name: relation(own[-1][i], other[used - 1][i], batch, parts) for i, name in three}

    check({"relation_heads": parts, "teacher_layer": teacher_layer}, terms, *pair())


@pytest.mark.parametrize(("rule", "heads"), [("match", 2), ("mean", 2), ("mean", 3)])
def test_attention_and_the_values_relation_in_value_and_gradient(rule, heads):
    def terms(own, other, batch):
        pairs = [(own[0], other[0]), (own[1], other[2])]
        gaps = [attention(*sides, batch, (2, heads), rule == "mean") for sides in pairs]
        return {"attention": sum(gaps) / 2, "value": relation(own[-1][2], other[-1][2], batch, 2)}

    check({"form": "attention", "relation_heads": 2, "layer_map": [1, 3], "heads": rule}, terms, *pair(heads))


@pytest.mark.parametrize("form", ["relations", "attention"])
@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "distilbert"])
def test_more_padding_changes_no_term(kind, form):
    student, teacher = tiny.model("bert", 2, 8, seed=1), tiny.model(kind, 4, 12, seed=2)
    objective = build(student, teacher, form=form)
    narrow, wide = objective(**tiny.batch()), objective(**tiny.wider(tiny.batch(), 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-4, atol=1e-5)


def test_texts_with_classes_and_with_numbers_have_the_same_terms():
    batch, shape = text.batch(), tiny.model().config
    for task in (load_task("classification", labels=text.CLASSES), load_task("regression")):
        method = RELATION(RELATION.Config(**VALUES), Setup(task, shape, shape))
        rows, tokens = batch["attention_mask"].shape
        layer = QueryKeyValue(*torch.randn(3, rows, tokens, 8))
        outputs = [Outputs(torch.randn(rows, task.channels), qkv=(side,)) for side in (layer, layer)]
        method.teacher_layer = 1
        labels = batch["labels"] if task.has_classes else batch["labels"].float()
        found = method.terms(batch | {"labels": labels}, *outputs)
        assert list(found) == list(method.weights()) == ["task", "kl", "query", "key", "value"]
        assert [found[name].item() for name in ("query", "key", "value")] == [0, 0, 0]


def test_the_form_of_relations_needs_no_attention_scores():
    student, teacher, *_ = pair()
    assert build(student, teacher).method.needs == {"logits", "qkv"}
    assert build(student, teacher, form="attention").method.needs == {"logits", "qkv", "attention"}
    # Stage plan tries both models for what the form takes, and for no more.
    for form, taken in (("relations", {"qkv"}), ("attention", {"qkv", "attention"})):
        assert {RELATION.takes(stated({}, {}, form=form), role) for role in ("student", "teacher")} == {
            frozenset(taken)
        }
    build(student, teacher)(**tiny.batch())
    assert student.config._attn_implementation == teacher.config._attn_implementation != "eager"


def test_it_trains_and_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    for form, term in (("relations", "key"), ("attention", "attention")):
        results = []
        for where in ("whole", "killed"):
            student, teacher, *_ = pair()
            objective = build(student, teacher, form=form)
            settings = tiny.training(max_steps=12, learning_rate=5e-3)
            given = (tiny.features(24), 0, TASK.labels, settings, tiny.runtime(), 1, tmp_path / form / where, "test")
            run = partial(trainer.train, TrainingRun(objective, *given))
            if where == "killed":
                calls = []

                def stop(*_, calls=calls):
                    calls.append(1)
                    if len(calls) == 8:
                        raise states.Killed

                handle = objective.register_forward_pre_hook(stop)
                with pytest.raises(states.Killed):
                    run()
                handle.remove()
                student, teacher, *_ = pair()
                objective = build(student, teacher, form=form)
                run = partial(trainer.train, TrainingRun(objective, *given))
            result = run()
            results.append((result, objective.state_dict()))
        (whole, expected), (resumed, found) = results
        assert whole.history[-1][term] < whole.history[0][term]
        assert resumed.resumed_from == 6
        assert all(torch.equal(value, found[name]) for name, value in expected.items())


def stated(student, teacher, attention="auto", **changes):
    """As much of the parameters as a check looks at."""
    model = lambda fields: SimpleNamespace(path=None, config=fields)  # noqa: E731
    return SimpleNamespace(
        runtime=SimpleNamespace(attention=attention),
        sections={"relation": RELATION.Config(**VALUES | changes)},
        distill=SimpleNamespace(init="random"),
        student=SimpleNamespace(model=model(student), init="random", layers="uniform", num_layers=None),
        teacher=SimpleNamespace(model=model(teacher)),
    )


TWO, FOUR = ({"num_attention_heads": n, "num_hidden_layers": n, "model_type": "bert"} for n in (2, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher_layer": 5}, r"relation\.teacher_layer: 5 is not among the teacher's 1…4: .* null for the last"),
        ({"form": "attention", "heads": "match"}, r"relation\.heads: 'match' .* 2 heads and the teacher 4"),
        ({"form": "attention", "layer_map": [1]}, r"relation\.layer_map: \[1\]: 1 entries for 2 student layers"),
    ],
)
def test_what_the_parameters_state_is_refused_before_any_stage(changes, message):
    with pytest.raises(UserError, match=message):
        RELATION.check(stated(TWO, FOUR, **changes))
    student, teacher = tiny.model("bert", 2, 8), tiny.model("bert", 4, 8, num_attention_heads=4)
    with pytest.raises(UserError, match=message):
        build(student, teacher, **changes)
    RELATION.check(stated(TWO, FOUR, **changes | {"form": "relations", "teacher_layer": 3}))


def test_a_kernel_that_hides_them_is_refused_before_any_stage():
    deberta = {"model_type": "deberta-v2"}
    with pytest.raises(
        UserError, match="'disentangled_flash' .* scores, queries, keys and values that relation compares"
    ):
        RELATION.check(stated(deberta, deberta, attention="disentangled_flash"))
    RELATION.check(stated(TWO, FOUR, attention="disentangled_flash"))


def test_models_that_cannot_be_compared_are_refused_in_stage_plan():
    def configurations(student, teacher):
        return {"student": student, "teacher": teacher}.__getitem__

    bert, wide = families.config("bert"), families.config("bert", hidden_size=18, num_attention_heads=3)
    params = stated({}, {}, relation_heads=8)
    RELATION.suits(params, configurations(bert, families.config("modernbert")))
    with pytest.raises(
        UserError, match=r"relation_heads: 8 does not divide 18, the width of the teacher's query states"
    ):
        RELATION.suits(params, configurations(bert, wide))
    with pytest.raises(UserError, match=r"methods: relation: the student is a fnet: its layers have no projections"):
        RELATION.suits(params, configurations(families.config("fnet"), bert))
    # Attention itself needs no equal parts but those of the values.
    narrow = families.config("eurobert", num_key_value_heads=1)
    assert query_key_value.widths(narrow) == {"query": 16, "key": 8, "value": 8}
    RELATION.suits(stated({}, {}, relation_heads=8, form="attention"), configurations(bert, narrow))
    with pytest.raises(UserError, match="16 does not divide 8, the width of the teacher's key states"):
        RELATION.suits(stated({}, {}, relation_heads=16), configurations(bert, narrow))
