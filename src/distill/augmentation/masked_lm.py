"""A masked language model that proposes words: its training, and its logits at chosen places of a text.

Trained as BERT is (Devlin et al. 2019): a share of the tokens is to be guessed; of these 80% become the mask token, 10%
another word, 10% stay. The vocabulary's output layer runs on the chosen places alone: over all tokens it would fill
gigabytes at 128,000 words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.config.schema import Model
from distill.errors import UserError
from distill.models.forward import forward_pass
from distill.runtime import checkpoints
from distill.training.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# BERT's: shares of the chosen places that become the mask token, and another word; the rest stays.
_MASKED, _REPLACED = 0.8, 0.1


class MaskedLM:
    """What `models` must know of a task to build, load and run a masked language model; nothing is scored.

    Attributes:
        fresh: names of the parameters that the last checkpoint lacked and that are therefore random.
    """

    name = "masked_lm"

    def __init__(self) -> None:
        self.fresh: list[str] = []

    def auto_class(self) -> MaskedLM:
        """This object: `AutoModelForMaskedLM` that also records what the checkpoint lacked."""
        return self

    def from_config(self, *args: Any, **options: Any) -> PreTrainedModel:
        """As `AutoModelForMaskedLM.from_config`."""
        from transformers import AutoModelForMaskedLM

        return AutoModelForMaskedLM.from_config(*args, **options)

    def from_pretrained(self, *args: Any, **options: Any) -> tuple[PreTrainedModel, dict]:
        """As `AutoModelForMaskedLM.from_pretrained`, with its report."""
        from transformers import AutoModelForMaskedLM

        model, report = AutoModelForMaskedLM.from_pretrained(*args, **options)
        self.fresh = sorted({*report["missing_keys"], *(keys[0] for keys in report["mismatched_keys"])})
        return model, report

    def model_fields(self) -> dict[str, Any]:
        """None: the head follows from the vocabulary."""
        return {}

    def logits(self, outputs: Any) -> Tensor:
        """(B, L, V)."""
        return outputs.logits


def build(spec: Model, tokenizer: PreTrainedTokenizerBase, seed: int, train: bool) -> PreTrainedModel:
    """The generator before its training.

    Args:
        spec: section `generator.model` of params.yaml, a checkpoint or a shape.
        train: whether it will be trained; if not, the checkpoint must have all of its weights.

    Raises:
        UserError: it cannot be built, or its head would be random and remain so.
    """
    from distill.models import loading

    task = MaskedLM()
    model = loading.build(spec, task, tokenizer, seed, "generator")
    if task.fresh and not train:
        raise UserError(
            f"params.yaml: generator.model.path: {spec.path!r} has no masked-LM head ({task.fresh[0]} would be random):"
            " set generator.train to true, or name a checkpoint of a masked language model"
        )
    return model


def load(folder: Path) -> PreTrainedModel:
    """The generator that stage train_generator wrote, float32, to be trained or run.

    Raises:
        UserError: it cannot be loaded, or has no masked-LM head.
    """
    from distill.models import loading

    checkpoints.load_check(folder)
    task = MaskedLM()
    model = loading.from_pretrained(str(folder), task)
    if task.fresh:
        raise UserError(f"{folder}: no masked-LM head ({task.fresh[0]} is missing): run dvc repro train_generator")
    return model


def special_ids(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Ids of special tokens, including the unknown word, int64 (S,): they are never changed and never proposed."""
    return torch.tensor(sorted(set(tokenizer.all_special_ids)))


def mask_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the mask token.

    Raises:
        UserError: there is none.
    """
    if tokenizer.mask_token_id is None:
        raise UserError(
            "params.yaml: features.tokenizer.path: this tokenizer has no mask token, which a masked-LM generator needs:"
            " name the tokenizer of a masked language model (BERT, RoBERTa, DeBERTa …)"
        )
    return tokenizer.mask_token_id


def choose(eligible: Tensor, share: float) -> Tensor:
    """Draw the same share of every row's eligible places.

    Padding changes no draw: random numbers are drawn for eligible places only.

    Args:
        eligible: bool, (B, L).
        share: share of the eligible places, from 0 to 1; rounded to whole places, at least one in a row that has any.

    Returns:
        bool, (B, L).
    """
    noise = torch.full(eligible.shape, torch.inf, device=eligible.device)
    noise[eligible] = torch.rand(int(eligible.sum()), device=eligible.device)
    rank = noise.argsort(dim=1).argsort(dim=1)
    count = (share * eligible.sum(1)).round().clamp(min=1)
    return eligible & (rank < count.unsqueeze(1))


def logits_at(model: PreTrainedModel, batch: dict[str, Tensor], places: Tensor) -> Tensor:
    """Logits over the vocabulary at some places of a batch.

    The encoder runs on everything, the head on these places alone, in any architecture: every masked-LM head works
    token by token, so it gets the chosen states as one long text.

    Args:
        batch: `input_ids` (with mask tokens), `attention_mask`, and `token_type_ids` where there are any.
        places: bool, (B, L), n of them true.

    Returns:
        (n, V), in the order of rows and tokens.
    """

    def keep(module: nn.Module, inputs: Any, outputs: Any) -> Any:
        outputs.last_hidden_state = outputs.last_hidden_state[places].unsqueeze(0)
        return outputs

    hook = model.base_model.register_forward_hook(keep)
    try:
        return forward_pass(model, MaskedLM(), batch).logits[0]
    finally:
        hook.remove()


def sample(logits: Tensor, temperature: float, special: Tensor) -> Tensor:
    """Draw a word per row by straight-through Gumbel-softmax (Jang et al. 2017).

    Args:
        logits: (n, V).
        temperature: τ > 0.
        special: ids that are never drawn, (S,).

    Returns:
        (n, V), float32: one-hot in value, softmax((logits + Gumbel noise) / τ) in gradient.
    """
    return F.gumbel_softmax(logits.float().index_fill(1, special, -torch.inf), temperature, hard=True)


class MaskedLanguageModelling(Objective):
    """Training of a generator: guess the chosen tokens.

    Args:
        share: share of a row's real, not special tokens that are chosen (BERT: 0.15).
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, share: float):
        super().__init__()
        self.model, self.share = model, share
        self.mask = mask_id(tokenizer)
        special = special_ids(tokenizer)
        words = torch.arange(len(tokenizer))
        self.register_buffer("special", special, persistent=False)
        self.register_buffer("words", words[~torch.isin(words, special)], persistent=False)

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """`loss` and the one term `masked_lm`: cross-entropy, mean over the chosen places of the batch."""
        ids = batch["input_ids"]
        places = choose(batch["attention_mask"].bool() & ~torch.isin(ids, self.special), self.share)
        gold = ids[places]
        logits = logits_at(self.model, {**batch, "input_ids": ids.masked_scatter(places, self._noised(gold))}, places)
        loss = F.cross_entropy(logits.float(), gold, reduction="sum") / max(len(gold), 1)
        return {"loss": loss, "masked_lm": loss}

    def _noised(self, gold: Tensor) -> Tensor:
        """Input ids at the chosen places, (n,): mask tokens, other words, or the gold tokens."""
        draw = torch.rand(len(gold), device=gold.device)
        replacements = self.words[torch.randint(len(self.words), (len(gold),), device=gold.device)]
        noised = torch.where(draw < _MASKED + _REPLACED, replacements, gold)
        return torch.where(draw < _MASKED, self.mask, noised)
