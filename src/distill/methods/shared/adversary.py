"""A generator that looks for inputs on which student and teacher differ: what mate, cilda, combined and adv share.

It changes a share of the words of a text. Steps of the trainer go in cycles: some in which the generator learns to make
the two differ (adv: the student and the label), then many in which the student learns on the original and on the
changed texts.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.augmentation import masked_lm
from distill.config import model_tokenizers
from distill.errors import UserError
from distill.losses.weights import ScheduledWeight
from distill.models.forward import Outputs, forward_pass, in_eval
from distill.signals.teacher import OnlineTeacher
from distill.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from distill.config.params import Params
    from distill.methods.base import Setup

Loss = Callable[[Tensor, Tensor], Tensor]
# The generator's term is maximised: its weight is −1.
CLIMB = ScheduledWeight(value=-1.0, schedule="constant", warmup=0.0)


@dataclass(frozen=True)
class Cycle:
    """How the trainer's steps alternate: `generator` steps, then `student` steps, then again."""

    generator: int
    student: int

    def is_generators(self, step: int) -> bool:
        """Whether the generator learns in this step, counted from 0."""
        return step % (self.generator + self.student) < self.generator

    def trainer_steps(self, updates: int) -> int:
        """All steps in which the student gets this many updates; only the last cycle may be cut short."""
        return updates + self.generator * math.ceil(updates / self.student)

    def updates_in(self, steps: int) -> int:
        """The student's updates among the first `steps` steps."""
        cycles, rest = divmod(steps, self.generator + self.student)
        return cycles * self.student + max(rest - self.generator, 0)


@dataclass
class Perturbed:
    """A changed batch.

    Attributes:
        places: true at the tokens that were drawn to be changed: bool, (B, L), n of them.
        words: straight-through one-hot vectors of the words that now stand there, (n, V).
        input_ids: the changed texts, (B, L).
    """

    places: Tensor
    words: Tensor
    input_ids: Tensor


class Adversary(nn.Module):
    """The generator and what it may change.

    Args:
        setup: supplies generator, tokenizer and task.
        method: for error messages.
        share: share of the tokens that are changed, among those that may be.
        temperature: τ of the Gumbel-softmax.

    Raises:
        UserError: the generator is missing, or has another vocabulary; the tokenizer has no mask token.
    """

    def __init__(self, setup: Setup, method: str, share: float, temperature: float):
        super().__init__()
        if setup.generator is None or setup.tokenizer is None:
            raise UserError(f"{method} needs the masked-LM generator: run `dvc repro train_generator`")
        self.task: Task = setup.task
        self.share, self.temperature = share, temperature
        self.mask, self.vocabulary = masked_lm.mask_id(setup.tokenizer), len(setup.tokenizer)
        rows = setup.generator.get_input_embeddings().num_embeddings
        if rows < self.vocabulary:
            raise UserError(
                f"data/models/generator: it has {rows} words, the tokenizer {self.vocabulary}: generator, teacher and"
                " student must share one vocabulary: set generator.model in params.yaml accordingly"
            )
        self.generator = setup.generator
        self.register_buffer("special", masked_lm.special_ids(setup.tokenizer), persistent=False)

    def eligible(self, batch: dict[str, Tensor]) -> Tensor:
        """Tokens that may be changed: bool, (B, L). Real, not special, and editable (`Task.editable`)."""
        ordinary = ~torch.isin(batch["input_ids"], self.special)
        return self.task.editable(batch) & batch["attention_mask"].bool() & ordinary

    def perturb(self, batch: dict[str, Tensor]) -> Perturbed:
        """Mask a share of the tokens that may be changed, and draw words for them from the generator."""
        ids = batch["input_ids"]
        places = masked_lm.choose(self.eligible(batch), self.share)
        masked = {**batch, "input_ids": ids.masked_fill(places, self.mask)}
        # Checkpoints may have more rows of embeddings than there are words.
        logits = masked_lm.logits_at(self.generator, masked, places)[:, : self.vocabulary]
        words = masked_lm.sample(logits, self.temperature, self.special)
        return Perturbed(places, words, ids.masked_scatter(places, words.argmax(-1)))

    def changed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with changed texts, for the student to learn from: no gradient, and no dropout in the generator."""
        with torch.no_grad(), in_eval(self.generator):
            return {**batch, "input_ids": self.perturb(batch).input_ids}

    def attack(
        self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: OnlineTeacher
    ) -> tuple[Tensor, Tensor]:
        """Logits of both models on changed texts, with gradients into the generator and into nothing else.

        The gradient passes both models, each with word embeddings of its own. The student is in evaluation mode.
        """
        own, other = self.attack_outputs(batch, student, teacher)
        return own.logits, other.logits

    def attack_outputs(
        self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: OnlineTeacher, hidden: bool = False
    ) -> tuple[Outputs, Outputs]:
        """Outputs of student and teacher on changed texts, as `attack` gives their logits.

        Args:
            hidden: with the student's hidden states; a teacher that gives hidden states gives them here too.
        """
        perturbed = self.perturb(batch)
        own = self._outputs(batch, student, perturbed, hidden)
        return own, teacher.on_embeddings(batch, embed(teacher.model, batch["input_ids"], perturbed))

    def attack_student(self, batch: dict[str, Tensor], student: PreTrainedModel) -> Tensor:
        """The student's logits on changed texts, as in `attack`, for a generator that looks at no teacher."""
        return self._outputs(batch, student, self.perturb(batch)).logits

    def _outputs(
        self, batch: dict[str, Tensor], student: PreTrainedModel, perturbed: Perturbed, hidden: bool = False
    ) -> Outputs:
        with frozen(student), in_eval(student):
            embeddings = embed(student, batch["input_ids"], perturbed)
            return forward_pass(student, self.task, batch, hidden=hidden, embeddings=embeddings)


def embed(model: PreTrainedModel, input_ids: Tensor, perturbed: Perturbed) -> Tensor:
    """Word embeddings of a changed batch in one model, (B, L, its own embedding width).

    In value they are those of `perturbed.input_ids`; the gradient reaches the generator through `perturbed.words`.
    """
    table = model.get_input_embeddings()
    if table.weight.device != input_ids.device:  # a teacher that has not run yet
        model.to(input_ids.device)
    embeddings = table(input_ids)
    with torch.autocast(input_ids.device.type, enabled=False):  # a row of the table, not its rounding
        drawn = perturbed.words.to(table.weight.dtype) @ table.weight[: perturbed.words.shape[1]]
    return embeddings.index_put((perturbed.places,), drawn.to(embeddings.dtype))


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No gradient for the parameters of a model whose graph is built in the block."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def divergence(task: Task, student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """What the generators of mate and cilda maximise: soft cross-entropy, or the squared error on regression.

    −Σ softmax(teacher) · log softmax(student), summed over classes (question answering: over real tokens), mean over
    rows (and over start and end). Unlike `task.soft` it gives both sides a gradient, and keeps the teacher's entropy,
    which is no constant for the generator.

    Args:
        student, teacher: logits, (B, L, C) or (B, C).

    Returns:
        A scalar.
    """
    if not task.has_classes:
        return both_ways(lambda logits, target: task.soft(logits, target, batch, 1.0), student, teacher)
    sides = zip(*(task.class_rows(logits, batch) for logits in (student, teacher)), strict=True)
    means = [_soft_cross_entropy(own.logits.float(), other.logits.float(), own.mask).mean() for own, other in sides]
    return sum(means) / len(means)


def _soft_cross_entropy(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """−Σ softmax(teacher) · log softmax(student) over the classes that exist, (R,)."""
    if mask is None:
        return -(teacher.softmax(-1) * student.log_softmax(-1)).sum(-1)
    log_s = student.masked_fill(~mask, -torch.inf).log_softmax(-1).masked_fill(~mask, 0.0)  # 0 · −∞ is nan
    return -(teacher.masked_fill(~mask, -torch.inf).softmax(-1) * log_s).sum(-1)


def both_ways(loss: Loss, student: Tensor, teacher: Tensor) -> Tensor:
    """A symmetric loss with gradients into both sides, where a call of `loss` gives its second side none."""
    back = loss(teacher, student)
    return loss(student, teacher) + back - back.detach()


def check_params(params: Params, method: str) -> None:
    """Raise a ValueError where the generator cannot share the vocabulary of the models."""
    path = params.generator.model.path
    if path is not None and model_tokenizers.of(params, "student").path is None:
        where = model_tokenizers.field(params, "student")
        raise ValueError(
            f"{where}.path is null (train a new vocabulary) but generator.model.path is {path!r}, which has its own,"
            f" and {method} needs one vocabulary for all: set {where}.path to {path!r}"
        )
