"""The validation split in the tokens of another tokenizer, for every task."""

import pytest

from distill import parameters
from distill.config import reading
from distill.data.kinds.registry import KINDS
from distill.data.loading import tokenizer as tokenizers
from distill.data.loading.prepared import Prepared
from pipeline.commands import trim_vocabulary
from tests.helpers import micro

WORDS = ["the", "old", "bridge", "was", "built", "by", "a", "miner", "near", "the", "town"]
TEXTS = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(6)]


def rows(task):
    """Six examples as stage prepare reads them."""
    if task == "qa":
        answers = {"text": ["miner"], "answer_start": [0]}
        return [
            {
                "id": str(i),
                "title": "t",
                "context": text,
                "question": "by whom",
                "answers": answers | {"answer_start": [text.index("miner")]},
            }
            for i, text in enumerate(TEXTS)
        ]
    if task == "token_classification":
        found = []
        for i, text in enumerate(TEXTS):
            starts = [0, *(place + 1 for place, letter in enumerate(text) if letter == " ")]
            ends = [*(start - 1 for start in starts[1:]), len(text)]
            found.append(
                {
                    "id": str(i),
                    "text": text,
                    "text_pair": None,
                    "starts": starts,
                    "ends": ends,
                    "tags": [0, 1] * 5 + [0],
                }
            )
        return found
    label = {"classification": 1, "regression": 0.5, "multi_label": [0, 1], "ranking": 1.0}[task]
    pair = "near" if task == "ranking" else None
    query = {"query": "q"} if task == "ranking" else {}
    labels = [label * (i % 2) if task == "ranking" else label for i in range(len(TEXTS))]
    return [{"id": str(i), "text": text, "text_pair": pair, "label": labels[i]} | query for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("task", KINDS)
def test_the_same_tokenizer_gives_the_same_features(task, tmp_path):
    params = parameters.parse(reading.parse(micro.params({"methods": ["kd"]}), "params.yaml"), "params.yaml")
    params = params.model_copy(update={"task": task})
    tokenizer = tokenizers.train([*TEXTS, "by whom"], 60, True)
    labels = {"classification": ["a", "b"], "multi_label": ["a", "b"], "token_classification": ["O", "B-a"]}.get(
        task, []
    )
    meta = {"task": task, "labels": labels, "pairs": task in ("qa", "ranking"), "version_2": True}
    meta |= {"scheme": "IOB2"} if task == "token_classification" else {}
    parts = {"train": rows(task), "validation": rows(task)[:4]}
    KINDS[task].write(tmp_path / "one", parts, tokenizer, params, meta, lambda *_: None, {})
    data = Prepared(tmp_path / "one")
    again = trim_vocabulary.rewritten(data, tokenizer, params, tmp_path / "two")
    assert again.features("validation").data.table.equals(data.features("validation").data.table)
    assert again.examples("validation").to_list() == data.examples("validation").to_list()
    assert {name: again.meta[name] for name in meta} == meta
    ids = data.features("validation")["input_ids"]
    without = [token for row in ids[1:] for token in row if token not in ids[0]] or [max(ids[0])]
    stay = sorted({token for row in ids for token in row} - {without[0]})
    expected = [not {*row} - {*stay} for row in ids]
    assert trim_vocabulary.covered(data, stay) == sum(expected) / len(ids) < 1
