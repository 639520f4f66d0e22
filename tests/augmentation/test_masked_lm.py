"""The masked-LM generator: its training, the places, the draws, and what a checkpoint of it must hold."""

import math

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForQuestionAnswering

from distill.augmentation import masked_lm
from distill.config.schema import Model
from distill.errors import UserError
from distill.models import loading
from distill.models.forward import forward_pass
from distill.training import trainer
from distill.training.run import TrainingRun
from tests.helpers import masked, reference, tiny


def objective(kind="bert", share=0.3, **fields):
    return masked_lm.MaskedLanguageModelling(masked.generator(kind, **fields), tiny.tokenizer(), share)


def seen_by(module, batch, seed):
    """What the model was given, and where it was asked, in a forward with this seed."""
    given = []
    hook = module.model.base_model.register_forward_pre_hook(
        lambda part, args, named: given.append(named.get("input_ids", args[0] if args else None)), with_kwargs=True
    )
    torch.manual_seed(seed)
    terms = module(**batch)
    hook.remove()
    torch.manual_seed(seed)
    ordinary = batch["attention_mask"].bool() & (batch["input_ids"] >= len(masked.SPECIAL))
    return given[0], masked_lm.choose(ordinary, module.share), terms


@pytest.mark.parametrize("kind", masked.ARCHITECTURES)
def test_the_loss_is_the_formula_in_value_and_gradient(kind):
    module, batch = objective(kind), masked.batch("classification")
    given, places, terms = seen_by(module, batch, seed=3)
    copy = tiny.double(module.model)
    terms["loss"].backward()
    inputs = {"input_ids": given, "attention_mask": batch["attention_mask"]}
    if kind != "distilbert":
        inputs["token_type_ids"] = batch["token_type_ids"]
    logits = copy(**inputs).logits
    total = 0.0
    for row, place in places.nonzero().tolist():
        total = total - reference.log_p(logits[row, place])[batch["input_ids"][row, place]]
    (total / int(places.sum())).backward()
    reference.same_value(terms["masked_lm"], total / int(places.sum()))
    reference.same_value(terms["loss"], total / int(places.sum()))
    reference.same_gradients(module.model, copy)


@pytest.mark.parametrize("kind", masked.ARCHITECTURES)
def test_logits_at_places_are_those_of_the_whole_model_and_the_head_sees_no_other_place(kind):
    model, batch = masked.generator(kind).eval(), masked.batch("classification")
    places = torch.rand(batch["input_ids"].shape, generator=torch.Generator().manual_seed(1)) < 0.2
    sizes = []
    output = model.get_output_embeddings()
    hook = output.register_forward_hook(lambda part, args, found: sizes.append(found.shape[:-1].numel()))
    found = masked_lm.logits_at(model, batch, places)
    hook.remove()
    expected = forward_pass(model, masked_lm.MaskedLM(), batch).logits[places]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.shape == (int(places.sum()), tiny.VOCAB) and sizes == [int(places.sum())]


def test_no_tensor_over_all_tokens_and_the_vocabulary_is_ever_made():
    """(B, L, V) is gigabytes at 128,000 words: the largest tensor with a vocabulary axis has a row per chosen place."""
    vocabulary, batch = 4001, masked.batch("classification")
    model, sizes = masked.generator(vocab_size=vocabulary), []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor) and found.dim() and found.shape[-1] == vocabulary:
                sizes.append(found.numel() // vocabulary)
            return found

    module = masked_lm.MaskedLanguageModelling(model, tiny.tokenizer(), 0.3)
    places = masked_lm.choose(batch["attention_mask"].bool(), 0.1)
    with Watch():
        module(**batch)
        logits = masked_lm.logits_at(model, batch, places)
        masked_lm.sample(logits, 1.0, torch.arange(5))
    assert sizes and max(sizes) < batch["input_ids"].numel() / 3


def test_bert_s_eighty_ten_ten_at_places_that_are_neither_special_nor_padding():
    module, batch = objective(share=0.5), masked.batch("classification")
    ids, ordinary = batch["input_ids"], batch["input_ids"] >= len(masked.SPECIAL)
    counts = {"mask": 0, "same": 0, "other": 0}
    for seed in range(300):
        given, places, _ = seen_by(module, batch, seed)
        assert torch.equal(given[~places], ids[~places]) and not (places & ~ordinary).any()
        assert not (given[places] < len(masked.SPECIAL) - 1).any()  # the mask is the last special token
        masks, same = given[places] == 4, given[places] == ids[places]
        counts["mask"] += int(masks.sum())
        counts["same"] += int(same.sum())
        counts["other"] += int((~masks & ~same).sum())
    total = sum(counts.values())
    assert total > 4000
    for kind, share in (("mask", 0.8), ("same", 0.1 + 0.1 / 35), ("other", 0.1 - 0.1 / 35)):
        assert abs(counts[kind] / total - share) < 4 * math.sqrt(share * (1 - share) / total)


def test_the_same_share_of_every_row_is_chosen_evenly_and_at_least_one_place():
    eligible = torch.zeros(4, 30, dtype=torch.bool)
    eligible[0, 2:22], eligible[1, 5:7], eligible[2, 9] = True, True, True
    hits = torch.zeros(4, 30)
    for seed in range(400):
        torch.manual_seed(seed)
        places = masked_lm.choose(eligible, 0.3)
        assert places.sum(1).tolist() == [6, 1, 1, 0] and not (places & ~eligible).any()
        hits += places
    assert (hits[0, 2:22] / 400 - 0.3).abs().max() < 0.1 and (hits[1, 5:7] / 400 - 0.5).abs().max() < 0.1


def test_padding_changes_no_draw():
    eligible = torch.rand(5, 16, generator=torch.Generator().manual_seed(0)) < 0.6
    chosen = []
    for wider in (0, 8):
        torch.manual_seed(2)
        chosen.append(masked_lm.choose(torch.nn.functional.pad(eligible, (0, wider)), 0.4))
    assert torch.equal(chosen[1][:, :16], chosen[0]) and not chosen[1][:, 16:].any()


def test_more_padding_changes_no_loss():
    module, losses = objective(), []
    for batch in (masked.batch("classification"), tiny.wider(masked.batch("classification"), 9)):
        torch.manual_seed(4)
        losses.append(module(**batch)["loss"])
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)


def test_a_batch_without_words_gives_no_nan():
    batch = masked.batch("classification")
    batch["input_ids"] = torch.where(batch["attention_mask"].bool(), 1, 0)
    module = objective()
    loss = module(**batch)["loss"]
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())


def test_a_draw_is_one_hot_in_value_and_soft_in_gradient_and_never_special():
    logits = (
        torch.randn(6, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float().requires_grad_()
    )
    special, weights = torch.tensor([0, 3]), torch.randn(6, 12)
    torch.manual_seed(7)
    words = masked_lm.sample(logits, 0.5, special)
    (words * weights).sum().backward()
    torch.manual_seed(7)
    noise = -torch.empty(6, 12).exponential_().log().double()
    free = [i for i in range(12) if i not in (0, 3)]
    gradient = torch.zeros(6, 12, dtype=torch.float64)
    for row in range(6):
        scores = (logits.detach().double()[row, free] + noise[row, free]) / 0.5
        soft = scores.exp() / scores.exp().sum()
        assert words[row].argmax() == free[scores.argmax()]
        own = weights.double()[row, free]
        gradient[row, free] = soft * (own - (soft * own).sum()) / 0.5  # the softmax's derivative
    torch.testing.assert_close(words.detach().sum(1), torch.ones(6))
    torch.testing.assert_close(words.detach().max(1).values, torch.ones(6))
    torch.testing.assert_close(logits.grad.double(), gradient, rtol=1e-4, atol=1e-6)


def test_draws_follow_the_generators_distribution():
    logits = torch.tensor([[9.0, 0.0, 1.0, 2.0]]).expand(20000, -1)
    torch.manual_seed(0)
    found = masked_lm.sample(logits, 1.0, torch.tensor([0])).mean(0)
    expected = torch.tensor([0.0, 1.0, math.e, math.e**2]) / (1 + math.e + math.e**2)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.015)


def test_tied_weights_stay_tied_through_training_and_a_kill(tmp_path):
    results = []
    for name, stops in (("whole", [None]), ("killed", [3, None])):
        for stop in stops:
            module = objective()
            tied = module.model
            count = iter(range(100))

            def end(*_, stop=stop, count=count):
                if next(count) == stop:
                    raise KeyboardInterrupt

            module.register_forward_pre_hook(end)
            section = tiny.training(max_steps=6)
            given = (tiny.features(), 0, (), section, tiny.runtime(), 1, tmp_path / name, "test")
            training = TrainingRun(module, *given)
            if stop is not None:
                with pytest.raises(KeyboardInterrupt):
                    trainer.train(training)
                continue
            result = trainer.train(training)
            assert result.resumed_from == (2 if name == "killed" else 0)
        assert tied.get_output_embeddings().weight is tied.get_input_embeddings().weight
        results.append(module.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_training_lowers_the_loss():
    module, batch = objective(width=16), masked.batch("classification")
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2)
    torch.manual_seed(0)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = module(**batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def spec(**changes) -> Model:
    shape = tiny.shape("bert", 1, 8)
    return Model.model_validate({"path": None, "revision": None, "config": shape} | changes)


def test_build_save_and_load_again(tmp_path):
    tokenizer = tiny.tokenizer()
    built = masked_lm.build(spec(), tokenizer, seed=3, train=True)
    assert built.config.vocab_size == len(tokenizer) and built.config.pad_token_id == tokenizer.pad_token_id
    loading.save(built, tokenizer, tmp_path)
    again, plain = masked_lm.load(tmp_path), AutoModelForMaskedLM.from_pretrained(tmp_path)
    for other in (again, plain):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in built.state_dict().items())
        assert other.get_output_embeddings().weight is other.get_input_embeddings().weight
    taken = masked_lm.build(spec(path=str(tmp_path), config={}), tokenizer, seed=9, train=False)
    assert all(torch.equal(value, taken.state_dict()[name]) for name, value in built.state_dict().items())


def test_a_checkpoint_without_the_head_may_be_trained_but_not_taken_as_it_is(tmp_path):
    tokenizer = tiny.tokenizer()
    loading.save(tiny.model("bert", 1, 8), tokenizer, tmp_path)
    named = spec(path=str(tmp_path), config={})
    trained = masked_lm.build(named, tokenizer, seed=3, train=True)
    encoder = AutoModelForQuestionAnswering.from_pretrained(tmp_path).bert.state_dict()
    assert all(torch.equal(value, trained.bert.state_dict()[name]) for name, value in encoder.items())
    with pytest.raises(UserError, match=r"generator\.model\.path.*no masked-LM head.*generator\.train to true"):
        masked_lm.build(named, tokenizer, seed=3, train=False)
    with pytest.raises(UserError, match="no masked-LM head"):
        masked_lm.load(tmp_path)


def test_a_model_with_fewer_words_than_the_tokenizer_is_refused(tmp_path):
    loading.save(masked.generator(vocab_size=30), tiny.tokenizer(), tmp_path)
    with pytest.raises(UserError, match=r"generator\.model\.path.*30 embeddings, the tokenizer 40"):
        masked_lm.build(spec(path=str(tmp_path), config={}), tiny.tokenizer(), seed=3, train=True)


def test_a_tokenizer_without_a_mask_is_refused():
    tokenizer = tiny.tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(UserError, match=r"features\.tokenizer\.path.*no mask token"):
        masked_lm.MaskedLanguageModelling(masked.generator(), tokenizer, 0.15)
