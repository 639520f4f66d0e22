"""The verbs of all commands: a new one is added to this table."""

from __future__ import annotations

from collections.abc import Mapping

from distill.errors import UserError
from distill.inference import answer, classify, rank, tag
from distill.inference.model import RUNTIMES, Model, load, task_of
from distill.inference.verb import Verb

VERBS: Mapping[str, Verb] = {verb.name: verb for verb in (answer.VERB, classify.VERB, tag.VERB, rank.VERB)}


def of_task(task: str) -> list[Verb]:
    """What models of a task can be asked to do."""
    return [verb for verb in VERBS.values() if task in verb.tasks]


def load_model(path: str, int8: bool = False, runtime: str = RUNTIMES[0]) -> Model:
    """Load a model of any task, as the command for that task loads it.

    Raises:
        UserError: it cannot be loaded, or no verb is for its task.
    """
    task = task_of(path)
    if not (able := of_task(task)):
        raise UserError(f"{path}: is a model for {task}, which cannot be asked: name one for another task")
    return load(path, int8, defaults=able[0].defaults, runtime=runtime)
