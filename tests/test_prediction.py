"""A model's logits over the training features, in a cache: for logits per token and per text."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distill import checkpoints, models, prediction, registry
from distill.cache import LogitCache
from distill.data.prepared import Prepared
from distill.sections import Predict
from tests import text, tiny

SETTINGS = Predict(batch_size=4, precision="fp32")
CASES = {
    "qa": (registry.load_task("qa"), tiny.features(11), tiny.model()),
    "classification": (registry.load_task("classification", labels=text.CLASSES), text.features(11), text.model()),
    "regression": (registry.load_task("regression"), text.features(11, numeric=True), text.model(channels=1)),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """Task, features, model, and what stands for the prepared data."""
    task, features, model = CASES[request.param]
    table = tmp_path / "prepared/train/features.arrow"
    table.parent.mkdir(parents=True)
    table.write_bytes(b"the features")
    (tmp_path / "weights").write_bytes(b"the weights")
    meta = {"tokenizer": {"fingerprint": "words"}}
    data = SimpleNamespace(
        features=lambda split: features, tokenizer=tiny.tokenizer, meta=meta, folder=table.parents[1]
    )
    data.trained_on = lambda: Prepared.trained_on(data)
    return task, features, model, data


def write(case, folder):
    task, _, model, data = case
    return prediction.write_logits(folder / "logits", model, folder / "weights", data, task, SETTINGS, "predict")


def test_every_row_has_the_logits_that_it_has_alone(case, tmp_path):
    task, features, model, data = case
    written = write(case, tmp_path)
    cache = LogitCache.open(tmp_path / "logits", checkpoints.tree_hash(data.folder / "train/features.arrow"))
    assert (written.rows, written.entries) == (11, len(cache.logits)) and cache.logits.dtype == np.float32
    assert cache.meta["teacher"] == checkpoints.tree_hash(tmp_path / "weights") and cache.meta["task"] == task.name
    for i, row in enumerate(features):
        batch = {name: torch.tensor([row[name]]) for name in ("input_ids", "token_type_ids")}
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        with torch.no_grad():
            alone = models.run(model.eval(), task, batch).logits[0].numpy()
        width = len(row["input_ids"]) if task.per_token else 1
        found = cache.rows([i], width)[0]
        np.testing.assert_allclose(found if task.per_token else found[0], alone, rtol=1e-4, atol=1e-5)


def test_it_goes_on_where_it_was_stopped_and_writes_the_same_bytes(case, tmp_path, monkeypatch):
    write(case, tmp_path)
    expected = {file.name: file.read_bytes() for file in (tmp_path / "logits").iterdir()}
    again = tmp_path / "again"
    again.mkdir()
    (again / "weights").write_bytes(b"the weights")
    clock = itertools.count(step=11)  # so fast that every batch is marked
    monkeypatch.setattr(prediction.time, "monotonic", lambda: next(clock))
    seen, whole = [], prediction.predict

    def stopped(*arguments, start, **options):
        for number, *rest in whole(*arguments, start=start, **options):
            if len(seen) == 2:
                raise KeyboardInterrupt
            seen.append(number)
            yield number, *rest

    monkeypatch.setattr(prediction, "predict", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(case, again)
    seen.clear()
    monkeypatch.setattr(
        prediction, "predict", lambda *a, start, **k: (seen.append(start), whole(*a, start=start, **k))[1]
    )
    write(case, again)
    assert seen == [2]
    assert {file.name: file.read_bytes() for file in (again / "logits").iterdir()} == expected
