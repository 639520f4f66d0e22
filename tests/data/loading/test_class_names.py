"""Names of classes, and where the data's classes are among the rows of a head."""

from types import SimpleNamespace

import pytest

from distill.data.loading import class_names


def test_names_and_orders():
    assert class_names.named({"1": "b", 0: "a"}) == ["a", "b"]
    with pytest.raises(ValueError, match="its keys are 0, 2"):
        class_names.named({0: "a", 2: "b"})
    assert class_names.order(["a", "b"], ["b", "a"]) == [1, 0]
    assert class_names.order(["not_entailment", "entailment"], ["entailment", "not entailment"]) == [1, 0]
    assert class_names.order(["a", "b"], ["a", "c"]) is None and class_names.order(["a", "a"], ["a", "a"]) is None
    assert class_names.is_generic(["LABEL_0", "LABEL_1"]) and not class_names.is_generic(["LABEL_0", "b"])


@pytest.mark.parametrize(
    ("id2label", "label2id", "expected"),
    [
        ({0: "no", 1: "yes"}, {"no": 0, "yes": 1}, ["no", "yes"]),
        ({0: "LABEL_0", 1: "LABEL_1"}, {"yes": 1, "no": 0}, ["no", "yes"]),
        ({0: "no", 1: "yes"}, {"LABEL_0": 0, "LABEL_1": 1}, ["no", "yes"]),
        ({0: "LABEL_0", 1: "LABEL_1"}, {"yes": 1}, ["LABEL_0", "LABEL_1"]),
        ({0: "LABEL_0", 1: "LABEL_1"}, None, ["LABEL_0", "LABEL_1"]),
    ],
)
def test_a_head_s_names_are_those_of_id2label_or_else_of_label2id(id2label, label2id, expected):
    assert class_names.of_head(SimpleNamespace(id2label=id2label, label2id=label2id)) == expected
