"""Attention scores before the softmax: what they are, for every architecture, and that gradients pass."""

import pytest
import torch

from distill.errors import UserError
from distill.models import attention_scores
from distill.models.forward import forward_pass
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from tests.helpers import tiny

TASK = load_task("qa")
KINDS = ["bert", "roberta", "distilbert", "electra", "deberta-v2"]


def found(model, batch, **changes):
    return forward_pass(model.eval(), TASK, batch, attention=True, **changes)


def eager(model, batch):
    """The probabilities that transformers itself gives, and the logits."""
    model.set_attn_implementation("eager")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    if model.config.model_type == "distilbert":
        inputs.pop("token_type_ids")
    return model(**inputs, output_attentions=True)


@pytest.mark.parametrize("kind", KINDS)
def test_their_softmax_is_the_attention_that_transformers_gives(kind):
    model, batch = tiny.model(kind, layers=3).eval(), tiny.batch()
    outputs = found(model, batch)
    expected = eager(model, batch)
    assert len(outputs.attention) == len(expected.attentions) == 3
    real = batch["attention_mask"].bool()
    for scores, probabilities in zip(outputs.attention, expected.attentions, strict=True):
        assert scores.shape == (3, 2, 12, 12)
        odds = (scores.double() - scores.double().amax(-1, keepdim=True)).exp()
        own = (odds / odds.sum(-1, keepdim=True)).transpose(1, 2)[real]
        torch.testing.assert_close(own, probabilities.double().transpose(1, 2)[real], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(outputs.logits[..., 0][real], expected.start_logits[real])


def test_they_are_queries_times_keys_by_the_root_of_the_width_plus_the_mask():
    model, batch = tiny.model("bert", layers=2).eval(), tiny.batch()
    outputs = found(model, batch, hidden=True)
    own = tiny.double(model)
    lengths = batch["attention_mask"].sum(1).tolist()
    for layer in range(2):
        part = own.bert.encoder.layer[layer].attention.self
        for row, length in enumerate(lengths):
            state = outputs.hidden[layer][row].double()
            for head in range(2):
                cut = slice(4 * head, 4 * head + 4)  # 8 numbers, 2 heads
                query = state @ part.query.weight[cut].T + part.query.bias[cut]
                key = state @ part.key.weight[cut].T + part.key.bias[cut]
                expected = query @ key.T / 4**0.5
                scores = outputs.attention[layer][row, head].double()
                torch.testing.assert_close(scores[:, :length], expected[:, :length], rtol=1e-4, atol=1e-4)
                assert (scores[:, length:] < -1e30).all()


@pytest.mark.parametrize("kind", KINDS)
def test_masked_scores_are_very_low_and_real_ones_are_not(kind):
    batch = tiny.batch()
    real = batch["attention_mask"].bool()
    pairs = (real[:, :, None] & real[:, None, :])[:, None].expand(-1, 2, -1, -1)
    keys = real[:, None, None, :].expand(-1, 2, 12, -1)
    for scores in found(tiny.model(kind), batch).attention:
        assert (scores[pairs].abs() < 100).all() and (scores[~keys] <= -100).all()


@pytest.mark.parametrize("kind", KINDS)
def test_more_padding_changes_no_score_between_real_tokens(kind):
    model, batch = tiny.model(kind), tiny.batch()
    real = batch["attention_mask"].bool()
    pairs = (real[:, :, None] & real[:, None, :])[:, None].expand(-1, 2, -1, -1)
    narrow, wide = found(model, batch), found(model, tiny.wider(batch, 9))
    for one, other in zip(narrow.attention, wide.attention, strict=True):
        torch.testing.assert_close(other[..., :12, :12][pairs], one[pairs], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_through_them(kind):
    model, batch = tiny.model(kind, layers=2), tiny.batch()
    scores = forward_pass(model.train(), TASK, batch, attention=True).attention
    real = batch["attention_mask"].bool()
    pairs = (real[:, :, None] & real[:, None, :])[:, None].expand(-1, 2, -1, -1)
    scores[1][pairs].square().sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-6}
    for layer in (0, 1):
        assert any(f"layer.{layer}." in name and ("query" in name or "q_lin" in name) for name in moved), layer
        assert any(f"layer.{layer}." in name and ("key" in name or "k_lin" in name) for name in moved), layer
    assert any("word_embeddings" in name for name in moved)
    assert not any("qa_outputs" in name or "layer.1.output" in name for name in moved)


@pytest.mark.parametrize("kind", KINDS)
def test_asking_for_them_changes_no_logit(kind):
    model, batch = tiny.model(kind).eval(), tiny.batch()
    real = batch["attention_mask"].bool()
    plain = forward_pass(model, TASK, batch).logits[real]
    torch.testing.assert_close(found(model, batch).logits[real], plain, rtol=1e-4, atol=1e-5)


def test_they_are_those_before_dropout():
    model, batch = tiny.model("bert", layers=1, attention_probs_dropout_prob=0.5), tiny.batch()
    torch.manual_seed(1)
    dropped = forward_pass(model.train(), TASK, batch, attention=True)
    assert torch.equal(dropped.attention[0], found(model, batch).attention[0])
    assert not torch.equal(dropped.logits, found(model, batch).logits)


def test_nothing_is_collected_outside_the_block():
    model, batch = tiny.model("bert").eval(), tiny.batch()
    attention_scores.prepare(model)
    with attention_scores.Scores() as seen:
        forward_pass(model, TASK, batch)
    count = len(seen.scores)
    forward_pass(model, TASK, batch)
    assert count == len(seen.scores) == 2


def test_a_teacher_gives_them_without_a_gradient_and_says_so():
    teacher = OnlineTeacher(tiny.model("bert"), TASK, hidden=False, precision="fp32", attention=True)
    assert "attention" in teacher.provides
    scores = teacher(tiny.batch()).attention
    assert len(scores) == 2 and not any(one.requires_grad for one in scores)
    without = OnlineTeacher(tiny.model("bert"), TASK, hidden=False, precision="fp32")
    assert "attention" not in without.provides and without(tiny.batch()).attention is None


def test_an_architecture_without_scores_is_refused_by_name(monkeypatch):
    model = tiny.model("bert", layers=2).eval()
    with attention_scores.Scores() as seen:
        forward_pass(model, TASK, tiny.batch())  # a fused kernel
    assert model.config._attn_implementation == "sdpa" and not seen.scores
    with pytest.raises(UserError, match="bert: 0 attention scores were seen for 2 layers: .* take a method that does"):
        attention_scores.check(seen.scores, model)

    def refuse(name):
        raise ValueError(f"no {name} here")

    monkeypatch.setattr(model, "set_attn_implementation", refuse)
    with pytest.raises(UserError, match="bert: attention scores are not available: no eager here"):
        attention_scores.prepare(model)
