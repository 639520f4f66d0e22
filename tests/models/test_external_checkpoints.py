"""External checkpoints: their sizes, their shards, their heads, and what is changed so that a family works."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from distill.errors import UserError
from distill.models import loading, windows
from distill.models.forward import forward_pass
from distill.tasks.registry import load_task
from tests.helpers import families, tiny
from tests.helpers.checkpoints import build, edit, one_line, spec

TASK = load_task("qa")


@pytest.fixture
def checkpoint(tmp_path):
    """A BERT checkpoint."""
    folder = tmp_path / "checkpoint"
    tiny.model("bert").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("layers", [-3, 0, True, "2", 2.5])
def test_a_checkpoint_whose_configuration_cannot_be_built_is_refused(checkpoint, layers):
    """transformers builds a model without layers from a negative number, and calls the weights unexpected."""
    edit(checkpoint / "config.json", num_hidden_layers=layers)
    with pytest.raises(UserError) as caught:
        build(spec(checkpoint))
    message = one_line(caught)
    assert message.startswith("params.yaml: teacher.model") and str(checkpoint) in message
    with pytest.raises(UserError):
        loading.from_pretrained(str(checkpoint), TASK)


@pytest.mark.parametrize(
    "fields",
    [{"num_hidden_layers": -3}, {"hidden_size": 0}, {"num_attention_heads": -2}, {"intermediate_size": -8}],
)
def test_sizes_below_one_are_refused_in_params_too(fields):
    name, size = next(iter(fields.items()))
    # As read: section `model` itself refuses numbers of layers and heads, before anything is built.
    asked = spec().model_copy(update={"config": tiny.shape("bert", 2, 8) | fields})
    with pytest.raises(UserError) as caught:
        build(asked)
    assert f"params.yaml: teacher.model.config: {name} is {size}: give a whole number from 1 on" in one_line(caught)


@pytest.mark.parametrize(
    "shard", ["../../etc/passwd", "/etc/passwd", "..", "a/model.safetensors", 7, None, ["model.safetensors"], ""]
)
@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_an_index_that_names_anything_but_a_file_beside_it_is_refused(checkpoint, shard, index):
    names = [name for name in load_file(checkpoint / "model.safetensors")]
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / index).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)}))
    for load in (lambda: build(spec(checkpoint)), lambda: loading.from_pretrained(str(checkpoint), TASK)):
        with pytest.raises(UserError) as caught:
            load()
        assert f"{index}: weight_map: " in one_line(caught) and repr(shard) in str(caught.value)


def test_a_sharded_checkpoint_loads(tmp_path):
    model = tiny.model("bert")
    model.save_pretrained(tmp_path, max_shard_size="2KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    loaded = build(spec(tmp_path)).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("labels", [3, 1, 7])
@pytest.mark.parametrize("head", ["questions", "classes"])
def test_a_checkpoint_with_another_number_of_labels_gets_two_outputs_for_questions(tmp_path, labels, head):
    shape = tiny.shape("bert", 2, 8) | {"vocab_size": tiny.VOCAB, "num_labels": labels}
    auto = AutoModelForQuestionAnswering if head == "questions" else AutoModelForSequenceClassification
    auto.from_config(AutoConfig.for_model(shape.pop("model_type"), **shape)).save_pretrained(tmp_path)
    said = []
    model = loading.build(spec(tmp_path), TASK, tiny.tokenizer(), 1, "teacher", said.append)
    assert forward_pass(model, TASK, tiny.batch()).logits.shape == (3, 12, 2) and model.config.num_labels == 2
    why = f"its head has {labels} outputs, not 2" if head == "questions" else "it has none for task qa"
    assert len(said) == 1 and why in said[0] and "a new head (qa_outputs.bias, …) is drawn" in said[0]
    model.save_pretrained(tmp_path / "saved")
    assert loading.from_pretrained(str(tmp_path / "saved"), TASK).qa_outputs.weight.shape == (2, 8)


def test_nothing_is_said_of_a_head_that_fits(checkpoint):
    said = []
    loading.build(spec(checkpoint), TASK, tiny.tokenizer(), 1, "teacher", said.append)
    assert said == []


@pytest.mark.parametrize("zeros", [True, False])
def test_a_mobilebert_sees_padding_as_the_end_of_a_row(tmp_path, zeros):
    """A converted checkpoint has another embedding for padding, which the last word reads as its neighbour."""
    built = families.model("mobilebert", TASK)
    with torch.no_grad():
        built.get_input_embeddings().weight[0] = 0.0 if zeros else 1.0
    built.save_pretrained(tmp_path)
    model = loading.build(spec(tmp_path), TASK, tiny.tokenizer(), 1, "teacher")
    assert not model.get_input_embeddings().weight[0].any()
    rows = [{"input_ids": list(range(2, 2 + length))} for length in (30, 16, 13)]
    windows.check_padding(model, TASK, rows, 0, "teacher")
    if not zeros:
        with pytest.raises(UserError, match="padding a row to 32 tokens moves the logits of this mobilebert"):
            windows.check_padding(built, TASK, rows, 0, "teacher")


@pytest.mark.parametrize("stated", [None, "block_sparse"])
def test_a_bigbird_attends_to_all_words_in_every_batch_unless_told_otherwise(tmp_path, stated):
    """Else it would change its attention for good at the first short batch, in training and wherever it is used."""
    fields = {} if stated is None else {"attention_type": stated}
    shape = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    families.model("big_bird", TASK, attention_type="block_sparse").save_pretrained(tmp_path)
    for given in (spec(tmp_path, **fields), spec(model_type="big_bird", **shape, **fields)):
        assert build(given).config.attention_type == (stated or "original_full")
