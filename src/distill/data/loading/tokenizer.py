"""The tokenizer: trained on the training texts, or loaded from a folder or the hub; fast ones only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, trainers

from distill.data.loading.template import with_token_types
from distill.errors import UserError
from distill.runtime import hub

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train(
    texts: Iterable[str], vocab_size: int, lowercase: bool, field: str = "features.tokenizer"
) -> PreTrainedTokenizerFast:
    """Trains a WordPiece tokenizer with BERT's normalisation, word splitting and pair template.

    The same texts give the same vocabulary in every process. `tokenizers` alone does not: it numbers characters in the
    order of a randomly seeded hash map, and breaks ties between merges by number. Here every character, alone and as
    a continuation ("##c"), is numbered beforehand in the order of its code point.

    Args:
        texts: texts to count words in, for example the contexts and questions of the training split.
        vocab_size: number of entries, special tokens included; fewer if the texts do not hold as many.
        lowercase: lowercase and strip accents, as BERT's uncased vocabularies do.
        field: the parameters that ask for it, for error messages.

    Returns:
        A tokenizer with [PAD] [UNK] [CLS] [SEP] [MASK] as ids 0 to 4, which makes token type ids.

    Raises:
        UserError: no text, or `vocab_size` too small to hold every character.
    """
    from transformers import BertTokenizer

    splitter = BertTokenizer(do_lower_case=lowercase).backend_tokenizer
    texts = list(texts)
    heads: set[str] = set()
    tails: set[str] = set()
    for text in texts:
        for word, _ in splitter.pre_tokenizer.pre_tokenize_str(splitter.normalizer.normalize_str(text)):
            heads.add(word[0])
            tails.update(word[1:])
    alphabet = sorted(heads) + [f"##{character}" for character in sorted(tails)]
    if not alphabet:
        raise UserError(f"training data: {len(texts)} texts hold no word to train a tokenizer on; add questions")
    least = len(SPECIAL_TOKENS) + len(alphabet)
    if vocab_size < least:
        raise UserError(
            f"params.yaml: {field}.vocab_size = {vocab_size} cannot hold the {len(SPECIAL_TOKENS)} special "
            f"tokens and the {len(alphabet)} characters of the training data; raise it to {least} or more"
        )
    untrained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    untrained.normalizer, untrained.pre_tokenizer = splitter.normalizer, splitter.pre_tokenizer
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        # "Special" here fixes numbers only: the vocabulary alone is taken over below.
        special_tokens=[*SPECIAL_TOKENS, *alphabet],
        limit_alphabet=len(heads | tails),
        show_progress=False,
    )
    untrained.train_from_iterator(texts, trainer, length=len(texts))
    vocab = dict(sorted(untrained.get_vocab().items(), key=lambda entry: entry[1]))
    return BertTokenizer(vocab=vocab, do_lower_case=lowercase)


def load(path: str, revision: str | None = None, where: str = "features.tokenizer") -> PreTrainedTokenizerFast:
    """Loads a fast tokenizer by `AutoTokenizer`, never with remote code.

    Args:
        path: a local folder or a hub id.
        revision: commit, tag or branch of the hub repository, or None.
        where: the parameters that name it, for error messages.

    Returns:
        The tokenizer, which makes token types where its template has them.

    Raises:
        UserError: it cannot be loaded, is not a fast one, lacks a [CLS], separator or padding token, or has only
            special tokens.
    """
    from transformers import AutoTokenizer

    field = f"{where}.path = {path} (revision {revision or 'default'})"
    try:
        with hub.reading(path, revision, "model", f"{where}.path"):
            tokenizer = AutoTokenizer.from_pretrained(path, revision=revision or "main", trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:  # broken files surface as KeyError, TypeError or a bare Exception from Rust
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        raise UserError(
            f"{field}: cannot be loaded ({type(error).__name__}: {reason}); "
            f"name a folder with tokenizer.json or a hub id, and check {where}.revision and the network"
        ) from error
    if not tokenizer.is_fast:
        raise UserError(f"{field}: {type(tokenizer).__name__} is not a fast tokenizer; name one with a tokenizer.json")
    for token in ("cls_token", "sep_token", "pad_token"):
        if getattr(tokenizer, token) is None:
            raise UserError(f"{field}: has no {token}, which questions need; name an encoder's tokenizer")
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # loaded from a folder without its vocabulary
        raise UserError(f"{field}: has no vocabulary but special tokens; name a folder with tokenizer.json")
    tokenizer.named_by = where
    return with_token_types(tokenizer)


def fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Returns the sha256, in hex, of all that decides a tokenizer's output.

    Two tokenizers with equal fingerprints give equal ids. Padding and truncation are left out: they are the state of
    the last call. So are the names in tokenizer_config.json.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend.pop("padding", None)
    backend.pop("truncation", None)
    return hashlib.sha256(json.dumps(backend, sort_keys=True).encode()).hexdigest()


def check_same(path: str, revision: str | None, prepared: PreTrainedTokenizerFast, field: str) -> None:
    """Raises a UserError where the model in `path` came with another tokenizer than that of the tokens it is to read.

    With another vocabulary a model would read other words. A model folder without a tokenizer passes: there is nothing
    to compare.

    Args:
        path, revision: the model.
        prepared: the tokenizer of the data that the model reads.
        field: the parameter that names the model, `teacher.model.path`.
    """
    names = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
    if Path(path).is_dir() and not any((Path(path) / name).exists() for name in names):
        return
    tokenizer = load(path, revision)
    if tokenizer.get_vocab() != prepared.get_vocab():
        role = field.partition(".")[0]
        fix = (
            f"set {role}.tokenizer.path to {path!r}, or, so that teacher and student share one tokenizer,"
            " features.tokenizer.path"
            if role in ("teacher", "student")
            else "name one with the student's tokenizer, whose tokens it reads"
        )
        raise UserError(
            f"params.yaml: {field}: {path!r} has a vocabulary of {len(tokenizer)} tokens that differs from the data's"
            f" ({len(prepared)}): {fix}"
        )
