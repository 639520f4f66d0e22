"""A checkpoint that is taken as it is: its head is the task's, its rows are matched with the data's classes by name."""

from itertools import permutations

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification

from distill.config.schema import Model
from distill.data.loading import ready
from distill.errors import UserError
from distill.models import loading
from distill.models.forward import forward_pass
from distill.tasks.registry import load_task
from tests.helpers import families, tiny
from tests.helpers.checkpoints import edit, one_line

MNLI = ("entailment", "neutral", "contradiction")
GENERIC = ("LABEL_0", "LABEL_1", "LABEL_2")


def checkpoint(folder, names, family="bert", seed=0):
    """A classifier whose head has rows of these names; returns the model."""
    model = families.model(family, load_task("classification", labels=names), seed)
    model.save_pretrained(folder)
    return model


def take(folder, task, labels=None):
    said = []
    spec = Model(path=str(folder), revision=None, config={})
    model = loading.build(spec, task, tiny.tokenizer(), 1, "teacher", said.append, loading.Ready(labels))
    return model, said


def classes(names=MNLI):
    return load_task("classification", labels=names)


def refused(folder, task, labels=None):
    """What is said of a checkpoint by the configuration alone, or else when it is loaded."""
    names = list(task.model_fields().get("id2label", {}).values()) if task.name == "classification" else []
    with pytest.raises(UserError) as loaded:
        take(folder, task, labels)
    message = one_line(loaded)
    try:
        ready.check(str(folder), None, labels, task.name, names, "teacher")
    except UserError as early:
        assert str(early) == message
        return message, True
    return message, False


def logits(model, task):
    with torch.no_grad():
        return forward_pass(model.eval(), task, tiny.batch()).logits


@pytest.mark.parametrize("stored", list(permutations(MNLI)))
@pytest.mark.parametrize("spelling", [str, str.upper])
def test_logits_land_by_name_in_all_orders_of_three_classes(tmp_path, stored, spelling):
    before = checkpoint(tmp_path, [spelling(name) for name in stored])
    model, said = take(tmp_path, classes())
    expected = logits(before, classes())[:, [stored.index(name) for name in MNLI]]
    torch.testing.assert_close(logits(model, classes()), expected)
    assert list(model.config.id2label.values()) == list(MNLI)
    assert len(said) == (stored != MNLI) and all(
        "put in the data's order: entailment, neutral" in line for line in said
    )


@pytest.mark.parametrize("stored", list(permutations(MNLI)))
def test_the_user_says_what_the_rows_of_a_head_without_names_are(tmp_path, stored):
    before = checkpoint(tmp_path, GENERIC)
    model, _ = take(tmp_path, classes(), list(stored))
    expected = logits(before, classes())[:, [stored.index(name) for name in MNLI]]
    torch.testing.assert_close(logits(model, classes()), expected)


@pytest.mark.parametrize("names", [GENERIC, ("0", "1", "2"), ("e", "n", "c"), ("entailment", "neutral", "LABEL_2")])
def test_other_names_are_refused_in_a_line_with_both_lists_and_the_fix(tmp_path, names):
    checkpoint(tmp_path, names)
    message, early = refused(tmp_path, classes())
    assert early and message.startswith("params.yaml: teacher.labels: null")
    for part in (", ".join(names), ", ".join(MNLI), "teacher.labels: [entailment, neutral, contradiction]"):
        assert part in message


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (["entailment", "neutral"], ["2 names", "has 3 rows (LABEL_0, LABEL_1, LABEL_2)"]),
        ([*MNLI, "other"], ["4 names", "has 3 rows"]),
        (["entailment", "neutral", "contradictory"], ["'contradictory' is no class of the data (entailment, neutral,"]),
        (["entailment", "Entailment", "neutral"], ["'Entailment' is no class of the data"]),
    ],
)
def test_labels_that_are_not_the_data_s_classes_are_refused(tmp_path, labels, parts):
    checkpoint(tmp_path, GENERIC)
    message, early = refused(tmp_path, classes(), labels)
    assert early and message.startswith("params.yaml: teacher.labels: ") and all(part in message for part in parts)


def test_names_that_only_label2id_has_count(tmp_path):
    before = checkpoint(tmp_path, GENERIC)
    edit(tmp_path / "config.json", label2id={"contradiction": 0, "neutral": 1, "entailment": 2})
    model, _ = take(tmp_path, classes())
    torch.testing.assert_close(logits(model, classes()), logits(before, classes()).flip(1))


def test_another_number_of_classes_is_refused_and_no_head_is_drawn(tmp_path):
    checkpoint(tmp_path, ("entailment", "not_entailment"))
    message, early = refused(tmp_path, classes())
    assert early and "has 2 classes (entailment, not_entailment), the data has 3" in message


def config(**fields):
    return BertConfig(**tiny.shape("bert", 1, 8) | {"vocab_size": tiny.VOCAB, "num_labels": 2} | fields)


@pytest.mark.parametrize(
    ("make", "task", "part"),
    [
        (lambda: BertForMaskedLM(config()), classes(("a", "b")), "BertForMaskedLM, not a model ForSequenceClass"),
        (lambda: BertForTokenClassification(config()), classes(("a", "b")), "BertForTokenClassification"),
        (lambda: BertForSequenceClassification(config()), load_task("qa"), "not a model ForQuestionAnswering"),
        (lambda: tiny.model("bert", 1), load_task("regression"), "not a model ForSequenceClassification"),
        (lambda: BertForSequenceClassification(config()), load_task("regression"), "has 2 outputs, not 1"),
    ],
)
def test_a_head_of_another_task_is_refused_with_the_reason(tmp_path, make, task, part):
    make().save_pretrained(tmp_path)
    message, early = refused(tmp_path, task)
    assert early and part in message and "set teacher.train: true" in message


@pytest.mark.parametrize("task", [load_task("qa"), load_task("regression"), classes(("LABEL_0", "LABEL_1"))])
def test_a_configuration_that_does_not_say_what_it_is_hides_no_missing_head(tmp_path, task):
    families.model("bert", task).bert.save_pretrained(tmp_path)
    edit(tmp_path / "config.json", architectures=None)
    message, early = refused(tmp_path, task)
    assert not early and "has no head that is ready" in message and "set teacher.train: true" in message


def test_a_head_whose_pooler_lacks_is_not_ready(tmp_path):
    model = families.model("bert", classes())
    weights = {name: weight for name, weight in model.state_dict().items() if "pooler" not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    assert "pooler" in refused(tmp_path, classes())[0]


@pytest.mark.parametrize("name", ["qa", "regression"])
def test_a_head_for_questions_or_numbers_is_taken_weight_for_weight(tmp_path, name):
    task = load_task(name)
    before = families.model("bert", task)
    before.save_pretrained(tmp_path)
    ready.check(str(tmp_path), None, None, name, [], "teacher")
    model, said = take(tmp_path, task)
    assert said == [] and torch.equal(logits(model, task), logits(before, task))


def test_a_checkpoint_that_is_not_there_is_one_line():
    with pytest.raises(UserError) as caught:
        ready.check("./nowhere", None, None, "qa", [], "teacher")
    assert one_line(caught).startswith("params.yaml: teacher.model.path: cannot load './nowhere'")


def test_rows_of_a_head_for_several_labels_land_by_name(tmp_path):
    stored = load_task("multi_label", labels=("neutral", "entailment", "contradiction"))
    model, task = families.model("bert", stored, 0), load_task("multi_label", labels=MNLI)
    model.save_pretrained(tmp_path)
    taken, (remark,) = take(tmp_path, task)
    assert (
        torch.allclose(logits(taken, task), logits(model, stored)[:, [1, 0, 2]]) and "put in the data's order" in remark
    )


@pytest.mark.parametrize(("kind", "taken"), [(None, True), ("single_label_classification", False)])
def test_a_head_trained_as_a_choice_of_one_is_no_head_for_several_labels(tmp_path, kind, taken):
    checkpoint(tmp_path, MNLI)
    edit(tmp_path / "config.json", problem_type=kind)
    task = load_task("multi_label", labels=MNLI)
    if taken:  # a configuration that does not say
        ready.check(str(tmp_path), None, None, "multi_label", MNLI, "teacher")
        return
    message, early = refused(tmp_path, task)
    assert early and "problem_type single_label_classification" in message
