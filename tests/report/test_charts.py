"""The pictures of the page: which there are, what they show, and how they bear much and little."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from distill.report import charts, curves
from tests.helpers import made_up

pytestmark = pytest.mark.drawn
SVG = "{http://www.w3.org/2000/svg}"


def texts(picture):
    return ["".join(node.itertext()).strip() for node in ET.fromstring(picture.svg).iter(f"{SVG}text")]


def places(picture, names):
    """x and y of the texts that are one of `names`."""
    found = {}
    for node in ET.fromstring(picture.svg).iter(f"{SVG}text"):
        if (text := "".join(node.itertext()).strip()) in names:
            found[text] = (float(node.get("x", "nan")), float(node.get("y", "nan")))
            if move := re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", node.get("transform", "")):
                found[text] = (float(move[1]), float(move[2]))
    return found


def all_pictures(results):
    few = [name for name in ("teacher", "ft", results.chosen) if name in results.summary]
    one = [charts.differences, charts.scores, charts.quality_cost, charts.quality_training, curves.filters]
    found = [picture for make in one if (picture := make(results))]
    return (
        found
        + charts.slices(results, few)
        + charts.reliability(results, few)
        + curves.losses(results)
        + curves.sweeps(results)
    )


@pytest.mark.parametrize("task", made_up.MAIN)
def test_every_picture_has_a_title_and_words_and_units(task):
    pictures = all_pictures(made_up.results(task))
    assert len({picture.name for picture in pictures}) == len(pictures) >= 10
    for picture in pictures:
        assert picture.title and len(picture.text) > len(picture.title)
    scored = [p for p in pictures if p.name in ("scores", "quality-cost", "quality-training", "filters")]
    unit = "(−100 to 100)" if task == "regression" else "(0–100)"
    assert len(scored) == 4 and all(any(unit in text for text in texts(picture)) for picture in scored)


def test_differences_are_told_as_they_are_in_the_summary():
    results = made_up.results()
    picture = charts.differences(results)
    for name in results.rivals:
        row = results.summary[name]
        bounds = f"[{row['f1_vs_ft_low']:+.2f}, {row['f1_vs_ft_high']:+.2f}]".replace("-", "−")
        assert f"{name} {row['f1_vs_ft']:+.2f}".replace("+-", "-").replace("-", "−") + f" {bounds}" in picture.text
    assert "F1 minus ft's (points)" in texts(picture)


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_scores_are_drawn_with_their_intervals_as_the_differences_are(seeds, monkeypatch):
    """A lead of a fraction of a point is no ranking."""
    drawn, plot = [], Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda axes, *values, **look: drawn.append(values) or plot(axes, *values, **look))

    def lines(paint, results) -> int:
        drawn.clear()
        paint(results)
        return len(drawn)

    with_them = made_up.results("classification", seeds=seeds)
    bare = dict(with_them.analysis)
    del bare["intervals"]
    bare["slices"] = [
        part | {"groups": [{k: v for k, v in group.items() if k != "intervals"} for group in part["groups"]]}
        for part in bare["slices"]
    ]
    without = replace(with_them, analysis=bare)
    few = ["teacher", "ft"]
    for paint, models in (
        (charts.scores, len(with_them.summary)),
        (charts.quality_cost, len(with_them.summary)),
        (charts.quality_training, len(with_them.methods)),
        (lambda results: charts.slices(results, few)[0], 2 * len(few)),
    ):
        assert lines(paint, with_them) - lines(paint, without) == models
    low, high = with_them.interval("kd")
    assert f"[{low:.2f}, {high:.2f}]" in charts.scores(with_them).text
    assert "95% intervals over examples" in charts.scores(with_them).title


def test_errors_have_the_labels_unit():
    results = made_up.results("regression")
    part = results.analysis["slices"][0] | {"metric": "mse"}
    (picture,) = charts.slices(replace(results, analysis={"slices": [part]}), ["teacher", "ft"])
    assert "MSE (labels' unit, squared)" in texts(picture)


def test_one_seed_is_said_in_the_picture():
    assert "one seed" in charts.differences(made_up.results(seeds=(1,))).title


def test_names_of_many_methods_do_not_cover_each_other():
    results = made_up.results(methods=made_up.METHODS)
    for picture in (charts.quality_cost(results), charts.quality_training(results)):
        found = places(picture, set(results.summary))
        assert len(found) >= len(made_up.METHODS)
        assert not [pair for pair in combinations(found.values(), 2) if abs(pair[0][1] - pair[1][1]) < 11]
    names = places(charts.differences(results), set(results.rivals))
    assert len(names) == 20 and not any(math.isnan(y) for _, y in names.values())


def test_without_ft_or_cost_or_filters_those_pictures_are_left_out():
    results = made_up.results(methods=("kd",), cost={}, filters={}, training={}, curves={}, sweeps={})
    assert charts.differences(results) is charts.quality_cost(results) is charts.quality_training(results) is None
    assert curves.filters(results) is None and curves.losses(results) == curves.sweeps(results) == []


def test_filters_are_ordered_by_layer():
    layers = {f"layer_{n}": {"f1": float(n)} for n in (10, 2, 1)}
    results = made_up.results(filters={"teacher": layers})
    assert curves.filter_scores(results, "teacher") == [(1, 1.0), (2, 2.0), (10, 10.0)]


def test_long_curves_are_drawn_as_means_of_stretches():
    step = np.arange(1, 6001)
    frame = pd.DataFrame({"step": step, "loss": step.astype(float), "empty": np.nan})
    x, y = curves._thinned(frame, "loss")
    assert len(x) == curves.POINTS and np.array_equal(x, y)
    assert x[0] == step[:40].mean()
    (picture,) = curves.losses(made_up.results(curves={"kd": {1: frame}}))
    assert "empty" not in picture.text and len(picture.svg) < 20_000


def test_a_loss_that_is_below_zero_is_not_drawn_on_a_logarithmic_axis():
    frame = pd.DataFrame({"step": [1, 2, 3], "loss": [1.0, 0.0, -1.0]})
    (picture,) = curves.losses(made_up.results(curves={"kd": {1: frame}}))
    assert {"−1.0", "0.0", "1.0"} <= set(texts(picture))


def test_a_sweep_over_two_parameters_has_a_line_for_each_value_of_the_second():
    rows = [
        {
            "experiment": f"{a}-{b}",
            "ted.mse_alpha": a,
            "ted.kl_alpha": b,
            "model": "ted",
            "f1": a + b,
            "selection_f1": a,
        }
        for a in (1, 10)
        for b in (0.1, 0.5)
    ]
    results = made_up.results(sweeps={"ted.mse_alpha+ted.kl_alpha": pd.DataFrame(rows)})
    (picture,) = curves.sweeps(results)
    assert {"ted.mse_alpha", "ted.kl_alpha 0.1", "ted.kl_alpha 0.5"} <= set(texts(picture))
    assert "selection split (0–100)" in " ".join(texts(picture))
    assert "1: 1.00; 1: 1.00; 10: 10.00; 10: 10.00" in picture.text


def test_a_sweep_over_words_is_left_to_its_table():
    frame = pd.DataFrame({"experiment": ["a", "b"], "value": ["uniform", "last"], "model": "lwd", "f1": [80.0, 81.0]})
    assert curves.sweeps(made_up.results(sweeps={"lwd.layer_map": frame})) == []


def test_empty_bins_are_left_out_of_reliability():
    results = made_up.results()
    bins = [dict(part) for part in results.analysis["calibration"]["ft"]["bins"]]
    for part in bins:
        part |= {"examples": 0, "confidence": None, "accuracy": None}
    row = results.analysis["calibration"]["ft"] | {"bins": bins}
    empty = replace(results, analysis=results.analysis | {"calibration": {"ft": row}})
    (picture,) = charts.reliability(empty, ["ft"])
    assert "after" in texts(picture) and "before" not in texts(picture)
