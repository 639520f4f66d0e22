"""Who becomes champion: surely better than ft, best on the selection split, and never by what is reported."""

import json

import pytest

from distill import parameters
from distill.analysis.champion import winner
from pipeline.process.records import record_file
from pipeline.stage import paths
from pipeline.summary import champion
from tests.helpers import micro


def row(verdict: str | None, selection: float, f1: float, **more) -> dict:
    return {"f1": f1, "selection_f1": selection, "seeds": [1, 2], **({"verdict": verdict} if verdict else {}), **more}


TABLE = {
    "teacher": row(None, 99.0, 99.0),
    "ft": row(None, 70.0, 70.0),
    "kd": row("better", 78.0, 90.0, f1_vs_ft_low=1.25, f1_vs_ft_high=3.5),
    "ted": row("better", 79.0, 80.0, f1_vs_ft_low=1.25, f1_vs_ft_high=3.5),
    "lwd": row("cannot tell", 95.0, 95.0),
}
RUNS = {
    name: {1: {"selection_f1": of["selection_f1"] - 1}, 2: {"selection_f1": of["selection_f1"] + 1}}
    for name, of in TABLE.items()
}


def test_the_best_on_the_selection_split_among_the_surely_better():
    assert winner(TABLE, RUNS, "f1", "ft") == ("ted", 2, 79.0)


@pytest.mark.parametrize("verdict", ["worse", "cannot tell", "one seed", None])
def test_nobody_wins_without_being_surely_better(verdict):
    table = {name: of | {"verdict": verdict} for name, of in TABLE.items()}
    assert winner(table, RUNS, "f1", "ft") is None


class Recorder:
    """A stage and its run in one, which remember what they are told."""

    def __init__(self):
        self.run, self.said, self.tags, self.registered = self, [], {}, []

    def say(self, verb, text):
        self.said.append((verb, text))

    def tag(self, key, value):
        self.tags[key] = value

    def register(self, model):
        self.registered.append(model)


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """In a repository with the winner's folder, the selection split and a record of the evaluation."""
    monkeypatch.chdir(tmp_path)
    files = {
        paths.PREPARED / "selection" / "examples.arrow": "rows",
        record_file("evaluate@ted-2"): json.dumps({"run_id": "abc", "artifact_md5": "0" * 32 + ".dir"}),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (tmp_path / "params.yaml").write_text(micro.params())
    return Recorder()


def test_the_champion_is_described_by_what_dvc_keeps(stage):
    champion.register(stage, parameters.load(paths.PARAMS), "f1", TABLE, RUNS)
    (model,) = stage.registered
    assert (model.path, model.run_id) == ("data/models/distill/ted/2", "abc")
    assert model.md5 == "0" * 32 + ".dir"  # the evaluation's record has it: the summary reads no model
    assert model.score == 79.0 and model.tags == {"method": "ted", "seed": 2, "task": "qa", "f1": 80.0}
    assert "within +1.25, +3.50" in model.description
    assert stage.tags == {"champion": "ted-2"}


def test_a_run_without_winner_says_so_and_registers_nothing(stage):
    table = {name: of | {"verdict": "one seed"} for name, of in TABLE.items()}
    champion.register(stage, parameters.load(paths.PARAMS), "f1", table, RUNS)
    assert stage.registered == [] and stage.tags == {"champion": "none"}
    assert stage.said[0][0] == "champion" and "no method is surely better than ft" in stage.said[0][1]


def test_without_a_name_nothing_is_registered(stage):
    params = parameters.load(paths.PARAMS, {"tracking.registered_model": None})
    champion.register(stage, params, "f1", TABLE, RUNS)
    assert stage.registered == [] and stage.tags == {"champion": "ted-2"}
