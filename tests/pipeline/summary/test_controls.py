"""Methods against ft that took as long: differences and verdicts over all rows, from the controls' own tables."""

import json

import numpy as np
import pandas as pd
import pytest

from distill import parameters
from distill.analysis import example_table
from distill.errors import UserError
from distill.tasks.registry import load_task
from pipeline.summary import controls

SEEDS = [1, 2, 3]


@pytest.fixture
def params(root):
    changes = {"seeds": SEEDS, "methods": ["ft", "kd", "ted"], "controls.methods": ["kd", "ted"]}
    return parameters.load(root / "tests/params.yaml", changes)


def scores(level, seed):
    random = np.random.default_rng([int(level * 10), seed])
    return pd.DataFrame({"id": [f"q{n}" for n in range(200)], "f1": 100.0 * (random.random(200) < level)})


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """ted is far above its control, kd is as good as its own."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data/runs", "data/predictions"):
        (tmp_path / folder).mkdir(parents=True)
    for method, level in (("kd", 0.5), ("ted", 0.4)):
        for seed in SEEDS:
            name = f"ft-own-{method}-{seed}"
            example_table.write(scores(level, seed).to_dict("list"), tmp_path / f"data/predictions/{name}.examples.csv")
            (tmp_path / f"data/runs/distill-{name}.json").write_text(json.dumps({"updates": 10 * seed}))
    return {
        name: {seed: scores(0.5 if name == "kd" else 0.9, seed + 9).set_index("id") for seed in SEEDS}
        for name in ("kd", "ted")
    }


def _compared(params, tables):
    tables = tables | controls.tables_of(params, load_task("qa"), tables)
    return controls.compared(params, "f1", tables, controls.updates_of(params))


def test_a_row_for_each_method_and_time(params, tables, tmp_path):
    kd, ted = _compared(params, tables)
    assert (ted["method"], ted["time"], ted["control"], ted["updates"]) == ("ted", "own", "ft-own-ted", 20)
    means = [
        np.mean([scores(level, seed + more)["f1"].mean() for seed in SEEDS]) for level, more in ((0.9, 9), (0.4, 0))
    ]
    assert [ted["score"], ted["control_score"]] == pytest.approx(means)
    assert ted["difference"] == pytest.approx(means[0] - means[1]) and ted["low"] < ted["difference"] < ted["high"]
    assert (kd["verdict"], ted["verdict"]) == ("cannot tell", "better")


def test_without_controls_nothing_is_read(root):
    assert _compared(parameters.load(root / "tests/params.yaml"), {}) == []


def test_a_control_that_was_not_scored_is_named(params, tables, tmp_path):
    (tmp_path / "data/predictions/ft-own-ted-2.examples.csv").unlink()
    with pytest.raises(UserError, match=r"ft-own-ted-2\.examples\.csv: missing"):
        _compared(params, tables)
