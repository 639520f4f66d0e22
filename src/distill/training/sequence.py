"""Sequences of trainings, in which each model learns from the one before it.

Chains of assistants and born-again generations are such sequences. A trained link is kept as a sealed folder in the
scratch folder: a killed process resumes in its link.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill.models import loading
from distill.runtime import checkpoints, distributed
from distill.runtime.files import publish
from distill.training import phases
from distill.training.run import Result, TrainingRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Link:
    """A finished training of a sequence.

    Attributes:
        number: its place in the sequence, from 1.
        model: folder of the trained model, a plain checkpoint.
        result: result of its training.
    """

    number: int
    model: Path
    result: Result


def train(
    count: int,
    start: Path,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    begin: Callable[[int, Path], tuple[PreTrainedModel, TrainingRun]],
    on_trained: Callable[[Link], None] = lambda link: None,
) -> list[Link]:
    """Train links 1 to `count`, except those that are already trained.

    Of several processes all call this; the first one writes, and all return the same.

    Args:
        start: folder of the model before the first link.
        folder: scratch; link n uses `link-<n>` in it, not the folder of its run.
        tokenizer: saved with every model.
        begin: (number of the link, folder of the model before it) → the model before its first update, and its
            training; called only where there is something left to train.
        on_trained: called with every link in turn, before the next begins; also with those that an earlier process has
            trained.
    """
    links: list[Link] = []
    for number in range(1, count + 1):
        place = folder / f"link-{number}"
        done = place / "done"
        if not distributed.from_first(lambda done=done: checkpoints.is_complete(done)):
            model, run = begin(number, links[-1].model if links else start)
            result = phases.train(run.part(place, sum(link.result.steps for link in links)))
            if distributed.is_first():
                _finish(done, model, tokenizer, result)
            distributed.wait()
        if distributed.is_first():
            shutil.rmtree(place / "checkpoints", ignore_errors=True)  # nothing resumes from them any more
        links.append(Link(number, done / "model", Result.read(done / "result.json")))
        on_trained(links[-1])
    return links


def _finish(done: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, result: Result) -> None:
    draft = done.with_name("done.draft")
    shutil.rmtree(draft, ignore_errors=True)
    loading.save(model, tokenizer, draft / "model")
    result.write(draft / "result.json")
    checkpoints.seal(draft)
    publish(draft, done)
