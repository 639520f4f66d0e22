"""Building, loading and copying encoders; nothing that comes with a checkpoint is ever run."""

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from distill.errors import UserError
from distill.models import loading
from distill.models.forward import autocast, forward_pass, freeze, in_eval
from distill.models.initialization import from_layers
from distill.models.shape import num_layers
from distill.runtime.checkpoints import tensor_hashes
from distill.tasks.registry import load_task
from tests.helpers import tiny
from tests.helpers.checkpoints import build, edit, one_line, spec

TASK = load_task("qa")
KINDS = ["bert", "distilbert", "deberta-v2", "electra", "roberta"]


@pytest.fixture
def checkpoint(tmp_path):
    """A BERT checkpoint in half precision."""
    folder = tmp_path / "checkpoint"
    tiny.model("bert").half().save_pretrained(folder)
    return folder


class Evil:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("kind", KINDS)
def test_random_weights_of_the_given_shape_depend_on_the_seed_alone(kind):
    shape = tiny.shape(kind, 2, 8)
    torch.manual_seed(5)
    first = build(spec(**shape), seed=1)
    torch.manual_seed(6)
    again, other = build(spec(**shape), seed=1), build(spec(**shape), seed=2)
    assert first.config.model_type == kind
    assert (num_layers(first.config), first.config.hidden_size) == (2, 8)
    assert first.config.vocab_size == tiny.VOCAB and first.config.pad_token_id == 0
    assert {p.dtype for p in first.parameters()} == {torch.float32}
    states = [model.state_dict() for model in (first, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_a_half_precision_checkpoint_loads_as_float32(checkpoint):
    stored = load_file(checkpoint / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    for model in (loading.from_pretrained(str(checkpoint), TASK), build(spec(checkpoint))):
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        loaded = model.state_dict()
        assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in stored.items())


def test_fields_replace_a_checkpoints_own(checkpoint):
    model = build(spec(checkpoint, model_type="bert", hidden_dropout_prob=0.25))
    assert model.config.hidden_dropout_prob == 0.25
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} >= {0.25}
    assert num_layers(build(spec(checkpoint, num_hidden_layers=1)).config) == 1


def test_a_field_that_only_the_model_knows_reaches_it_and_is_stored(tmp_path):
    """DeBERTa reads cls_dropout, and its configuration does not declare it."""
    task = load_task("classification", labels=("a", "b"))
    tiny.model("deberta-v2", hidden_dropout_prob=0.25).save_pretrained(tmp_path / "checkpoint")

    def head(model):
        return model.dropout.p, model.deberta.embeddings.dropout.p, model.config.num_labels

    plain = loading.build(spec(tmp_path / "checkpoint"), task, tiny.tokenizer(), 0, "student")
    model = loading.build(spec(tmp_path / "checkpoint", cls_dropout=0.0), task, tiny.tokenizer(), 0, "student")
    assert head(plain) == (0.25, 0.25, 2) and head(model) == (0.0, 0.25, 2)
    model.save_pretrained(tmp_path / "saved")
    assert head(loading.from_pretrained(str(tmp_path / "saved"), task)) == (0.0, 0.25, 2)


def test_a_new_head_is_drawn_from_the_seed_whatever_came_before(tmp_path):
    folder = tmp_path / "encoder"
    tiny.model("bert").bert.save_pretrained(folder)
    heads = []
    for before in (1, 2):
        torch.manual_seed(before)
        heads.append(build(spec(folder), seed=3).qa_outputs.weight)
    assert torch.equal(*heads)


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"model_type": "bert", "hidden_sise": 8}, ["config.hidden_sise", "bert has no such field"]),
        ({"model_type": "brt"}, ["model.config", "brt"]),
        ({"model_type": "vit"}, ["model.config", "AutoModelForQuestionAnswering"]),
        ({"model_type": "bert", "hidden_size": "8x"}, ["model.config", "hidden_size", "8x"]),
        ({"model_type": "bert", "hidden_size": 8, "num_attention_heads": 3}, ["model.config", "(8)", "(3)"]),
        ({**tiny.shape("bert", 1, 8), "vocab_size": 10}, ["config has 10 embeddings", "40 tokens", "vocab_size"]),
    ],
)
def test_impossible_shapes_are_named(config, parts):
    with pytest.raises(UserError) as caught:
        build(spec(**config))
    message = one_line(caught)
    assert message.startswith("params.yaml: teacher.model.")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"foo": 1}, ["teacher.model.config.foo", "bert has no such field"]),
        ({"model_type": "deberta-v2"}, ["config.model_type", "'deberta-v2'", "holds a bert", "take model_type"]),
        ({"num_hidden_layers": 4}, ["32 parameters", "would be random", "teacher.model.config"]),
        ({"hidden_size": 16}, ["teacher.model.config", "not of the shape", "16"]),
    ],
)
def test_fields_that_do_not_fit_the_checkpoint_are_named(checkpoint, config, parts):
    with pytest.raises(UserError) as caught:
        build(spec(checkpoint, **config))
    message = one_line(caught)
    for part in parts:
        assert part in message


def test_a_tokenizer_with_more_tokens_than_the_checkpoint_is_refused(tmp_path):
    tiny.model("bert", vocab_size=30).save_pretrained(tmp_path / "small")
    with pytest.raises(UserError, match="has 30 embeddings, the tokenizer 40 tokens: set features.tokenizer.path"):
        build(spec(tmp_path / "small"))


@pytest.mark.parametrize("damage", ["missing", "cut", "garbage", "config", "empty"])
def test_damaged_checkpoints_give_one_line(checkpoint, damage):
    weights = checkpoint / "model.safetensors"
    if damage == "missing":
        checkpoint = checkpoint.parent / "nothing"
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:500])
    elif damage == "garbage":
        weights.write_bytes(b"garbage" * 100)
    elif damage == "config":
        (checkpoint / "config.json").write_text("{")
    else:
        weights.unlink()
    with pytest.raises(UserError) as caught:
        build(spec(checkpoint))
    message = one_line(caught)
    assert message.startswith("params.yaml: teacher.model.path: cannot load ") and str(checkpoint) in message


@pytest.mark.parametrize("known", [True, False])
def test_code_that_came_with_a_checkpoint_is_never_run(checkpoint, tmp_path, known, monkeypatch):
    trace = tmp_path / "trace"
    code = f"open({str(trace)!r}, 'w').close()\nfrom transformers import BertConfig as C, BertModel as M\n"
    (checkpoint / "code.py").write_text(code)
    kind = "bert" if known else "evilnet"
    edit(
        checkpoint / "config.json",
        model_type=kind,
        auto_map={"AutoConfig": "code.C", "AutoModel": "code.M", "AutoModelForQuestionAnswering": "code.M"},
    )
    # transformers asks on the terminal where it was not told.
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    if known:
        build(spec(checkpoint))
    else:
        with pytest.raises(UserError) as caught:
            build(spec(checkpoint))
        assert "custom code" in one_line(caught) and "trust_remote_code=True" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_code_inside_a_pickle_is_never_run(checkpoint, tmp_path, zipped):
    trace = tmp_path / "trace"
    weights = {name: tensor.float() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    (checkpoint / "model.safetensors").unlink()
    binary = checkpoint / "pytorch_model.bin"
    torch.save(weights, binary)
    loaded = build(spec(checkpoint)).state_dict()  # tensors alone are read
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())
    if zipped:
        torch.save({**weights, "evil": Evil(trace)}, binary)
    else:
        binary.write_bytes(pickle.dumps({"evil": Evil(trace)}, protocol=2))
    with pytest.raises(UserError) as caught:
        build(spec(checkpoint))
    assert "Weights only load failed" in one_line(caught)
    assert not trace.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [[2, 4], [4, 1], [1, 1, 3]])
def test_teacher_layers_are_copied_with_everything_around_them(kind, layers):
    teacher = tiny.model(kind, layers=4, seed=3)
    student = from_layers(spec(), teacher, layers, TASK, seed=0)
    assert num_layers(student.config) == len(layers)
    own, source = student.state_dict(), teacher.state_dict()
    copied = 0
    for name, tensor in own.items():
        parts = name.split(".")
        if "layer" in parts:
            number = parts.index("layer") + 1
            parts[number] = str(layers[int(parts[number])] - 1)
            copied += 1
        assert torch.equal(tensor, source[".".join(parts)]), name
    assert copied == len(layers) * sum(".layer.0." in name for name in source)
    assert {n for n in own if ".layer." not in n} == {n for n in source if ".layer." not in n}
    if kind == "deberta-v2":
        assert {"deberta.encoder.rel_embeddings.weight", "deberta.encoder.LayerNorm.weight"} <= set(own)
    assert any("qa_outputs" in name for name in own)


@pytest.mark.parametrize("kind", KINDS)
def test_all_layers_copied_give_the_teachers_outputs_and_share_no_memory(kind):
    teacher = tiny.model(kind, layers=2).eval()
    student = from_layers(spec(), teacher, [1, 2], TASK, seed=0).eval()
    batch = tiny.batch()
    before = forward_pass(teacher, TASK, batch).logits
    assert torch.equal(forward_pass(student, TASK, batch).logits, before)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert torch.equal(forward_pass(teacher, TASK, batch).logits, before)


@pytest.mark.parametrize("kind", KINDS)
def test_other_widths_than_the_teachers_are_an_error(kind):
    narrow = tiny.shape(kind, 2, 4)
    with pytest.raises(UserError) as caught:
        from_layers(spec(**narrow), tiny.model(kind, layers=4), [2, 4], TASK, seed=0)
    message = one_line(caught)
    assert "params.yaml: student.model.config" in message and "teacher's widths" in message
    assert "(4" in message or "4)" in message
    assert "(8" in message or "8)" in message


def test_another_architecture_than_the_teachers_is_an_error():
    with pytest.raises(UserError, match="'bert', but teacher_layers copies a deberta-v2"):
        from_layers(spec(**tiny.shape("bert", 2, 8)), tiny.model("deberta-v2"), [1], TASK, seed=0)
    with pytest.raises(UserError, match="student.model.config.n_layer: bert has no such field"):
        from_layers(spec(n_layer=2), tiny.model("bert"), [1], TASK, seed=0)


def test_an_architecture_without_numbered_layers_is_an_error():
    albert = tiny.shape("bert", 2, 8) | {"model_type": "albert", "embedding_size": 8, "vocab_size": tiny.VOCAB}
    teacher = build(spec(**albert))
    with pytest.raises(UserError, match="albert has no numbered layers to copy: choose another init"):
        from_layers(spec(), teacher, [1], TASK, seed=0)


def test_fields_of_the_student_change_what_is_no_weight():
    student = from_layers(spec(hidden_dropout_prob=0.5), tiny.model("bert"), [2], TASK, seed=0)
    assert student.config.hidden_dropout_prob == 0.5
    assert max(m.p for m in student.modules() if isinstance(m, torch.nn.Dropout)) == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_run_gives_logits_and_hidden_states_embeddings_first(kind):
    model, batch = tiny.model(kind).eval(), tiny.batch()
    outputs = forward_pass(model, TASK, batch, hidden=True)
    assert outputs.logits.shape == (3, 12, 2)
    assert [tuple(state.shape) for state in outputs.hidden] == [(3, 12, 8)] * 3
    assert forward_pass(model, TASK, batch).hidden is None


def test_token_types_reach_models_that_take_them_and_no_others():
    batch = tiny.batch()
    swapped = batch | {"token_type_ids": 1 - batch["token_type_ids"]}
    for kind, changes in (("bert", True), ("distilbert", False)):
        model = tiny.model(kind).eval()
        with torch.no_grad():
            pair = [forward_pass(model, TASK, given).logits for given in (batch, swapped)]
        assert torch.equal(*pair) != changes
    without = {name: value for name, value in batch.items() if name != "token_type_ids"}
    assert forward_pass(tiny.model("bert"), TASK, without).logits.shape == (3, 12, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_reaches_no_real_token(kind):
    model, batch = tiny.model(kind).eval(), tiny.batch()
    with torch.no_grad():
        narrow = forward_pass(model, TASK, batch, hidden=True)
        wide = forward_pass(model, TASK, tiny.wider(batch, 7), hidden=True)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(wide.logits[:, :12][real], narrow.logits[real], rtol=1e-4, atol=1e-5)
    for a, b in zip(wide.hidden, narrow.hidden, strict=True):
        torch.testing.assert_close(a[:, :12][real], b[real], rtol=1e-4, atol=1e-5)


def test_identical_weights_are_refused_and_any_difference_passes(tmp_path):
    teacher = tiny.model("bert")
    loading.save(teacher, tiny.tokenizer(), tmp_path)
    hashes = tensor_hashes(tmp_path)
    with pytest.raises(UserError, match="identical weights: give the student another checkpoint, or fewer layers"):
        loading.check_different(loading.from_pretrained(str(tmp_path), TASK), hashes, tmp_path)
    changed = loading.from_pretrained(str(tmp_path), TASK)
    with torch.no_grad():
        changed.qa_outputs.bias[1] += 1e-3
    loading.check_different(changed, hashes, tmp_path)
    loading.check_different(tiny.model("bert", layers=1), hashes, tmp_path)
    loading.check_different(tiny.model("bert", width=4), hashes, tmp_path)
    loading.check_different(tiny.model("electra"), hashes, tmp_path)


def test_saved_files_name_no_path_and_load_again(tmp_path, checkpoint):
    model = loading.from_pretrained(str(checkpoint), TASK)
    loading.save(model, tiny.tokenizer(), tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not any(name.endswith(".bin") for name in names)
    for path in (tmp_path / "saved").glob("*.json"):
        assert str(tmp_path) not in path.read_text(), path
    again = loading.from_pretrained(str(tmp_path / "saved"), TASK)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_freeze_in_eval_and_autocast():
    model = tiny.model("bert").train()
    with in_eval(model):
        assert not model.training
    assert model.training
    with pytest.raises(ZeroDivisionError), in_eval(model):
        _ = 1 / 0
    assert model.training
    frozen = freeze(model)
    assert not frozen.training and not any(p.requires_grad for p in frozen.parameters())
    with in_eval(frozen):
        pass
    assert not frozen.training
    product = torch.ones(2, 2)
    with autocast("cpu", "bf16"):
        assert (product @ product).dtype == torch.bfloat16
        with autocast("cpu", "fp32"):
            assert (product @ product).dtype == torch.float32


def test_heads_cut_otherwise_than_the_teachers_are_refused():
    with pytest.raises(UserError, match="num_attention_heads: 4, but teacher_layers copies 2 heads"):
        from_layers(spec(num_attention_heads=4), tiny.model("bert"), [2], TASK, seed=0)


CLASSES = load_task("classification", labels=["a", "b", "c"])


def test_a_checkpoint_without_a_pooler_gets_a_fresh_one_for_classification(checkpoint):
    """BERT's classification head reads a pooler, which checkpoints of other tasks do not have."""
    first, again = (loading.build(spec(checkpoint), CLASSES, tiny.tokenizer(), 5, "teacher") for _ in range(2))
    other = loading.build(spec(checkpoint), CLASSES, tiny.tokenizer(), 6, "teacher")
    name = "bert.pooler.dense.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])
    stored = load_file(checkpoint / "model.safetensors")
    assert torch.equal(first.bert.embeddings.word_embeddings.weight, stored[name_of_embeddings(stored)].float())
    assert first.config.num_labels == 3 and list(first.config.id2label.values()) == ["a", "b", "c"]


def name_of_embeddings(stored):
    return next(name for name in stored if name.endswith("word_embeddings.weight"))


def test_the_head_of_another_task_is_replaced_but_not_that_of_a_model_of_our_own(tmp_path):
    five = load_task("classification", labels=list("abcde"))
    shape = tiny.shape("bert", 2, 8) | {"vocab_size": tiny.VOCAB}
    loading.build(spec(**shape), five, tiny.tokenizer(), 1, "teacher").save_pretrained(tmp_path)
    found = loading.build(spec(tmp_path), CLASSES, tiny.tokenizer(), 1, "teacher")
    assert found.classifier.weight.shape == (3, 8)
    assert loading.from_pretrained(str(tmp_path), CLASSES).classifier.weight.shape == (5, 8)  # as it was trained
