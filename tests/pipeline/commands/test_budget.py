"""The search for the best student under a budget, on a micro project with real DVC; and its parts by themselves."""

import argparse
import json
from types import SimpleNamespace

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.strictyaml import YAMLFileCorruptedError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from distill import parameters
from distill.analysis.student_shapes import Budget, Shape
from distill.config import reading
from distill.errors import UserError
from distill.experiments.sweeps import Run
from pipeline.commands import budget, budget_search, experiments
from pipeline.summary import reporting
from tests.helpers import micro

SETTINGS = {
    "task": "classification",
    "data.embedded": "sentences",
    "methods": ["kd"],
    "cost.batch_sizes": [1],
    "cost.seconds": 0.02,
    "compare.resamples": 200,
}


class Searched:
    """A micro project whose teacher is fine-tuned and committed, and what the command did there, twice."""

    def __init__(self, folder, python, stages):
        self.env = micro.with_programs(python)
        self.repo = micro.repo(folder / "repo", SETTINGS)
        stages.run_all(self.repo, micro.BASE)
        self.run("dvc", "commit", "-q", "-f", *micro.BASE_IN_DVC)
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "teacher")
        words = ("--size-mb", "0.053", "--units", "16,32", "--vocabulary", "both", "--train", "1")
        self.first, self.found = self.command(*words)
        self.again, self.found_again = self.command(*words)

    def run(self, *words):
        return micro.run(self.repo, *words, env=self.env)

    def command(self, *words):
        """What the command printed, and metrics/budget.json."""
        done = self.run("python", "-m", "pipeline.commands.budget", *words)
        return done.stdout, json.loads((self.repo / "metrics/budget.json").read_text())


@pytest.fixture(scope="module")
def searched(tmp_path_factory, python, stages):
    return Searched(tmp_path_factory.mktemp("budget"), python, stages)


@pytest.mark.integration
@pytest.mark.slow  # DVC runs the micro pipeline
@pytest.mark.timeout(300)
def test_shapes_are_timed_and_the_best_is_trained_trimmed_and_scored(searched):
    found, repo = searched.found, searched.repo
    shapes = {row["name"]: row for row in found["shapes"]}
    assert [name for name in shapes if not name.endswith("-trimmed")] == ["l1.2-u16-h2", "l2-u32-h2", "l2-u16-h2"]
    assert {name for name, row in shapes.items() if row["excess"]} == {"l1.2-u16-h2"}
    assert (len(shapes), found["fitting"]) == (6, 5)
    # Of those that fit, the largest encoder: its vocabulary has to be trimmed.
    (row,) = found["trained"]
    assert (row["name"], row["experiment"], row["excess"]) == ("l1.2-u16-h2-trimmed", "budget-kd-l1.2-u16-h2", "")
    assert found["best"] == row and row["low"] <= row["versus_teacher"] <= row["high"]
    # Sizes before training are those of the files after it.
    folder = repo / "data/trimmed" / row["experiment"] / "1"
    assert row["checkpoint_mb"] == round((folder / "model.safetensors").stat().st_size / 1e6, 3) <= 0.053
    assert abs(row["checkpoint_mb"] - shapes[row["name"]]["checkpoint_mb"]) < 0.001
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) == row["tokens"]
    assert (model.config.num_hidden_layers, model.config.intermediate_size) == (2, 16)
    lines = searched.first.splitlines()
    assert f"Of 6 shapes timed on {found['machine']}, 5 fit in 0.053 MB; the one trained by kd is layers 1 and 2" in (
        searched.first
    )
    assert any(line.startswith("| l1.2-u16-h2-trimmed |") and line.endswith("| best |") for line in lines)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_same_command_neither_times_nor_trains_again(searched):
    assert "timing" in searched.first and "Running stage" in searched.first
    assert "timing" not in searched.again and "Running stage" not in searched.again
    assert searched.found_again["shapes"] == searched.found["shapes"]
    assert searched.found_again["best"]["experiment"] == searched.found["best"]["experiment"]


def test_the_report_of_later_takes_the_answer_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = parameters.parse(reading.parse(micro.params(), "params.yaml"), "params.yaml")
    assert reporting._later(params)["budget"] == {}
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/budget.json").write_text('{"best": null}')
    assert reporting._later(params)["budget"] == {"best": None}


def test_an_experiment_counts_only_with_these_values_and_no_other_ones(monkeypatch):
    shape = {"intermediate_size": 8}
    base = Run(
        "base", {"student": {"model": {"config": {"hidden_size": 4}}, "epochs": 1}, "seeds": [1], "cost": {"a": 1}}, {}
    )

    def run(name, config, epochs=1, seeds=(1,), problem="", summary=True):
        student = {"model": {"config": config}, "epochs": epochs}
        params = {"student": student, "seeds": list(seeds), "cost": {"a": 2}}
        return Run(name, params, {"kd": {"seeds": [1]}} if summary else {}, problem)

    others = [
        run("more heads cut", shape | {"num_attention_heads": 1}),
        run("two seeds", shape, seeds=(1, 2)),
        run("longer", shape, epochs=2),
        run("other code", shape, problem="differs in src too"),
        run("unfinished", shape, summary=False),
    ]
    wanted = {"student.model": {"config": shape}, "seeds": [1]}
    for found, expected in ((others, None), ([*others, run("this", shape), run("later", shape)], "this")):
        monkeypatch.setattr(experiments, "on_baseline", lambda found=found: iter(found))
        match = experiments.with_values(base, wanted)
        assert (match and match.name) == expected


@pytest.mark.parametrize("name", ["export.methods", "confirm.seeds"])
def test_a_list_that_dvc_would_break_the_file_by_emptying_is_told(tmp_path, monkeypatch, name):
    """It does so still where the message is not needed any more: then take the check out."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "params.yaml"
    file.write_text(micro.params({name: [1, 2]}))
    with pytest.raises(UserError, match=f"params.yaml: {name}: these runs need it empty.* set it to .. and commit"):
        experiments.overrides({name: []})
    with pytest.raises((yaml.YAMLError, YAMLFileCorruptedError)):
        apply_overrides(file, [f"{name}=[]"])
        yaml.safe_load(file.read_text())
    file.write_text(micro.params({name: []}))
    assert experiments.overrides({name: []}) == []


class Quick(budget_search.Search):
    """A search whose figures and trainings are made up."""

    def __init__(self, figures, after, train=2):
        self.options, self.budget = SimpleNamespace(train=train), Budget(10.0, None)
        self.figures, self.after, self.found = figures, after, {"trained": [], "best": None}

    def _trained(self, shape):
        latency, selection = self.after[shape]
        return {"name": shape.name, "selection": selection, "excess": self.budget.excess(latency, 1.0)}


def figures(latency, parameters):
    return {"latency_ms": latency, "checkpoint_mb": 1.0, "parameters_without_embeddings": parameters}


def test_a_shape_that_is_too_slow_after_its_training_gives_way_to_the_next(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.commands.experiments.check_committed", lambda: None)
    wide, deep, narrow, slow = Shape((6,), 64, 2), Shape((3, 6), 16, 2), Shape((6,), 32, 2), Shape((3, 6), 64, 2)
    trimmed = Shape((6,), 64, 2, trimmed=True)  # as slow as the whole one: not tried after it
    before = {slow: figures(12.0, 9), wide: figures(9.9, 8), deep: figures(9.0, 6), narrow: figures(8.0, 4)}
    before[trimmed] = figures(9.9, 8)
    search = Quick(before, {wide: (10.5, 99.0), deep: (9.0, 70.0), narrow: (8.0, 80.0)})
    search.train()
    # The one over the budget before is not trained; narrow comes up only when wide, which has more of all, falls.
    assert [row["name"] for row in search.found["trained"]] == ["l6-u64-h2", "l3.6-u16-h2", "l6-u32-h2"]
    assert search.found["best"]["name"] == "l6-u32-h2"
    assert "l6-u64-h2: over the budget after its training (10.5 ms of 10): the next" in capsys.readouterr().out
    fits = Quick(before, {wide: (9.9, 60.0), deep: (9.0, 70.0)}, train=3)
    fits.train()
    assert [row["name"] for row in fits.found["trained"]] == ["l6-u64-h2", "l3.6-u16-h2"]
    assert json.loads((tmp_path / "metrics/budget.json").read_text()) == fits.found


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "no budget: give --latency-ms 10, --size-mb 20, or both"),
        (["--latency-ms", "-3"], "--latency-ms -3: give a number above 0"),
        (["--size-mb", "nan"], "--size-mb nan: give a number above 0"),
        (["--size-mb", "20", "--train", "0"], "--train 0: give 1 or more, or --time-only"),
        (["--size-mb", "20", "--seeds", "1,1"], "--seeds: a number is given twice"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(words, part):
    with pytest.raises(UserError, match=part.replace("(", r"\(")):
        budget.main(words)
    with pytest.raises(argparse.ArgumentTypeError, match="'2,x': give whole numbers with commas"):
        budget._numbers("2,x")
