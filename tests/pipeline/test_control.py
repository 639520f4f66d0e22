"""ft at a method's own time: its updates follow from the records of both trainings, and it is scored as students."""

import json

import pytest

from tests.helpers import micro

pytestmark = pytest.mark.slow


@pytest.fixture
def timed(repo, stages):
    """A repository with a student of ft and one of kd, whose records say how long they took."""
    changes = {"controls.methods": ["kd"], "controls.times": ["own", "total"]}
    (repo / "params.yaml").write_text(micro.params(changes))
    stages.run_all(repo, (("inputs",), ("distill", "ft", "1"), ("distill", "kd", "1")))
    note(repo, "distill-ft-1", train_seconds=10.0)
    note(repo, "distill-kd-1", train_seconds=25.0)
    note(repo, "finetune_teacher", seconds=40.0)
    note(repo, "predict_teacher", seconds=5.0)
    return repo


def note(repo, name, **facts):
    file = repo / f"data/runs/{name}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def test_it_trains_for_as_many_updates_as_fit_and_is_scored(timed, stages):
    """ft makes 8 updates in 10 s: 20 in kd's own 25 s, 56 with the 45 s before."""
    for time, updates in (("own", 20), ("total", 56)):
        done = stages.run(timed, "control", time, "kd", "1")
        assert f"ft for {updates} updates: the {time} time of kd" in done.out
        label = f"ft-{time}-kd-1"
        assert json.loads((timed / f"data/runs/distill-{label}.json").read_text())["updates"] == updates
        assert (timed / f"metrics/curves/{label}.csv").read_text().splitlines()[-1].startswith(f"{updates},")
        stages.run(timed, "evaluate", time, "kd", "1")
        assert 0 <= json.loads((timed / f"metrics/runs/{label}.json").read_text())["f1"] <= 100
    weights = {
        (timed / f"data/models/distill/ft-{time}-kd/1/model.safetensors").read_bytes() for time in ("own", "total")
    }
    assert len(weights) == 2


def test_a_record_that_knows_no_time_is_told(timed, stages):
    note(timed, "distill-kd-1", train_seconds=None)
    done = stages.run(timed, "control", "own", "kd", "1", check=False)
    assert done.code == 2
    assert "data/runs/distill-kd-1.json: has no train_seconds: run `dvc repro --force distill@kd-1`" in done.err
