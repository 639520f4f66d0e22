"""What does not go with token classification is refused before anything runs: one line with field, value and fix."""

from pathlib import Path

import pytest

from distill import parameters
from distill.config import reading
from distill.errors import UserError
from distill.methods import own_tokens
from distill.signals.manifest import Request
from distill.signals.states import Reads
from tests.helpers import micro

TASK = {
    "task": "token_classification",
    "data.embedded": "entities",
    "data.text": "text",
    "data.label": "entities",
}


def parsed(**changes):
    text = micro.params(TASK | changes)
    return parameters.parse(reading.parse(text, "params.yaml"), Path("params.yaml"))


def test_the_task_is_read_with_windows_weights_and_a_head_that_is_ready():
    params = parsed(**{"training.class_weights": "balanced", "data.labels": ["O", "B-X"], "evaluate.metric": "recall"})
    assert params.task == "token_classification" and params.data.labels == ["O", "B-X"]
    ready = {"teacher.train": False, "teacher.model.path": "x", "teacher.labels": ["O", "B-X"]}
    assert parsed(**ready, **{"features.tokenizer.path": "x"}).teacher.labels == ["O", "B-X"]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"features.doc_stride": 128}, ("doc_stride 128", "max_length 128")),
        ({"data.embedded": "sentences"}, ("data.embedded", "'sentences'", "entities")),
        ({"data.text_pair": "other"}, ("data.text_pair", "'other'", "null")),
        ({"data.strip_html": True}, ("data.strip_html", "True", "false")),
        ({"data.max_train_context": 9}, ("data.max_train_context is 9",)),
        ({"data.labels": ["O"]}, ("data.labels", "two classes")),
        ({"kd.standardize": True, "data.labels": ["O", "B-X"], "methods": ["ft", "kd"]}, ("kd.standardize", "two")),
    ],
)
def test_what_the_task_does_not_read_is_refused(changes, parts):
    with pytest.raises(UserError) as error:
        parsed(**changes)
    assert "\n" not in str(error.value) and all(part in str(error.value) for part in parts), str(error.value)


def test_first_token_states_of_other_windows_are_no_teacher():
    request = Request("teacher", logits=True, states=Reads.of("cls", [1]))
    assert "windows" in own_tokens.reason(request, parsed())
