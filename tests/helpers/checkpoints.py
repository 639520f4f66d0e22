"""Checkpoints as params.yaml names them, built for question answering, and what is said of faulty ones."""

import json

from distill.config.schema import Model
from distill.models import loading
from distill.tasks.registry import load_task
from tests.helpers import tiny

TASK = load_task("qa")


def spec(path=None, **config):
    return Model(path=None if path is None else str(path), revision=None, config=config)


def build(model, seed=0):
    return loading.build(model, TASK, tiny.tokenizer(), seed, "teacher")


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
