"""A model's logits over the training features, in a cache: for logits per token and per text."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distill.config.schema import Predict
from distill.data.loading.prepared import Prepared
from distill.models.forward import forward_pass
from distill.runtime.files import tree_hash
from distill.signals import writer
from distill.signals.cache import Cache, complete
from distill.tasks.registry import load_task
from tests.helpers import text, tiny

SETTINGS = Predict(batch_size=4, precision="fp32")
CASES = {
    "qa": (load_task("qa"), tiny.features(11), tiny.model()),
    "classification": (load_task("classification", labels=text.CLASSES), text.features(11), text.model()),
    "regression": (load_task("regression"), text.features(11, numeric=True), text.model(channels=1)),
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
        features=lambda split: features,
        taught_features=lambda: features,
        tokenizer=tiny.tokenizer,
        meta=meta,
        folder=table.parents[1],
        has_transfer=False,
    )
    data.trained_on = lambda: Prepared.trained_on(data)
    return task, features, model, data


def write(case, folder, kept=None):
    task, _, model, data = case
    states = (folder / "states", writer.state_arrays(kept, model.config.hidden_size, "float32")) if kept else None
    weights = folder / "weights"
    done = writer.write(
        folder / "logits", model, weights, data, task, SETTINGS, tiny.runtime(2), "predict", states=states
    )
    for name in ("logits", "states"):
        complete(folder / name)
    return done


def alone(case, row):
    """What the model gives for a feature that is in no batch."""
    task, _, model, _ = case
    batch = {name: torch.tensor([row[name]]) for name in ("input_ids", "token_type_ids")}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    with torch.no_grad():
        return forward_pass(model.eval(), task, batch, hidden=True)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_every_row_has_the_logits_that_it_has_alone(case, tmp_path):
    task, features, _, data = case
    written = write(case, tmp_path)
    identity = {
        "data": tree_hash(data.folder / "train/features.arrow"),
        "tokenizer": "words",
        "teacher": tree_hash(tmp_path / "weights"),
    }
    cache = Cache.open(tmp_path / "logits", identity)
    assert written.rows == 11 and written.entries == (sum(features["length"]) if task.per_token else 11)
    assert cache.meta["task"] == task.name and cache.meta["precision"] == "fp32"
    for i, row in enumerate(features):
        found = cache.rows("logits", [i], len(row["input_ids"]))[0]
        np.testing.assert_allclose(found, alone(case, row).logits[0].numpy(), rtol=1e-4, atol=1e-5)


def test_states_are_those_of_the_layers_that_were_asked_for(case, tmp_path):
    write(case, tmp_path, {"cls": [0, 1], "hidden": [1]})
    cache = Cache.open(tmp_path / "states", writer.identity(case[3], tmp_path / "weights"))
    assert set(cache.arrays) == {"cls-0", "cls-1", "hidden-1"}
    for i, row in enumerate(case[1]):
        hidden = [state[0].numpy() for state in alone(case, row).hidden]
        for layer in (0, 1):
            np.testing.assert_allclose(cache.rows(f"cls-{layer}", [i], 0)[0], hidden[layer][0], rtol=1e-4, atol=1e-5)
        found = cache.rows("hidden-1", [i], len(row["input_ids"]))[0]
        np.testing.assert_allclose(found, hidden[1], rtol=1e-4, atol=1e-5)


def test_the_logits_are_the_same_bytes_whatever_states_are_kept(case, tmp_path):
    write(case, tmp_path)
    expected = contents(tmp_path / "logits")
    write(case, tmp_path, {"cls": [1], "hidden": [1]})
    assert contents(tmp_path / "logits") == expected


def test_it_goes_on_where_it_was_stopped_and_writes_the_same_bytes(case, tmp_path, monkeypatch):
    kept = {"cls": [1], "hidden": [0]}
    write(case, tmp_path, kept)
    expected = [contents(tmp_path / name) for name in ("logits", "states")]
    again = tmp_path / "again"
    again.mkdir()
    (again / "weights").write_bytes(b"the weights")
    clock = itertools.count(step=11)  # so fast that every batch is marked
    monkeypatch.setattr(writer.time, "monotonic", lambda: next(clock))
    seen, whole = [], writer.predict

    def stopped(*arguments, start, **options):
        for number, *rest in whole(*arguments, start=start, **options):
            if len(seen) == 2:
                raise KeyboardInterrupt
            seen.append(number)
            yield number, *rest

    monkeypatch.setattr(writer, "predict", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(case, again, kept)
    seen.clear()
    monkeypatch.setattr(writer, "predict", lambda *a, start, **k: (seen.append(start), whole(*a, start=start, **k))[1])
    write(case, again, kept)
    assert seen == [2]
    assert [contents(again / name) for name in ("logits", "states")] == expected
