"""Queries, keys and values: what they are, for every family, and that gradients pass."""

import pytest
import torch

from distill.errors import UserError
from distill.models import query_key_value
from distill.models.forward import forward_pass
from distill.tasks.registry import load_task
from tests.helpers import families, tiny

TASK = load_task("qa")
CLASSES = load_task("classification", labels=("a", "b", "c"))
#: Families that have none: Funnel shortens its rows, FNet has no attention, XLNet no modules that project.
NONE = ("fnet", "funnel", "xlnet")


def rows_of(lengths, family):
    """Rows of tokens with padding, and RoBERTa's separators, which Longformer's head counts."""
    longest = max(lengths)
    ids = torch.tensor([[2, *range(5, 3 + n), 3] + [0] * (longest - n) for n in lengths])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


@pytest.mark.parametrize("family", families.SHAPES)
def test_every_family_has_one_of_each_for_every_token_and_layer_or_is_refused_by_name(family):
    model, batch = families.model(family, CLASSES), rows_of((17, 9), family)
    with torch.no_grad():
        if family in NONE:
            with pytest.raises(UserError, match=f"{family}: its layers have no projections"):
                forward_pass(model, CLASSES, batch, qkv=True)
            return
        outputs = forward_pass(model, CLASSES, batch, qkv=True)
        plain = forward_pass(model, CLASSES, batch)
    assert outputs.qkv is not None and plain.qkv is None
    assert len(outputs.qkv) == model.config.num_hidden_layers
    widths = query_key_value.widths(model.config)
    for layer in outputs.qkv:
        for kind, state in layer._asdict().items():
            assert state.shape == (2, 17, widths[kind])
        # Not one projection for another, and not the same tokens twice.
        assert not any(torch.equal(layer[i], layer[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
        assert not torch.equal(layer.query[0, 1], layer.query[0, 2])
    assert torch.equal(outputs.logits, plain.logits)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("family", ["fnet", "xlnet"])
def test_a_family_that_has_none_is_refused_before_any_model_is_built(family):
    with pytest.raises(UserError, match=f"{family}: its layers have no projections .*: take a method that does not"):
        query_key_value.widths(families.config(family))


# Attention without terms of position: scores are queries times keys.
@pytest.mark.parametrize(
    "family", ["bert", "roberta", "distilbert", "electra", "albert", "mobilebert", "megatron-bert"]
)
def test_the_attention_scores_follow_from_them(family):
    model, batch = families.model(family, CLASSES), rows_of((17, 9), family)
    with torch.no_grad():
        outputs = forward_pass(model, CLASSES, batch, attention=True, qkv=True)
    for scores, layer in zip(outputs.attention, outputs.qkv, strict=True):
        heads = scores.shape[1]
        query, key = (state.unflatten(-1, (heads, -1)).transpose(1, 2) for state in (layer.query, layer.key))
        expected = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        for row, length in enumerate((17, 9)):
            torch.testing.assert_close(
                scores[row, :, :length, :length], expected[row, :, :length, :length], rtol=1e-4, atol=1e-5
            )


def by_hand(model, family, state):
    """The three of a model's first layer, from its weights."""
    if family == "modernbert":
        layer = model.model.layers[0]
        return (state @ layer.attn.Wqkv.weight.T).chunk(3, -1)
    if family == "deberta":
        own = model.deberta.encoder.layer[0].attention.self
        heads = [own.in_proj.weight[24 * h : 24 * (h + 1)] for h in range(2)]  # 2 heads of 8 numbers, three together
        cuts = [torch.cat([state @ w[8 * part : 8 * part + 8].T for w in heads], -1) for part in range(3)]
        return cuts[0] + own.q_bias, cuts[1], cuts[2] + own.v_bias
    own = model.deberta.encoder.layer[0].attention.self
    parts = (own.query_proj, own.key_proj, own.value_proj)
    return [state @ part.weight.T + part.bias for part in parts]


@pytest.mark.parametrize("family", ["modernbert", "deberta", "deberta-v2 (v3)"])
def test_projections_that_are_one_or_are_used_twice_are_taken_apart(family):
    model, batch = families.model(family, CLASSES), rows_of((17, 9), family)
    with torch.no_grad():
        outputs = forward_pass(model, CLASSES, batch, hidden=True, qkv=True)
        # ModernBERT's first layer has no norm of its own.
        expected = by_hand(model, family, outputs.hidden[0])
    for state, value in zip(outputs.qkv[0], expected, strict=True):
        torch.testing.assert_close(state[0], value[0], rtol=1e-4, atol=1e-5)


def test_padding_changes_none_at_real_tokens():
    for kind in ("bert", "deberta-v2", "distilbert"):
        model, batch = tiny.model(kind).eval(), tiny.batch()
        real = batch["attention_mask"].bool()
        narrow = forward_pass(model, TASK, batch, qkv=True).qkv
        wide = forward_pass(model, TASK, tiny.wider(batch, 9), qkv=True).qkv
        for layer, wider in zip(narrow, wide, strict=True):
            for state, other in zip(layer, wider, strict=True):
                torch.testing.assert_close(state[real], other[:, : real.shape[1]][real], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "deberta-v2"])
def test_gradients_pass_also_through_checkpointed_layers(kind):
    batch, gradients = tiny.batch(), []
    for checkpointed in (False, True):
        model = tiny.model(kind).train()
        if checkpointed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        layers = forward_pass(model, TASK, batch, qkv=True).qkv
        sum(state.square().sum() for layer in layers for state in layer).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) > 5
    for plain, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-5)


def test_a_compiled_model_gives_them_too(monkeypatch):
    model, batch = tiny.model("bert").eval(), tiny.batch()
    expected = forward_pass(model, TASK, batch, qkv=True).qkv
    model.compile(backend="eager")
    for layer, other in zip(expected, forward_pass(model, TASK, batch, qkv=True).qkv, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(layer, other, strict=True))


def test_rows_of_another_shape_than_the_tokens_are_refused():
    model, batch = tiny.model("bert").eval(), tiny.batch()
    with query_key_value.Collected(model) as collected, torch.no_grad():
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    rows, tokens = batch["input_ids"].shape
    assert len(collected.states(rows, tokens)) == 2
    with pytest.raises(UserError, match="bert: its layers have no projections"):
        collected.states(rows, tokens + 1)
