"""Copies of the training features with words replaced by a masked language model (TinyBERT, Jiao et al. 2020).

Of every copy each word is replaced with probability p, by one of the M words that the model finds likeliest at its
place, the word itself masked; each of them is as likely, and the word itself may be among them, as in the paper. Words
of several tokens stay (the paper takes word vectors for them). Lengths do not change, so labels and offsets hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from distill.augmentation import masked_lm
from distill.data.loading.batches import Collator
from distill.errors import UserError
from distill.models.forward import autocast
from distill.models.predict import length_order

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Vocabulary:
    """Which tokens are whole words, in any tokenizer that marks the beginning or the continuation of words.

    WordPiece marks continuations (``##``), byte-level and SentencePiece vocabularies the beginning (``Ġ``, ``▁``). In
    the latter, the first word of a text may have no mark: it is then left as it is.

    Attributes:
        word: bool (V,): a token that can be a word by itself: it begins one, and has a letter or digit.
        continues: bool (V,): a token that continues the word before it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        special = set(tokenizer.all_special_ids)
        counts = {mark: sum(token.startswith(mark) for token in tokens) for mark in ("##", "Ġ", "▁")}
        # A byte-level vocabulary has a few tokens that begin with ## too.
        marks = tuple(mark for mark in ("Ġ", "▁") if counts[mark] > counts["##"])
        self.word, self.continues = (np.zeros(len(tokens), bool) for _ in range(2))
        for number, token in enumerate(tokens):
            if number in special:
                continue
            begins = token.startswith(marks) if marks else not token.startswith("##")
            letters = token[1:] if marks and begins else token  # the mark Ġ counts as a letter
            self.word[number] = begins and any(character.isalnum() for character in letters)
            self.continues[number] = not begins and (not marks or token[:1].isalnum())

    def single(self, ids: np.ndarray) -> np.ndarray:
        """Which of a row's tokens are words of one token: bool, of the same shape."""
        followed = np.append(self.continues[ids[1:]], False)
        return self.word[ids] & ~followed


class Augmenter:
    """Makes copies of feature rows.

    Args:
        model: the masked language model, on its device, in evaluation mode.
        probability: p, of each word.
        candidates: M, the words to choose from.
        batch_size: rows per forward pass.
        seed: seed of the draws, together with a row's number.

    Raises:
        UserError: the tokenizer has no mask token, or fewer words of one token than `candidates`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        probability: float,
        candidates: int,
        batch_size: int,
        precision: str,
        seed: int,
    ):
        self.model, self.precision, self.batch_size = model, precision, batch_size
        self.probability, self.candidates, self.seed = probability, candidates, seed
        self.mask_id = masked_lm.mask_id(tokenizer)
        self.vocabulary = Vocabulary(tokenizer)
        if (words := int(self.vocabulary.word.sum())) < candidates:
            raise UserError(
                f"params.yaml: augment.candidates: {candidates}, but the tokenizer has {words} words of one token:"
                " lower it"
            )
        self.collate = Collator(tokenizer.pad_token_id, ())
        # Logits may be wider than the vocabulary: ids without a token are no words.
        self.banned = torch.from_numpy(~self.vocabulary.word)

    def copies(self, table: pa.Table, start: int, count: int) -> tuple[pa.Table, int]:
        """`count` copies of every row, those of a row one after another.

        Args:
            table: rows of the training features; of a question's window only the question's words change, and
                none of an entity.
            start: number of the table's first row among all features.

        Returns:
            (the copies, columns as in `table`; how many words were replaced)
        """
        rows = [np.array(ids.values) for ids in table.column("input_ids").combine_chunks()]
        allowed = [self.vocabulary.single(ids) for ids in rows]
        if "offset_start" in table.column_names:  # the context, its answer and offsets stay
            offsets = table.column("offset_start").combine_chunks()
            allowed = [words & (spans.values.to_numpy() < 0) for words, spans in zip(allowed, offsets, strict=True)]
        if "entity" in table.column_names:  # the words of entities stay: their tags say what they are
            marks = table.column("entity").combine_chunks()
            allowed = [
                words & ~of_row.values.to_numpy(zero_copy_only=False)
                for words, of_row in zip(allowed, marks, strict=True)
            ]
        drawn = [self._draw(start + row, np.flatnonzero(words), count) for row, words in enumerate(allowed)]
        targets = [(row, place) for row, choices in enumerate(drawn) for place in sorted(set().union(*choices))]
        words = dict(zip(targets, self._likeliest(table, rows, targets), strict=True))
        copied, replaced = [], 0
        for row, choices in enumerate(drawn):
            for choice in choices:
                ids = rows[row].copy()
                for place, rank in choice.items():
                    ids[place] = words[row, place][rank]
                copied.append(ids)
                replaced += int((ids != rows[row]).sum())
        repeated = table.take(np.repeat(np.arange(len(rows)), count))
        kind = table.schema.field("input_ids").type
        offsets = pa.array(np.cumsum([0, *map(len, copied)]), pa.int32())
        column = pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(copied), kind.value_type), type=kind)
        return repeated.set_column(table.schema.get_field_index("input_ids"), "input_ids", column), replaced

    def _draw(self, row: int, places: np.ndarray, count: int) -> list[dict[int, int]]:
        """For each copy of a row: the places that change, each with the rank of its new word among the likeliest."""
        generator = np.random.default_rng([self.seed, row])
        chosen = generator.random((count, len(places))) < self.probability
        ranks = generator.integers(0, self.candidates, (count, len(places)))
        return [
            {int(place): int(rank) for place, rank in zip(places[picked], copy[picked], strict=True)}
            for picked, copy in zip(chosen, ranks, strict=True)
        ]

    @torch.no_grad()
    def _likeliest(self, table: pa.Table, rows: list[np.ndarray], targets: list[tuple[int, int]]) -> list[np.ndarray]:
        """The M likeliest words, best first, at each place (row, token) with that one token masked."""
        device = next(self.model.parameters()).device
        kinds = table.column("token_type_ids").to_pylist() if "token_type_ids" in table.column_names else None
        lengths = np.array([len(rows[row]) for row, _ in targets])
        likeliest = [np.empty(0)] * len(targets)
        for numbers in length_order(lengths, self.batch_size):
            batch, places = self._masked(rows, kinds, [targets[i] for i in numbers])
            batch = {name: value.to(device) for name, value in batch.items()}
            with autocast(device, self.precision):
                logits = masked_lm.logits_at(self.model, batch, places.to(device)).float()
            words = logits[:, : len(self.banned)].masked_fill(self.banned.to(device), -torch.inf)
            best = words.topk(self.candidates, 1).indices.cpu().numpy()
            for number, ids in zip(numbers, best, strict=True):
                likeliest[number] = ids
        return likeliest

    def _masked(
        self, rows: list[np.ndarray], kinds: list | None, targets: list[tuple[int, int]]
    ) -> tuple[dict[str, Tensor], Tensor]:
        batch = self.collate(
            [{"input_ids": rows[row], **({"token_type_ids": kinds[row]} if kinds else {})} for row, _ in targets]
        )
        places = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        places[torch.arange(len(targets)), torch.tensor([place for _, place in targets])] = True
        batch["input_ids"] = batch["input_ids"].masked_fill(places, self.mask_id)
        return batch, places
