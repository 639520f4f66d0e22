"""The embedded corpus of entities: spans hold what they say, both splits have all types, each town is in one."""

import pytest

from distill.data.synthetic import atlas_entities, json_rows
from distill.data.synthetic.relations import TOWNS, VALUES
from distill.errors import UserError


@pytest.fixture(scope="module")
def corpus():
    return atlas_entities.generate(120, 60, 7)


def test_every_span_is_a_value_of_its_type_and_no_value_is_left_out(corpus):
    kinds = {label: kind for kind, label in atlas_entities.TYPES.items()}
    for texts in corpus.values():
        for text in texts:
            spans = [(e["start"], e["end"]) for e in text["entities"]]
            assert spans == sorted(spans) and all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
            for entity in text["entities"]:
                assert text["text"][entity["start"] : entity["end"]] in VALUES[kinds[entity["label"]]]
            outside = "".join(c for i, c in enumerate(text["text"]) if not any(a <= i < b for a, b in spans))
            assert not any(value in outside for kind in ("town", "person", "year") for value in VALUES[kind])
    for texts in corpus.values():
        assert {e["label"] for text in texts for e in text["entities"]} == set(kinds)


def test_splits_share_no_town_and_a_split_repeats_no_text(corpus):
    named = {
        split: {town for town in TOWNS for text in texts if town in text["text"]} for split, texts in corpus.items()
    }
    assert named["train"] and named["validation"] and not named["train"] & named["validation"]
    assert all(len({text["text"] for text in texts}) == len(texts) for texts in corpus.values())


def test_the_same_seed_gives_the_same_bytes_and_another_other_texts(corpus, tmp_path):
    paths = json_rows.write(corpus, tmp_path / "a", "entities")
    again = json_rows.write(atlas_entities.generate(120, 60, 7), tmp_path / "b", "entities")
    assert [path.name for path in paths] == ["train.jsonl", "validation.jsonl"]
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    assert atlas_entities.generate(120, 60, 8) != corpus


def test_more_texts_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(atlas_entities, "PATIENCE", 1)
    monkeypatch.setattr(atlas_entities, "TOWNS", atlas_entities.TOWNS[:10])
    with pytest.raises(UserError, match="atlas.text_train is 100000, more than there are texts"):
        atlas_entities.generate(100_000, 1, 1)
