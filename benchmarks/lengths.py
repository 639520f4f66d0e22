"""Rows with the lengths of SQuAD v2.0, so that the benchmark needs no download.

`squad_v2_lengths.json` says how many of its windows have how many tokens (BERT's uncased vocabulary, max_length 384,
doc_stride 128; the training file is the reconstructed one, 131,685 windows of 130,276 questions). It was made by

    python -m benchmarks.lengths --squad-folder <folder of train-v2.0.json and dev-v2.0.json> --tokenizer <folder>
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from distill.data.loading.mixing import Mix

FILE = Path(__file__).with_name("squad_v2_lengths.json")
MAX_LENGTH, DOC_STRIDE = 384, 128
VOCABULARY = 30522
_SPECIAL = 3  # [CLS] question [SEP] context [SEP]
_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Where the measured updates may lie beside the mean of all batches.
_TOLERANCE = 0.02


def histogram(split: str = "train") -> dict[int, int]:
    """Tokens of a window → number of windows of that length."""
    return {int(length): count for length, count in json.loads(FILE.read_text(encoding="utf-8"))[split].items()}


def all_lengths(split: str = "train") -> np.ndarray:
    """The length of every window of the split, int64, shuffled with a fixed seed."""
    counts = histogram(split)
    lengths = np.repeat(np.array(list(counts)), list(counts.values()))
    return np.random.default_rng(0).permutation(lengths)


def spread(rows: int, split: str = "train") -> np.ndarray:
    """So many lengths that are spread as all are (evenly spaced quantiles), int64, shuffled with a fixed seed."""
    lengths = np.sort(all_lengths(split))
    chosen = lengths[((np.arange(rows) + 0.5) / rows * len(lengths)).astype(np.int64)]
    return np.random.default_rng(1).permutation(chosen)


def write_squad(path: Path, lengths: Sequence[int], seed: int = 0) -> None:
    """A SQuAD v2.0 file of random words, one question per paragraph, whose windows have these lengths.

    Every word is one token of `write_tokenizer`'s vocabulary. A third of the questions has no answer, as in the
    original. A title stands for 20 questions.
    """
    generator = np.random.default_rng(seed)
    articles: dict[int, list[dict]] = {}
    for number, length in enumerate(lengths):
        asked = int(min(generator.integers(7, 18), length - _SPECIAL - 1))  # words of a question: 11 in the mean
        words = [f"w{i}" for i in generator.integers(0, VOCABULARY - len(_SPECIAL_TOKENS), int(length) - _SPECIAL)]
        context, answers = " ".join(words[asked:]), []
        if number % 3:
            first = int(generator.integers(0, len(words) - asked))
            text = " ".join(words[asked + first : asked + first + 3])
            answers = [{"text": text, "answer_start": len(" ".join([*words[asked : asked + first], ""]))}]
        question = {"id": f"{seed}-{number}", "question": " ".join(words[:asked]), "answers": answers}
        articles.setdefault(number // 20, []).append({"context": context, "qas": [question]})
    data = [{"title": f"{seed}-{title}", "paragraphs": paragraphs} for title, paragraphs in articles.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "v2.0", "data": data}), encoding="utf-8")


def write_tokenizer(folder: Path, size: int = VOCABULARY) -> None:
    """A tokenizer of `size` tokens that makes one token of every word w0, w1, … and token types as BERT's does."""
    from transformers import BertTokenizer

    words = [*_SPECIAL_TOKENS, *(f"w{i}" for i in range(size - len(_SPECIAL_TOKENS)))]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)


def representative_seed(
    lengths: np.ndarray, batch_size: int, skipped: int, updates: int, rounds: int, mix: Mix | None = None
) -> int:
    """A seed of training with which every round computes on about as many tokens as an average round does.

    Batches are of about equally long rows, so that a few of them need not be like all. Of 2,000 seeds this takes the
    one whose most unusual round is nearest to the mean over all batches, or the first with all rounds within 2%.

    Args:
        lengths: tokens of the rows, int64, in the order of the features.
        skipped: updates of the warm-up.
        updates: per round.
        mix: of rows with and without labels; None: all are alike.
    """
    from distill.data.loading.mixing import sampler

    lengths = np.asarray(lengths)
    best = (np.inf, 1)
    for seed in range(1, 2001):
        order = np.fromiter(sampler(lengths, batch_size, True, seed, mix), np.int64)
        whole = len(order) // batch_size
        widest = lengths[order[: whole * batch_size]].reshape(whole, batch_size).max(1)
        measured = widest[skipped : skipped + updates * rounds]
        if len(measured) < updates * rounds:
            return 1
        distance = np.abs(measured.reshape(rounds, updates).mean(1) / widest.mean() - 1).max()
        best = min(best, (float(distance), seed))
        if distance <= _TOLERANCE:
            break
    return best[1]


def main() -> None:
    """Count the windows of the real files."""
    from distill.data.features import question_features
    from distill.data.loading import tokenizer
    from distill.data.sources import squad_json

    parser = argparse.ArgumentParser(description="write squad_v2_lengths.json from the real files")
    parser.add_argument("--squad-folder", type=Path, required=True, help="has train-v2.0.json and dev-v2.0.json")
    parser.add_argument("--tokenizer", required=True, help="folder or hub id of BERT's uncased tokenizer")
    options = parser.parse_args()
    loaded, found = tokenizer.load(options.tokenizer), {}
    for split in ("train", "dev"):
        rows = squad_json.load_squad_json(options.squad_folder / f"{split}-v2.0.json", version_2=True)
        counts: Counter[int] = Counter()
        for batch in question_features.encode(rows, loaded, MAX_LENGTH, DOC_STRIDE):
            counts.update(batch.column("length").to_pylist())
        found[split] = {str(length): counts[length] for length in sorted(counts)}
    FILE.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
