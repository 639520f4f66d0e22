"""distill.experiments.sweeps: which runs belong to a sweep, which is best, and the table of them."""

import csv

import pytest

from distill.errors import UserError
from distill.experiments import sweeps
from distill.experiments.sweeps import Run

PARAMS = {
    "ted": {"mse_alpha": 1000, "kl_alpha": 10},
    "kd": {"kl_alpha": 10},
    "methods": ["kd", "ted"],
    "augment": {"methods": ["kd"]},
    "seeds": [1, 2],
    "runtime": {"threads": None},
}


def run(name: str, selection: float, f1: float = 50.0, problem: str = "", **changes) -> Run:
    """A run with other values at dotted names (`__` for the dot)."""
    params = {section: dict(value) if isinstance(value, dict) else value for section, value in PARAMS.items()}
    for key, value in changes.items():
        section, _, parameter = key.partition("__")
        if parameter:
            params[section][parameter] = value
        else:
            params[section] = value
    scores = {"f1": f1, "selection_f1": selection, "f1_std": 1.25, "selection_f1_std": 0.5, "seeds": params["seeds"]}
    return Run(name, params, {"teacher": {}, "ted": scores | {"verdict": "cannot tell"}}, problem)


BASE = run("last commit", 60)


def test_what_a_section_does_not_set_is_the_value_of_all_trainings():
    params = {"training": {"batch_size": 8, "seed": 1}, "teacher": {"warmup": 0}, "distill": {}, "predict": {}}
    assert sweeps.value_of(params, "teacher.batch_size") == 8 and sweeps.value_of(params, "teacher.seed") == 1
    for name in ("predict.batch_size", "distill.seed"):
        with pytest.raises(UserError, match=f"params.yaml: {name}: no such parameter"):
            sweeps.value_of(params, name)


def test_runs_that_differ_in_the_parameter_alone_are_in_and_all_others_are_named():
    runs = [
        run("low", 61, ted__mse_alpha=100),
        run("other", 99, ted__kl_alpha=1),
        run("both", 99, ted__mse_alpha=10, kd__kl_alpha=1),
        run("seeds", 99, ted__mse_alpha=10, seeds=[1]),
        run("code", 99, problem="differs in src/x.py too", ted__mse_alpha=10),
        run("threads", 62, ted__mse_alpha=5000, runtime__threads=2),
        run("narrow", 63, ted__mse_alpha=50, methods=["ted"], augment__methods=[]),
        run("copies", 64, ted__mse_alpha=50, augment__methods=["ted"]),
        Run("empty", run("", 0, ted__mse_alpha=10).params, {}),
    ]
    sweep = sweeps.collect(BASE, runs, ["ted.mse_alpha"], "ted")
    assert [(point.name, point.values) for point in sweep.points] == [
        ("last commit", (1000,)),
        ("low", (100,)),
        ("threads", (5000,)),
        ("narrow", (50,)),
    ]
    assert sweep.left_out == {
        "other": "does not change ted.mse_alpha",
        "both": "differs in kd.kl_alpha too",
        "seeds": "differs in seeds too",
        "code": "differs in src/x.py too",
        "copies": "differs in augment.methods too",
        "empty": "no scores of ted",
    }


def test_a_run_that_changes_nothing_of_it_is_none_of_the_sweep():
    sweep = sweeps.collect(BASE, [run("threads", 99, runtime__threads=2)], ["ted.mse_alpha", "ted.kl_alpha"], "ted")
    assert sweep.left_out == {"threads": "does not change ted.mse_alpha or ted.kl_alpha"}


def test_two_parameters_may_differ_together_or_one_by_one():
    runs = [run("a", 61, ted__mse_alpha=1), run("b", 62, ted__mse_alpha=1, ted__kl_alpha=2)]
    sweep = sweeps.collect(BASE, runs, ["ted.mse_alpha", "ted.kl_alpha"], "ted")
    assert [point.values for point in sweep.points] == [(1000, 10), (1, 10), (1, 2)]


def test_a_schedule_is_one_value():
    grown = {"value": 10, "schedule": "linear"}
    sweep = sweeps.collect(BASE, [run("grown", 61, ted__mse_alpha=grown)], ["ted.mse_alpha"], "ted")
    assert sweep.points[1].values == (grown,) and not sweep.left_out
    assert sweeps.shown(grown) == '{"value": 10, "schedule": "linear"}'


def test_the_best_has_the_highest_selection_score_whatever_it_scores_elsewhere():
    runs = [run("shiny", 61, f1=99, ted__mse_alpha=1), run("good", 62, f1=1, ted__mse_alpha=2), run("late", 62)]
    runs[2] = run("late", 62, ted__mse_alpha=3)
    sweep = sweeps.collect(BASE, runs, ["ted.mse_alpha"], "ted")
    assert sweep.best.name == "good"  # the first of two equal ones
    assert (sweep.selection, sweep.reported) == ("selection_f1", "f1")


def test_the_table_is_by_value_and_marks_the_best():
    runs = [run("high", 61, ted__mse_alpha=5000), run("low", 62.345, f1=70, ted__mse_alpha=1.5)]
    sweep = sweeps.collect(BASE, runs, ["ted.mse_alpha"], "ted")
    assert sweeps.table(sweep) == [
        "| ted.mse_alpha | selection_f1 | f1 | seeds | experiment |  |",
        "|---:|---:|---:|---|---|---|",
        "| 1.5 | 62.34 ± 0.50 | 70.00 ± 1.25 | 1, 2 | low | best |",
        "| 1000 | 60.00 ± 0.50 | 50.00 ± 1.25 | 1, 2 | last commit |  |",
        "| 5000 | 61.00 ± 0.50 | 50.00 ± 1.25 | 1, 2 | high |  |",
    ]


def test_numbers_stand_before_words():
    runs = [run(str(value), 1, ted__mse_alpha=value) for value in ("uniform", 20, "last", 3, None)]
    sweep = sweeps.collect(run("last commit", 0, ted__mse_alpha=0), runs, ["ted.mse_alpha"], "ted")
    assert [point.values[0] for point in sweep.ordered()] == [0, 3, 20, "last", None, "uniform"]


def test_the_csv_has_value_and_scores_and_no_words_among_them(tmp_path):
    sweep = sweeps.collect(BASE, [run("low", 61, ted__mse_alpha=1)], ["ted.mse_alpha"], "ted")
    sweeps.write_csv(sweep, tmp_path / "new" / "x.csv")
    rows = list(csv.reader((tmp_path / "new" / "x.csv").open()))
    assert rows == [
        ["experiment", "value", "model", "seeds", "score", "selection_score"]
        + ["f1", "selection_f1", "f1_std", "selection_f1_std"],
        ["low", "1", "ted", "1 2", "50.0", "61", "50.0", "61", "1.25", "0.5"],
        ["last commit", "1000", "ted", "1 2", "50.0", "60", "50.0", "60", "1.25", "0.5"],
    ]


def test_the_csv_of_two_parameters_has_a_column_for_each(tmp_path):
    sweep = sweeps.collect(BASE, [], ["ted.mse_alpha", "ted.kl_alpha"], "ted")
    sweeps.write_csv(sweep, tmp_path / "x.csv")
    header, row = csv.reader((tmp_path / "x.csv").open())
    assert header[:4] == ["experiment", "ted.mse_alpha", "ted.kl_alpha", "model"] and "value" not in header
    assert row[:4] == ["last commit", "1000", "10", "ted"]


def test_the_model_is_the_section_s():
    assert sweeps.model_of(["ted.mse_alpha", "ted.kl_alpha"], ["teacher", "ted"]) == "ted"
    for parameters in (["distill.learning_rate"], ["ted.mse_alpha", "kd.kl_alpha"], ["seeds"]):
        with pytest.raises(UserError, match="not the section of one model: name the model .* --model kd"):
            sweeps.model_of(parameters, ["teacher", "ted", "kd"])


def test_a_mistyped_parameter_is_an_error_with_the_nearest_name():
    with pytest.raises(UserError, match=r"ted\.mse_alpa: no such parameter: did you mean ted\.mse_alpha\?"):
        sweeps.collect(BASE, [], ["ted.mse_alpa"], "ted")


def test_without_any_scores_the_error_says_why():
    with pytest.raises(UserError, match=r"no run has scores of kd .*\(last commit: no scores of kd\): run `dvc repro`"):
        sweeps.collect(BASE, [], ["kd.kl_alpha"], "kd")


def test_a_summary_without_selection_scores_is_an_error():
    bare = Run("last commit", PARAMS, {"ted": {"f1": 1.0, "seeds": [1]}})
    with pytest.raises(UserError, match="ted has no score on the selection split"):
        sweeps.table(sweeps.collect(bare, [], ["ted.mse_alpha"], "ted"))
