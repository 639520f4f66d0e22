"""What a tokenizer puts around and between texts: special tokens and token types, by its own post-processor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer, models

from distill.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TOKEN_TYPES = "token_type_ids"


def parameters_of(tokenizer: PreTrainedTokenizerFast) -> str:
    """The parameters that name a tokenizer, for error messages: `features.tokenizer`, unless `load` was told others."""
    return getattr(tokenizer, "named_by", "features.tokenizer")


class Template:
    """What the tokenizer puts around one text, or around and between two, learnt from texts of one token each.

    Attributes:
        ids, kinds: int64, (special tokens,): ids and token types of the special tokens, in order.
        sizes: int64, (texts + 1,): numbers of special tokens before, between and after the texts.
        texts: token types of the texts.
        cls: place of the cls token among the special tokens; None where there is none.

    Args:
        tokenizer: any fast tokenizer; its state is left alone.
        pair: whether there are two texts.

    Raises:
        UserError: the second text comes first.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, pair: bool):
        word = Tokenizer(models.WordLevel({"x": 0}, unk_token="x"))
        text = word.encode("x")
        if tokenizer.backend_tokenizer.post_processor is not None:
            word.post_processor = tokenizer.backend_tokenizer.post_processor
        whole = word.post_process(text, text if pair else None, add_special_tokens=True)
        owner = np.array([-1 if number is None else number for number in whole.sequence_ids])
        places = np.flatnonzero(owner >= 0)
        if owner[places[0]] == 1:
            raise UserError(
                f"{parameters_of(tokenizer)}: puts the second text first; name the tokenizer of a BERT-like encoder"
            )
        special = owner < 0
        self.ids, self.kinds = (np.array(values, np.int64)[special] for values in (whole.ids, whole.type_ids))
        self.sizes = np.diff([-1, *places, len(owner)]) - 1
        self.texts = tuple(whole.type_ids[place] for place in places)
        found = np.flatnonzero(self.ids == tokenizer.cls_token_id)
        self.cls = int(found[0]) if len(found) else None

    @property
    def typed(self) -> bool:
        """Whether it gives any token another type than 0."""
        return bool(self.kinds.any() or any(self.texts))


def with_token_types(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer, set to make token types where its template tells two texts apart by them.

    The classes of some tokenizers leave them out (ALBERT's, RemBERT's, DistilBERT's, in transformers 5) though the
    template in tokenizer.json has them and a model may have learnt with them. `save` stores the setting where a model
    needs it.

    Raises:
        UserError: the template puts the second text first.
    """
    names = tokenizer.model_input_names
    if TOKEN_TYPES not in names and Template(tokenizer, pair=True).typed:
        tokenizer.names_without_types = names
        tokenizer.model_input_names = [*names, TOKEN_TYPES]
    return tokenizer


def save(tokenizer: PreTrainedTokenizerFast, folder: Path, typed: bool = False) -> None:
    """Write a tokenizer's files.

    Args:
        tokenizer: any fast tokenizer; left as it is.
        typed: whether the model beside it reads token types: what `with_token_types` set then stays set, so that plain
            transformers gives the model what it learnt with. A model that takes none would refuse them.
    """
    names, options = tokenizer.model_input_names, tokenizer.init_kwargs
    plain = getattr(tokenizer, "names_without_types", names)
    try:
        if typed and names != plain:
            tokenizer.init_kwargs = options | {"model_input_names": names}
        else:
            tokenizer.model_input_names = plain
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.model_input_names, tokenizer.init_kwargs = names, options
