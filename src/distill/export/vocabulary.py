"""A student without the tokens that its texts never use: a smaller tokenizer, and fewer rows of embeddings.

On a text whose tokens all stay, the tokens are the same but for their numbers, and so are the logits:

- WordPiece takes the longest piece that fits. The pieces that it took are there, and longer ones never fitted.
- BPE applies merges in their order. A merge stays where its result does, and with a result all its parts; merges that
  are gone did not apply to such a text, or their results would be in it.
- Unigram takes the segmentation of the highest total score. It is among those that are left, of which there are fewer.
  The piece of the lowest score stays, because the score of an unknown character is counted from it.

All single characters stay, so that other texts are cut into smaller pieces, and not into unknown ones.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from distill.data.loading import tokenizer as tokenizers
from distill.data.loading.prepared import TRAINED_ON, Prepared
from distill.errors import UserError
from distill.runtime.files import write_text
from distill.tasks.base import Task

KINDS = ("WordPiece", "BPE", "Unigram")
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
#: Texts on which a trimmed tokenizer is compared with the whole one.
_COMPARED = 200


def used(data: Prepared) -> np.ndarray:
    """The numbers of the tokens in all that models learn from, ascending, int64: training, selection, transfer set."""
    found = [np.empty(0, np.int64)]
    for split in data.meta["splits"]:
        if split in TRAINED_ON:
            column = data.features(split).data.column("input_ids")
            found += [np.unique(chunk.flatten().to_numpy(zero_copy_only=False)) for chunk in column.chunks]
    return np.unique(np.concatenate(found)).astype(np.int64)


def staying(tokenizer: PreTrainedTokenizerFast, tokens: Iterable[int]) -> np.ndarray:
    """The numbers of the tokens that stay where `tokens` are used, ascending, int64; a token's new number is its place.

    Added and special tokens stay, single characters and bytes, and what the kind of vocabulary needs beside them.

    Raises:
        UserError: the vocabulary is of another kind.
    """
    backend = _backend(tokenizer)
    model, numbers = backend["model"], tokenizer.get_vocab()
    names = {number: name for name, number in numbers.items()}
    prefix = model.get("continuing_subword_prefix") or ""
    stay = {names[int(number)] for number in tokens if int(number) in names}
    stay |= {token["content"] for token in backend["added_tokens"]} | {*tokenizer.all_special_tokens}
    stay |= {name for name in numbers if len(name.removeprefix(prefix)) == 1 or _BYTE.fullmatch(name)}
    stay |= {model["unk_token"]} if model.get("unk_token") else set()
    if model["type"] == "Unigram":
        stay |= {model["vocab"][0 if model["unk_id"] is None else model["unk_id"]][0]}
        stay |= {min(model["vocab"], key=lambda piece: piece[1])[0]}
    elif model["type"] == "BPE":
        parts: dict[str, list[str]] = {}
        for pair in _merges(model):
            parts.setdefault(_merged(pair, prefix), []).extend(pair)
        waiting = list(stay)
        while waiting:
            new = [part for part in parts.get(waiting.pop(), ()) if part not in stay]
            stay.update(new)
            waiting += new
    return np.array(sorted(numbers[name] for name in stay if name in numbers), np.int64)


def trim_tokenizer(
    tokenizer: PreTrainedTokenizerFast, stay: Sequence[int], folder: Path, texts: Iterable[str] = ()
) -> PreTrainedTokenizerFast:
    """Write the tokenizer with the tokens `stay` alone into a folder, and load it from there.

    Args:
        stay: numbers from `staying`.
        texts: texts of which the first are encoded by both, as a check, where all their tokens stay.

    Raises:
        UserError: its class does not take the smaller vocabulary.
    """
    backend = _backend(tokenizer)
    new = {int(old): number for number, old in enumerate(stay)}
    names = {number: name for name, number in tokenizer.get_vocab().items()}
    kept = {names[old] for old in new}
    model = backend["model"]
    if model["type"] == "Unigram":
        unknown = model["unk_id"]
        model["vocab"] = [piece for piece in model["vocab"] if piece[0] in kept]
        model["unk_id"] = None if unknown is None else new[unknown]
    else:
        model["vocab"] = {name: new[number] for name, number in model["vocab"].items() if name in kept}
    if model["type"] == "BPE":
        prefix = model.get("continuing_subword_prefix") or ""
        pairs = _merges(model)
        model["merges"] = [list(pair) for pair in pairs if {*pair, _merged(pair, prefix)} <= kept]
    backend["added_tokens"] = [token | {"id": new[token["id"]]} for token in backend["added_tokens"]]
    backend["padding"] = backend["truncation"] = None
    backend["post_processor"] = _renumbered(backend["post_processor"], new)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    for other in ("vocab.txt", "vocab.json", "merges.txt", "spm.model", "sentencepiece.bpe.model"):
        (folder / other).unlink(missing_ok=True)  # the whole vocabulary once more
    write_text(folder / "tokenizer.json", json.dumps(backend, ensure_ascii=False, indent=2) + "\n")
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    if decoder := settings.get("added_tokens_decoder"):
        settings["added_tokens_decoder"] = {str(new[int(number)]): token for number, token in decoder.items()}
        write_text(file, json.dumps(settings, ensure_ascii=False, indent=2) + "\n")
    trimmed = tokenizers.load(str(folder))
    if trimmed.get_vocab() != {names[old]: number for old, number in new.items()}:
        raise _refused(tokenizer, "its class gives the tokens other numbers")
    for text, _ in zip(texts, range(_COMPARED), strict=False):
        before = tokenizer.encode(text)
        if all(token in new for token in before) and trimmed.encode(text) != [new[token] for token in before]:
            raise _refused(tokenizer, f"it cuts the text {text[:40]!r} otherwise without the tokens that it never uses")
    return trimmed


def trim_model(model: PreTrainedModel, task: Task, stay: Sequence[int]) -> PreTrainedModel:
    """The model with those rows of its word embeddings alone, and everything else as it is.

    Args:
        stay: numbers from `staying`; row i of the result is row `stay[i]`.
    """
    new = {int(old): number for number, old in enumerate(stay)}
    config = copy.deepcopy(model.config)
    config.vocab_size = len(new)
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new.get(value))
    trimmed = task.auto_class().from_config(config, dtype=torch.float32)
    table = model.get_input_embeddings().weight
    names = {name for name, tensor in model.named_parameters(remove_duplicate=False) if tensor is table}
    rows = torch.as_tensor(np.asarray(stay), device=table.device)
    weights = {n: tensor[rows] if n in names else tensor for n, tensor in model.state_dict().items()}
    trimmed.load_state_dict(weights)
    return trimmed.to(table.device).train(model.training)


def _backend(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The content of tokenizer.json.

    Raises:
        UserError: the vocabulary is of a kind that cannot be trimmed.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    if backend["model"]["type"] not in KINDS:
        raise _refused(tokenizer, f"its vocabulary is a {backend['model']['type']}, not one of {', '.join(KINDS)}")
    return backend


def _refused(tokenizer: PreTrainedTokenizerFast, why: str) -> UserError:
    return UserError(f"the vocabulary of a {type(tokenizer).__name__} cannot be trimmed: {why}: keep it whole")


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    """The merges of a BPE; older files have each in one text."""
    return [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]


def _merged(pair: tuple[str, str], prefix: str) -> str:
    return pair[0] + pair[1].removeprefix(prefix)


def _renumbered(processor: Any, new: dict[int, int]) -> Any:
    """A post-processor with the new numbers of its special tokens."""
    if processor is None:
        return None
    processor = dict(processor)
    if "processors" in processor:
        processor["processors"] = [_renumbered(part, new) for part in processor["processors"]]
    for name in ("cls", "sep"):
        if name in processor:
            token, number = processor[name]
            processor[name] = [token, new[number]]
    if isinstance(processor.get("special_tokens"), dict):
        processor["special_tokens"] = {
            name: token | {"ids": [new[number] for number in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
    return processor
