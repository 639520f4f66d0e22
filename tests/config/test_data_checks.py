"""Data and task that do not go together are refused before anything runs."""

from pathlib import Path

import pytest

from distill.config import reading
from distill.errors import UserError
from distill.parameters import parse
from tests.helpers import micro

SENTENCES = {"task": "classification", "data.embedded": "sentences"}
PAIRS = {"task": "classification", "data.embedded": "pairs", "data.text": "sentence1", "data.text_pair": "sentence2"}
SIMILARITY = PAIRS | {"task": "regression", "data.embedded": "similarity", "data.label": "score"}
TOPICS = {"task": "multi_label", "data.embedded": "topics", "data.text": "text", "data.label": "labels"}
FILES = {"data.source": "files"}
HUB = {"data.source": "hub", "data.name": "nyu-mll/glue"}


def read(changes):
    """The project's parameters with dotted names changed, no methods."""
    raw = reading.parse((micro.ROOT / "tests/params.yaml").read_text(), "params.yaml")
    raw["methods"] = []
    for name, value in changes.items():
        *parents, leaf = name.split(".")
        node = raw
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return parse(raw, Path("params.yaml"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        SENTENCES,
        PAIRS,
        SIMILARITY,
        TOPICS | {"training.class_weights": "balanced", "evaluate.metric": "macro_f1"},
        FILES | {"data.mismatched": "data/raw/other.json"},
        HUB | {"data.mismatched_split": "validation_mismatched", "task": "classification"},
        FILES | {"data.selection": "data/raw/chosen.json", "data.extra": {"news_2": "n.json", "reviews": "r.json"}},
        HUB | {"data.selection_split": "dev", "data.extra": {"news": "test"}},
        SENTENCES | {"data.group": "texts"},
        SENTENCES | FILES | {"data.group": "author", "data.selection": "x.tsv"},
        PAIRS | {"data.group": "sentence1"},
        SENTENCES | {"features.max_length": 64, "features.doc_stride": 64},
        SENTENCES | FILES | {"data.labels": [0, "one"], "data.strip_html": True},
    ],
)
def test_what_goes_together_is_taken(changes):
    assert read(changes).task == changes.get("task", "qa")


@pytest.mark.parametrize(
    ("group", "column"),
    [(None, None), ("texts", None), ("author", "author"), ("column:texts", "texts"), ("column:column:x", "column:x")],
)
def test_a_column_of_any_name_can_make_groups(group, column):
    assert read(SENTENCES | {"data.group": group}).data.group_column == column


def test_classes_given_as_numbers_are_names():
    assert read(SENTENCES | {"data.labels": [0, 1]}).data.labels == ["0", "1"]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"task": "classification"}, ("data.embedded is 'questions'", "sentences or pairs", "task to qa")),
        (TOPICS | {"data.embedded": "pairs"}, ("data.embedded is 'pairs'", "to topics, or task to classification")),
        (TOPICS | {"data.text_pair": "other"}, ("data.text_pair is 'other'", "set it to null")),
        (TOPICS | {"data.label_separator": ""}, ("data.label_separator",)),
        (SENTENCES | {"task": "qa"}, ("data.embedded is 'sentences'", "task to classification")),
        (SENTENCES | {"task": "regression"}, ("set data.embedded to similarity",)),
        (PAIRS | {"data.text_pair": None}, ("data.text_pair is None", "sentence2")),
        (SENTENCES | {"data.text_pair": "x"}, ("data.text_pair is 'x'", "set it to null")),
        ({"data.mismatched": "x.json"}, ("data.mismatched is 'x.json'", "data/none")),
        (FILES | {"data.mismatched_split": "x"}, ("data.mismatched_split is 'x'", "set it to null")),
        ({"data.selection": "x.json"}, ("data.selection is 'x.json'", "data/none")),
        (FILES | {"data.selection_split": "x"}, ("data.selection_split is 'x'", "set it to null")),
        ({"data.extra": {"news": "n.json"}}, ("data.extra", "'embedded'", "set it to {}")),
        (FILES | {"data.extra": {"News": "n.json"}}, ("data.extra: 'News' is no name", "small letters")),
        (FILES | {"data.extra": {"tuned_a": "n.json"}}, ("'tuned_a': scores that begin with tuned_", "another name")),
        (FILES | {"data.extra": {"validation": "n.json"}}, ("'validation'", "another name")),
        (
            FILES | {"data.extra": {"a": "m.json", "a_b": "n.json"}},
            ("'a_b': scores that begin with a_", "another name"),
        ),
        (FILES | {"data.extra": {"rouge": "n.json"}, "evaluate.extra": ["rouge"]}, ("begin with rouge_",)),
        (FILES | {"data.extra": {"a": "n.json"}, "evaluate.extra": ["a_b"]}, ("begin with a_b_",)),
        (FILES | {"data.extra": {"a": "n.json", "b": "n.json"}}, ("data.extra.a is 'n.json', as data.extra.b", "file")),
        (HUB | {"data.extra": {"a": "train"}}, ("data.extra.a is 'train', as data.train_split is", "another split")),
        (FILES | {"data.extra": ["n.json"]}, ("data.extra",)),
        (FILES | {"data.extra": {"a": 1}}, ("data.extra.a",)),
        ({"data.group": "texts"}, ("data.group is 'texts' but task is 'qa'", "whole articles")),
        (SENTENCES | {"data.group": "label"}, ("data.group and data.label", "'label'")),
        (SENTENCES | {"data.group": "column:"}, ("data.group is 'column:'", "name a column")),
        (
            SENTENCES | FILES | {"data.group": "texts", "data.selection": "x"},
            ("data.selection names", "set data.group"),
        ),
        ({"features.doc_stride": 128}, ("doc_stride 128", "max_length 128")),
        ({"data.text_pair": "x"}, ("data.text_pair is 'x' but task is 'qa'",)),
        ({"data.labels": ["a", "b"]}, ("data.labels is ['a', 'b'] but task is 'qa'",)),
        ({"data.strip_html": True}, ("data.strip_html is True but task is 'qa'", "set it to false")),
        (SENTENCES | {"data.max_train_context": 100}, ("data.max_train_context is 100",)),
        (SENTENCES | {"data.label": "sentence"}, ("name the column 'sentence'",)),
        (SIMILARITY | {"data.labels": ["a", "b"]}, ("data.labels", "'regression'", "no classes")),
        (SENTENCES | {"data.labels": ["a"]}, ("data.labels is ['a']", "two classes or more")),
        (SENTENCES | {"data.labels": ["a", "a"]}, ("each once",)),
        (SENTENCES | {"data.labels": [True, "true"]}, ("each once",)),
        (SENTENCES | {"data.labels": [1.5, "a"]}, ("data.labels", "string")),
        (SENTENCES | {"data.source": "hub"}, ("data.name",)),
    ],
)
def test_contradictions_are_named_with_the_fix(changes, parts):
    with pytest.raises(UserError) as caught:
        read(changes)
    message = str(caught.value)
    assert message.startswith("params.yaml: ") and "\n" not in message
    assert all(part in message for part in parts), message
