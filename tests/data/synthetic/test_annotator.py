"""The annotator of the embedded sentences: wrong as often as it says, and the same file every time."""

import json

import numpy as np
import pytest

from distill.data.synthetic import annotator, atlas_texts
from distill.signals.predictions.files import records


@pytest.fixture(scope="module")
def sentences():
    return atlas_texts.generate(text_train=3000, text_validation=300, seed=7, held_out=0.5)["sentences"]


def test_it_errs_as_often_as_its_confidence_says(sentences):
    rows = sentences["train"]
    found = annotator.annotate(rows, 7)
    assert [record["text"] for record in found] == [row[1] for row in rows]
    right = np.array([record["label"] == row[2] for record, row in zip(found, rows, strict=True)])
    confidence = np.array([record["confidence"] for record in found])
    for stated in annotator.CONFIDENCES:
        assert right[confidence == stated].mean() == pytest.approx(stated, abs=0.03)
    assert 1 - right.mean() == pytest.approx(annotator.ERROR, abs=0.02)


def test_the_same_seed_gives_the_same_file_and_another_one_other_errors(sentences, tmp_path):
    paths = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        (tmp_path / name / "sentences").mkdir(parents=True)
        paths.append(annotator.write(sentences, seed, tmp_path / name))
    first, second, other = (path.read_bytes() for path in paths)
    assert first == second != other
    assert len(list(records(paths[0]))) == 3300 and set(json.loads(first.splitlines()[0])) == {
        "text",
        "label",
        "confidence",
    }
