"""A fine-tuned classifier's head rows are put in the order of the data's classes, by name."""

import json

import pytest
import torch

from distill.config.schema import Model
from distill.errors import UserError
from distill.models import loading
from distill.models.forward import forward_pass
from distill.tasks.registry import load_task
from tests.helpers import families, tiny

STORED = ("bad", "good", "odd")


def checkpoint(folder, family="bert", names=STORED, **fields):
    """A classifier whose head has rows of these names; returns the model."""
    task = load_task("classification", labels=names)
    model = families.model(family, task, **fields)
    model.save_pretrained(folder)
    return model


def build(folder, classes, **config):
    said = []
    spec = Model(path=str(folder), revision=None, config=config)
    task = load_task("classification", labels=classes)
    model = loading.build(spec, task, tiny.tokenizer(), 1, "teacher", said.append)
    return model, task, said


def logits(model, task):
    with torch.no_grad():
        return forward_pass(model.eval(), task, tiny.batch()).logits


FAMILIES = [
    *("bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert", "xlnet", "flaubert", "squeezebert"),
    *("mpnet", "albert", "mobilebert", "funnel", "longformer"),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_put_in_the_datas_order(tmp_path, family):
    stored = checkpoint(tmp_path, family, **({} if family != "mobilebert" else {"classifier_activation": False}))
    if family == "mobilebert":
        torch.nn.init.zeros_(stored.get_input_embeddings().weight[0].data)
    model, task, said = build(tmp_path, ("good", "odd", "bad"))
    torch.testing.assert_close(logits(model, task), logits(stored, task)[:, [1, 2, 0]])
    assert list(model.config.id2label.values()) == ["good", "odd", "bad"] and model.config.label2id["bad"] == 2
    assert len(said) == 1 and "(bad, good, odd) are put in the data's order: good, odd, bad" in said[0]
    model.save_pretrained(tmp_path / "again")
    again, task, said = build(tmp_path / "again", ("good", "odd", "bad"))
    assert torch.equal(logits(again, task), logits(model, task)) and said == []


def test_as_many_classes_as_the_width_do_not_confuse_the_head(tmp_path):
    """RoBERTa's head has a dense layer of the same shape before its last one."""
    names = [f"c{number}" for number in range(families.WIDTH)]
    stored = checkpoint(tmp_path, "roberta", names)
    model, task, _ = build(tmp_path, names[::-1])
    torch.testing.assert_close(logits(model, task), logits(stored, task).flip(1))


@pytest.mark.parametrize("names", [("BAD", "Good", "ODD"), ("Bad ", "good", "o_d-d")])
def test_case_spaces_and_hyphens_do_not_matter(tmp_path, names):
    stored = checkpoint(tmp_path, names=names)
    model, task, said = build(tmp_path, ("odd", "good", "bad"))
    torch.testing.assert_close(logits(model, task), logits(stored, task)[:, [2, 1, 0]])
    assert len(said) == 1


def test_names_that_differ_in_case_only_are_told_apart(tmp_path):
    stored = checkpoint(tmp_path, names=("US", "us", "them"))
    model, task, _ = build(tmp_path, ("us", "US", "them"))
    torch.testing.assert_close(logits(model, task), logits(stored, task)[:, [1, 0, 2]])


@pytest.mark.parametrize(
    "classes",
    [("bad", "good", "strange"), ("negative", "neutral", "positive"), ("bad", "Bad", "good"), ("1", "2", "3")],
)
def test_other_names_are_refused(tmp_path, classes):
    checkpoint(tmp_path)
    with pytest.raises(UserError) as caught:
        build(tmp_path, classes)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("params.yaml: teacher.model.path", "bad, good, odd", ", ".join(classes), "id2label", "data.labels"):
        assert part in message


@pytest.mark.parametrize("keys", [int, str])
def test_the_user_may_say_which_class_each_row_is(tmp_path, keys):
    stored = checkpoint(tmp_path)
    names = {keys(0): "negative", keys(1): "positive", keys(2): "neutral"}
    model, task, _ = build(tmp_path, ("negative", "neutral", "positive"), id2label=names)
    torch.testing.assert_close(logits(model, task), logits(stored, task)[:, [0, 2, 1]])
    assert list(model.config.id2label.values()) == ["negative", "neutral", "positive"]


@pytest.mark.parametrize("generic", [("LABEL_0", "LABEL_1", "LABEL_2"), ("0", "1", "2")])
def test_generic_names_are_taken_in_order_and_it_is_said(tmp_path, generic):
    stored = checkpoint(tmp_path, names=generic)
    model, task, said = build(tmp_path, ("x", "y", "z"))
    assert torch.equal(logits(model, task), logits(stored, task))
    assert len(said) == 1 and "does not name its classes" in said[0] and "x, y, z, in this order" in said[0]


def test_generic_names_in_another_order_are_refused(tmp_path):
    checkpoint(tmp_path, names=("LABEL_1", "LABEL_0", "LABEL_2"))
    with pytest.raises(UserError, match="has the classes LABEL_1, LABEL_0, LABEL_2"):
        build(tmp_path, ("x", "y", "z"))


@pytest.mark.parametrize("classes", [("a", "b"), ("entailment", "neutral", "contradiction", "other")])
def test_another_number_of_classes_gets_a_new_head_and_it_is_said(tmp_path, classes):
    checkpoint(tmp_path)
    model, task, said = build(tmp_path, classes)
    assert logits(model, task).shape[1] == len(classes)
    assert len(said) == 1 and f"its head has 3 outputs, not {len(classes)}: a new head" in said[0]


def test_an_encoder_without_a_head_has_no_names(tmp_path):
    families.model("bert", load_task("classification", labels=STORED)).bert.save_pretrained(tmp_path)
    _, _, said = build(tmp_path, ("x", "y", "z"))
    assert len(said) == 1 and "it has none for task classification: a new head" in said[0]


@pytest.mark.parametrize("damage", [{"a": "bad"}, {"1": "bad", "2": "good", "3": "odd"}])
def test_damaged_names_give_one_line(tmp_path, damage):
    checkpoint(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"id2label": damage}))
    with pytest.raises(UserError) as caught:
        build(tmp_path, STORED)
    assert "\n" not in str(caught.value) and "params.yaml: teacher.model" in str(caught.value)


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "distilbert"])
def test_rows_of_a_head_for_each_token_are_put_in_order_too(tmp_path, family):
    names = ("O", "B-X", "I-X")
    task = load_task("token_classification", labels=names)
    stored = families.model(family, task)
    stored.save_pretrained(tmp_path)
    wanted = load_task("token_classification", labels=("O", "I-X", "B-X"))
    spec, said = Model(path=str(tmp_path), revision=None, config={}), []
    model = loading.build(spec, wanted, tiny.tokenizer(), 1, "teacher", said.append, loading.Ready(None))
    torch.testing.assert_close(logits(model, wanted), logits(stored, task)[..., [0, 2, 1]])
    assert len(said) == 1 and "O, I-X, B-X" in said[0]
