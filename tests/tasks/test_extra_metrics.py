"""Further metrics: loading, the names of their scores, and what is said where they fail."""

import sys

import numpy as np
import pytest

from distill.config.scoring import ExtraMetric
from distill.errors import UserError
from distill.tasks import extra_metrics
from distill.tasks.base import MetricInputs
from tests.helpers import metric_scripts

INPUTS = MetricInputs(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores(*entries, inputs=INPUTS):
    return extra_metrics.scores(
        extra_metrics.load([ExtraMetric(**entry) for entry in entries]), inputs, "classification"
    )


def test_numbers_become_scores_as_floats_and_the_rest_is_left_out(project):
    name = metric_scripts.write(project)
    found = scores({"name": name})
    assert found == {"overlap_share": 0.75, "overlap_rows": 4.0}
    assert all(type(value) is float for value in found.values())


def test_an_array_of_one_number_is_a_number(project):
    name = metric_scripts.write(
        project, results='{"one": __import__("numpy").array(0.5), "two": __import__("numpy").ones(2)}'
    )
    assert scores({"name": name}) == {"overlap_one": 0.5}


def test_a_metric_gets_the_fields_that_it_describes_and_no_others(project):
    """`squad` refuses the probability of no answer that `squad_v2` asks for."""
    text = '{"id": datasets.Value("string"), "text": datasets.Value("string")}'
    name = metric_scripts.write(project, features=text)
    inputs = MetricInputs([{"id": "a", "text": "x", "no_answer_probability": 0.1}], [{"id": "a", "text": "x"}])
    assert scores({"name": name}, inputs=inputs)["overlap_share"] == 1.0


def test_config_and_args_reach_the_metric_and_a_script_alone_will_do(project):
    metric_scripts.write(project, results='{"scaled": scale, "lite": float(config == "lite")}')
    (project / "extra_metrics/overlap/overlap.py").rename(project / "extra_metrics/alone.py")
    entry = {"name": "extra_metrics/alone.py", "config": "lite", "args": {"scale": 2.5}}
    assert scores(entry) == {"alone_scaled": 2.5, "alone_lite": 1.0}


def test_a_changed_script_is_computed_anew_and_random_numbers_are_the_same_each_time(project):
    name = metric_scripts.write(project, results='{"x": 1}')
    assert scores({"name": name}) == {"overlap_x": 1.0}
    metric_scripts.write(project, results='{"x": __import__("numpy").random.random()}')
    assert scores({"name": name}) == scores({"name": name}) != {"overlap_x": 1.0}


def test_a_score_that_does_not_exist_is_left_out_with_a_warning(project):
    name = metric_scripts.write(project, results='{"good": 1, "bad": float("nan")}')
    with pytest.warns(UserWarning, match="overlap_bad is nan"):
        assert scores({"name": name}) == {"overlap_good": 1.0}


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ({"results": "1 / 0"}, ("'extra_metrics/overlap' fails on what task classification", "ZeroDivisionError")),
        ({"results": "{}"}, ("gives no number but {}",)),
        ({"results": '{"text": "x"}'}, ("gives no number", "'text': 'x'")),
        ({"features": '{"id": datasets.Value("string")}'}, ("fails on what task classification", "docs/metrics.md")),
    ],
)
def test_a_metric_that_fails_is_named_in_one_line(project, script, parts):
    name = metric_scripts.write(project, **script)
    with pytest.raises(UserError) as caught:
        scores({"name": name})
    message = str(caught.value)
    assert message.startswith("params.yaml: evaluate.extra: ") and "\n" not in message
    assert all(part in message for part in parts), message


def test_a_script_that_is_no_metric_is_refused_when_it_is_loaded(project):
    metric_scripts.write(project)
    for text in ("import no_such_package\n", "x = 1\n", "this is no Python\n"):
        (project / "extra_metrics/overlap/overlap.py").write_text(text)
        with pytest.raises(UserError, match="'extra_metrics/overlap' cannot be loaded .*derived from evaluate.Metric"):
            extra_metrics.load([ExtraMetric(name="extra_metrics/overlap")])


def test_names_that_others_have_are_refused():
    extra_metrics.check_names(["overlap_share", "f1_f1"], ["f1", "accuracy"])
    for names in (["f1"], ["f1_std"], ["f1_vs_ft_low"], ["overlap_x", "overlap_x_std"]):
        with pytest.raises(UserError, match=f"score '{names[-1]}' has the name of another"):
            extra_metrics.check_names(names, ["f1", "accuracy"])


def test_names_are_those_of_the_listed_metrics_in_their_order():
    entries = [ExtraMetric(name="rouge"), ExtraMetric(name="someone/f1")]
    run = {"f1": 1.0, "f1_f1": 1.0, "rouge_l": 2.0, "rouge_1": 2.0, "mismatched_f1_f1": 1.0}
    assert extra_metrics.names_of([run, run | {"rouge_2": 0.0}], entries) == ("rouge_l", "rouge_1", "rouge_2", "f1_f1")


def test_without_extra_metrics_evaluate_is_not_imported(monkeypatch):
    """Nor by a stage: tests/pipeline/test_startup.py."""
    monkeypatch.setitem(sys.modules, "evaluate", None)  # whose import is an error now
    extra_metrics.load([])
