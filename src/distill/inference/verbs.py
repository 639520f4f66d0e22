"""The verbs of all commands: a new one is added to this table."""

from __future__ import annotations

from collections.abc import Mapping

from distill.inference import answer, classify
from distill.inference.verb import Verb

VERBS: Mapping[str, Verb] = {verb.name: verb for verb in (answer.VERB, classify.VERB)}


def of_task(task: str) -> list[Verb]:
    """What models of a task can be asked to do."""
    return [verb for verb in VERBS.values() if task in verb.tasks]
