"""The embedded corpus's siblings: deterministic, balanced, and not to be solved by single words."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from distill.data.sources.text_sets import Columns, load_files
from distill.data.synthetic import atlas_texts
from distill.data.synthetic.relations import TOWNS
from distill.data.synthetic.wordings import AFFIRMED, BAD, DECIDED, DENIED, GOOD, NOUNS, OPPOSITES
from distill.errors import UserError

ARGUMENTS = {"text_train": 3000, "text_validation": 600, "seed": 1, "held_out": 0.5}
TOWN = re.compile("|".join(TOWNS))
ENDS = {end: pair for pair in OPPOSITES for end in pair}


@pytest.fixture(scope="module")
def corpora():
    return atlas_texts.generate(**ARGUMENTS)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def test_sizes_ids_and_no_text_twice(corpora):
    for corpus, splits in corpora.items():
        assert {split: len(rows) for split, rows in splits.items()} == {"train": 3000, "validation": 600}
        for split, rows in splits.items():
            assert rows[7][0] == f"{corpus}-{split}-00007"
            assert len({row[1:-1] for row in rows}) == len({row[0] for row in rows}) == len(rows)
            assert all(len(row) == len(atlas_texts.COLUMNS[corpus]) for row in rows)


def test_classes_are_equally_frequent(corpora):
    assert Counter(row[-1] for row in corpora["sentences"]["train"]) == dict.fromkeys(
        atlas_texts.SENTENCE_CLASSES, 1500
    )
    assert Counter(row[-1] for row in corpora["pairs"]["train"]) == dict.fromkeys(atlas_texts.PAIR_CLASSES, 1000)
    scores = Counter(row[-1] for row in corpora["similarity"]["train"])
    assert set(scores) == {f"{points}.0" for points in range(6)} and min(scores.values()) > 400


def test_no_town_of_one_split_is_named_in_the_other(corpora):
    for splits in corpora.values():
        named = [{t for row in rows for text in row[1:-1] for t in TOWN.findall(text)} for rows in splits.values()]
        assert all(named) and named[0].isdisjoint(named[1])


def test_every_word_of_the_validation_split_occurs_in_training(corpora):
    for splits in corpora.values():
        train, validation = (
            {word for row in rows for text in row[1:-1] for word in words(TOWN.sub("", text))}
            for rows in splits.values()
        )
        assert validation <= train


def masked(text: str) -> str:
    """A text's wording: towns, nouns and adjectives as placeholders."""
    text = TOWN.sub("E", text).replace("the town", "E").replace("The town", "E")
    text = re.sub(rf"\b({'|'.join(NOUNS)})\b", "N", text)
    return re.sub(rf"\b({'|'.join([*GOOD, *BAD, *ENDS])})\b", "A", text)


def test_held_out_wordings_are_in_the_validation_split_alone():
    for share, low, high in ((0.0, 0.0, 0.0), (0.5, 0.35, 0.65), (1.0, 1.0, 1.0)):
        splits = atlas_texts.generate(**ARGUMENTS | {"held_out": share})["similarity"]
        known = {masked(row[1]) for row in splits["train"]}
        assert len(known) == len(AFFIRMED.both)
        unknown = np.mean([masked(row[1]) not in known for row in splits["validation"]])
        assert low <= unknown <= high
    for wordings in (AFFIRMED, DENIED, DECIDED):
        assert set(wordings.both).isdisjoint(wordings.held_out) and wordings.held_out


def decided(text: str) -> bool:
    """Whether a sentence is favourable, worked out from its words: connectives, denials, adjectives."""
    text = text.rstrip(".").lower()
    parts = re.split(r", (?:but )?", text)
    if len(parts) == 2:
        aside = [bool(re.search(r"\b(although|even if|once)\b", part)) for part in parts]
        if aside[0] == aside[1]:  # "k, but j"
            assert ", but " in text, text
            aside = [True, False]
        text = parts[aside.index(False)]
    denials = len(re.findall(r"\b(not|never|nobody|no visitor|far from)\b", text))
    (adjective,) = [word for word in words(text) if word in GOOD + BAD]
    return (adjective in GOOD) != (denials % 2 == 1)


def test_sentences_mean_what_their_label_says(corpora):
    for rows in corpora["sentences"].values():
        for _, sentence, label in rows:
            assert atlas_texts.SENTENCE_CLASSES[decided(sentence)] == label, sentence


def statement(text: str) -> tuple[str, str, bool]:
    """Noun, adjective, whether it is denied, of the first statement of a text."""
    text = text.lower().split(" and the ")[0]
    noun = next(word for word in words(TOWN.sub("", text)) if word in NOUNS)
    adjective = next(word for word in reversed(words(text)) if word in ENDS)
    return noun, adjective, bool(re.search(r"\b(not|never|nobody|no visitor|far from)\b", text))


def test_pairs_follow_from_their_premise_as_their_label_says(corpora):
    for rows in corpora["pairs"].values():
        for _, premise, hypothesis, label in rows:
            noun, stated, _ = statement(premise)
            subject, claimed, denied = statement(hypothesis)
            if subject != noun or ENDS[claimed] != ENDS[stated]:
                expected = "neutral"
            else:
                expected = "entailment" if (claimed == stated) != denied else "contradiction"
            assert label == expected, (premise, hypothesis)


def test_similarity_counts_noun_and_property(corpora):
    for rows in corpora["similarity"].values():
        for _, one, two, score in rows:
            (noun, stated, _), (subject, claimed, _) = statement(one), statement(two)
            points = 3 * (noun == subject) + (2 if stated == claimed else ENDS[stated] == ENDS[claimed])
            assert float(score) == points, (one, two)


@pytest.mark.parametrize("corpus", ["sentences", "pairs"])
def test_a_bag_of_words_does_not_solve_it(corpora, corpus):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, validation = corpora[corpus]["train"], corpora[corpus]["validation"]
    # Words of premise and hypothesis apart, so that nothing is lost but their order and their relation.
    joined = [[" ".join(f"{i}{w}" for i in range(1, len(r) - 1) for w in words(r[i])) for r in rows]
              for rows in (train, validation)]  # fmt: skip
    vectors = CountVectorizer(min_df=5)
    model = LogisticRegression(max_iter=300).fit(vectors.fit_transform(joined[0]), [row[-1] for row in train])
    accuracy = model.score(vectors.transform(joined[1]), [row[-1] for row in validation])
    assert accuracy < 0.75


def test_the_files_are_read_back_as_data(corpora, tmp_path):
    paths = atlas_texts.write(corpora, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths][:2] == [
        "sentences/train.tsv",
        "sentences/validation.tsv",
    ]
    for corpus, (text, pair, label) in {
        "sentences": ("sentence", None, "label"),
        "pairs": ("sentence1", "sentence2", "label"),
        "similarity": ("sentence1", "sentence2", "score"),
    }.items():
        columns = Columns(text, pair, label, "id", numeric=corpus == "similarity", strip_html=False)
        files = {split: tmp_path / corpus / f"{split}.tsv" for split in ("train", "validation")}
        rows, names = load_files(files, columns, None)
        assert [row["text"] for row in rows["train"]] == [row[1] for row in corpora[corpus]["train"]]
        assert len(names) == {"sentences": 2, "pairs": 3, "similarity": 0}[corpus]


def digest(corpora) -> str:
    return hashlib.sha256(repr(corpora).encode()).hexdigest()


def test_the_same_arguments_give_the_same_rows_in_every_process(corpora):
    code = "from tests.data.synthetic import test_atlas_texts as t;"
    code += f"print(t.digest(t.atlas_texts.generate(**{ARGUMENTS})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": "src:."},
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == digest(corpora)
    assert digest(atlas_texts.generate(**ARGUMENTS | {"seed": 2})) != digest(corpora)


def test_more_training_rows_leave_validation_and_the_first_rows_as_they_were(corpora):
    more = atlas_texts.generate(**ARGUMENTS | {"text_train": 3300})
    for corpus in corpora:
        assert more[corpus]["validation"] == corpora[corpus]["validation"]
        assert more[corpus]["train"][:3000] == corpora[corpus]["train"]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"text_train": 0}, "atlas.text_train is 0"),
        ({"held_out": 1.5}, "atlas.held_out is 1.5"),
        ({"text_validation": 10**5}, "atlas.text_validation is 100000, more than there are"),
    ],
)
def test_values_out_of_range_are_refused(change, part, monkeypatch):
    monkeypatch.setattr(atlas_texts, "TOWNS", TOWNS[:10])
    for name in ("NOUNS", "GOOD", "BAD", "OPPOSITES"):
        monkeypatch.setattr(atlas_texts, name, getattr(atlas_texts, name)[:2])
    for name in ("AFFIRMED", "DENIED", "DECIDED"):
        monkeypatch.setattr(atlas_texts, name, atlas_texts.Wordings(getattr(atlas_texts, name).both[:1]))
    with pytest.raises(UserError, match=re.escape(part)):
        atlas_texts.generate(**{"text_train": 10, "text_validation": 10, "seed": 1, "held_out": 0.0} | change)
