"""Siblings of the embedded corpus for other tasks: sentences, pairs and similarity, about the same invented towns.

- sentences: is a statement about a town favourable? Negation and contrast decide as often as the adjective does.
- pairs: does a premise say what the hypothesis says, the contrary, or neither (as in MNLI)?
- similarity: how alike are two statements, from 0 to 5 (as in STS-B)? 3 points for the same noun, 2 for the same
  property, 1 for its opposite.

Like `distill.data.synthetic.atlas` they are for trying the pipeline, not for ranking methods, and give the same bytes
everywhere.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from distill.data.synthetic.relations import TOWNS
from distill.data.synthetic.wordings import AFFIRMED, BAD, DECIDED, DENIED, GOOD, NOUNS, OPPOSITES, Wordings
from distill.errors import UserError

Table = list[tuple[str, ...]]

#: Columns of each corpus.
COLUMNS = {
    "sentences": ("id", "sentence", "label"),
    "pairs": ("id", "sentence1", "sentence2", "label"),
    "similarity": ("id", "sentence1", "sentence2", "score"),
}
SENTENCE_CLASSES = ("unfavourable", "favourable")
PAIR_CLASSES = ("entailment", "neutral", "contradiction")


def generate(text_train: int, text_validation: int, seed: int, held_out: float) -> dict[str, dict[str, Table]]:
    """Generate all three, each with both splits. No town of one split is named in the other.

    Args:
        text_train, text_validation: rows of each corpus.
        seed: any integer; another seed gives other rows.
        held_out: share of the validation split's statements worded as none is in training.

    Returns:
        corpus → split → rows, values in the order of `COLUMNS`; no text (pair of texts) twice in a split, classes as
        often as each other, give or take one.

    Raises:
        UserError: a value is out of range, or there are fewer different rows.
    """
    counts = {"train": text_train, "validation": text_validation}
    for split, count in counts.items():
        if count < 1:
            raise UserError(f"params.yaml: atlas.text_{split} is {count}; give a whole number of at least 1")
    if not 0 <= held_out <= 1:
        raise UserError(f"params.yaml: atlas.held_out is {held_out}; give a share from 0 to 1")
    names = list(TOWNS)
    Random(f"{seed}/texts/towns").shuffle(names)
    cut = len(names) // 5
    towns = {"train": names[cut:], "validation": names[:cut]}
    makers = {"sentences": _Speaker.sentence, "pairs": _Speaker.pair, "similarity": _Speaker.similarity}
    corpora: dict[str, dict[str, Table]] = {}
    for corpus, make in makers.items():
        corpora[corpus] = {}
        for split, count in counts.items():
            draw = Random(f"{seed}/{corpus}/{split}")
            speaker = _Speaker(towns[split], held_out if split == "validation" else 0.0, draw)
            rows: dict[tuple[str, ...], str] = {}
            misses = 0
            while len(rows) < count:
                *texts, label = make(speaker, len(rows))
                misses = misses + 1 if tuple(texts) in rows else 0
                rows.setdefault(tuple(texts), label)
                if misses == PATIENCE:
                    raise UserError(f"params.yaml: atlas.text_{split} is {count}, more than there are texts; lower it")
            corpora[corpus][split] = [
                (f"{corpus}-{split}-{number:05d}", *texts, label) for number, (texts, label) in enumerate(rows.items())
            ]
    return corpora


def write(corpora: dict[str, dict[str, Table]], folder: Path) -> list[Path]:
    """Write ``<folder>/<corpus>/<split>.tsv`` (UTF-8, with a header) and return the paths."""
    paths = []
    for corpus, splits in corpora.items():
        (folder / corpus).mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            path = folder / corpus / f"{split}.tsv"
            path.write_bytes("".join("\t".join(row) + "\n" for row in (COLUMNS[corpus], *rows)).encode())
            paths.append(path)
    return paths


# Repeated texts in succession, after which new ones are too rare to wait for.
PATIENCE = 1000
# The second text of a pair speaks of the town that the first has named.
HERE = "the town"


class _Speaker:
    """Makes rows of a split; `number`, the row's number, determines its class."""

    def __init__(self, towns: list[str], held_out: float, draw: Random):
        self.towns, self.held_out, self.draw = towns, held_out, draw

    def sentence(self, number: int) -> tuple[str, str]:
        """A statement, or two of which one decides; the class's name."""
        favourable = number % 2 == 1
        text = self._judgement(favourable)
        if self.draw.random() < 0.5:
            text = self._word(DECIDED).format(j=text, k=self._judgement(not favourable))
        return _finish(text), SENTENCE_CLASSES[favourable]

    def pair(self, number: int) -> tuple[str, str, str]:
        """Premise, hypothesis, the class's name."""
        label = PAIR_CLASSES[number % 3]
        noun, another = self.draw.sample(NOUNS, 2)
        (low, high), (unrelated, _) = self._properties(2)
        # As in MNLI a denial speaks for contradiction, though not often enough to settle it.
        denied = self.draw.random() < {"entailment": 0.1, "neutral": 0.2, "contradiction": 0.4}[label]
        if label != "neutral":
            subject, claimed = noun, high if denied == (label == "entailment") else low
        elif self.draw.random() < 0.5:
            subject, claimed = noun, unrelated
        else:
            subject, claimed = another, self.draw.choice((low, high))
        premise = self._say(noun, self.draw.choice(self.towns), low)
        return _finish(premise), _finish(self._say(subject, HERE, claimed, denied)), label

    def similarity(self, number: int) -> tuple[str, str, str]:
        """Two statements, points from 0 to 5."""
        (low, high), (unrelated, _) = self._properties(2)
        same, points = self.draw.random() < 0.5, number % 3
        noun, another = self.draw.sample(NOUNS, 2)
        first_text = self._say(noun, self.draw.choice(self.towns), low)
        second_text = self._say(noun if same else another, HERE, (unrelated, high, low)[points])
        return _finish(first_text), _finish(second_text), f"{3 * same + points}.0"

    def _judgement(self, favourable: bool) -> str:
        denied = self.draw.random() < 0.5
        adjective = self.draw.choice(GOOD if favourable != denied else BAD)
        return self._say(self.draw.choice(NOUNS), self.draw.choice(self.towns), adjective, denied)

    def _say(self, noun: str, town: str, adjective: str, denied: bool = False) -> str:
        return self._word(DENIED if denied else AFFIRMED).format(n=noun, e=town, a=adjective)

    def _word(self, wordings: Wordings) -> str:
        return self.draw.choice(wordings.held_out if self.draw.random() < self.held_out else wordings.both)

    def _properties(self, count: int) -> list[tuple[str, str]]:
        """Different pairs of opposites, each in random order."""
        return [tuple(self.draw.sample(pair, 2)) for pair in self.draw.sample(OPPOSITES, count)]


def _finish(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."
