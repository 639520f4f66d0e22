"""Scores of entities: seqeval's own, for all tags that hypothesis can think of."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB1, IOB2, IOBES

from distill.tasks import entities

PREFIXES = {"IOB2": "BI", "IOBES": "BIES", "IO": "I"}
SCHEMES = {"IOB2": IOB2, "IOBES": IOBES, "IO": IOB1}


def tags(scheme: str):
    return st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in PREFIXES[scheme] for kind in ("PER", "LOC"))])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("scheme", list(PREFIXES))
def test_scores_are_those_of_seqeval(scheme, data):
    pair = st.lists(st.tuples(tags(scheme), tags(scheme)), min_size=1, max_size=8)
    texts = data.draw(st.lists(pair, min_size=1, max_size=4))
    gold, said = ([[row[side] for row in text] for text in texts] for side in (0, 1))
    found = entities.scores(gold, said, scheme)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            strict = score(gold, said, mode="strict", scheme=SCHEMES[scheme])
            assert found[name] == pytest.approx(100 * strict, abs=1e-9)
            assert found[f"default_{name}"] == pytest.approx(100 * score(gold, said), abs=1e-9)
    flat = [np.array(sum(side, [])) for side in (gold, said)]
    assert found["accuracy"] == pytest.approx(100 * (flat[0] == flat[1]).mean())
    # The same counts, text by text: what resampled scores are made of.
    parts = [entities.find(side, scheme) for side in (gold, said)]
    right = sum(len({*a} & {*b}) for a, b in zip(*parts, strict=True))
    total = sum(map(len, parts[0])) + sum(map(len, parts[1]))
    assert found["f1"] == pytest.approx(200 * right / total if total else 0.0)
    for kind, values in entities.by_type(gold, said, scheme).items():
        mine = [[sum(e.kind == kind for e in text) for text in side] for side in parts]
        assert values["entities"] == sum(mine[0])


def test_strict_and_default_differ_where_a_scheme_is_broken():
    gold, said = [["B-PER", "I-PER", "O"]], [["I-PER", "I-PER", "O"]]
    found = entities.scores(gold, said, "IOB2")
    assert entities.find(said, "IOB2") == [[]] and entities.find(said, None) == [[("PER", 0, 2)]]
    assert found["f1"] == 0 and found["default_f1"] == 100
