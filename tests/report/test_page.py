"""The page and its Markdown: the figures are the summary's, texts are escaped, nothing comes from elsewhere."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from distill.report import calibration, page
from tests.helpers import made_up
from tests.helpers.html_tables import Page

TASKS = tuple(made_up.MAIN)


@pytest.fixture(scope="module", params=TASKS)
def task(request):
    return request.param


@pytest.fixture(scope="module")
def results(task):
    return made_up.results(task)


@pytest.fixture(scope="module")
def html(results):
    return page.html(results)


def test_figures_are_those_of_the_summary(results, html):
    """In full precision as sort keys, and as read, rounded to two digits."""
    found, metric = Page(html), results.metric
    for title, key in (
        (page.tables.heading(metric), metric),
        ("Difference to ft", f"{metric}_vs_ft"),
        ("p", f"{metric}_vs_ft_p"),
        ("Gap closed", "gap_closed"),
        ("Verdict", "verdict"),
    ):
        column = found.column("comparison", title)
        assert list(column) == list(results.summary)
        for name, (_, value) in column.items():
            expected = results.summary[name].get(key)
            assert value == (None if expected is None else str(expected))
    for name, (text, _) in found.column("comparison", page.tables.heading(metric)).items():
        row = results.summary[name]
        spread = "" if row[f"{metric}_std"] is None else f" ± {row[f'{metric}_std']:.2f}"
        assert text == f"{row[metric]:.2f}{spread}"
    for name, (text, _) in found.column("comparison", "95% interval").items():
        if name in results.rivals:
            low, high = (results.summary[name][f"{metric}_vs_ft_{end}"] for end in ("low", "high"))
            assert text.replace("−", "-") == f"[{low:+.2f}, {high:+.2f}]"


def test_texts_of_examples_are_escaped(html):
    assert made_up.SCRIPT not in html and "&lt;script&gt;document.title" in html
    assert [tag for tag, _ in Page(html).tags].count("script") == 1


def test_nothing_is_loaded_from_elsewhere(html):
    assert not re.findall(r"""(?:src|href)=(?!["']?(?:#|data:))|url\((?!#)|@import""", html)
    links = {found for _, attributes in Page(html).tags for found in [attributes.get("href")] if found}
    anchors = {attributes.get("id") for _, attributes in Page(html).tags}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors


def test_ids_are_there_once(html):
    ids = [attributes["id"] for tag, attributes in Page(html).tags if attributes.get("id") and tag != "path"]
    own = [name for name in ids if not re.fullmatch(r"[mp][0-9a-f]{10}", name)]
    assert len(own) == len(set(own))


def test_every_picture_is_named(html):
    pictures = [attributes for tag, attributes in Page(html).tags if tag == "svg"]
    assert pictures and all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)


@pytest.mark.drawn
def test_the_same_run_gives_the_same_bytes(results, html):
    assert page.html(results) == html


def test_markdown_has_the_figures_and_no_texts(results):
    text = page.markdown(results)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[2 : 2 + len(results.summary)]] == list(results.summary)
    for row in rows[2 : 2 + len(results.summary)]:
        assert row[1].startswith(f"{results.score(row[0]):.2f}")
    widths = [len(row) for row in rows[: 2 + len(results.summary)]]
    assert len(set(widths)) == 1
    assert "<script" not in text and "1867" not in text
    assert f"git checkout {results.about['commit']}" in text


def test_regression_has_no_calibration_and_no_right_answers():
    results = made_up.results("regression")
    results = replace(
        results, analysis=results.analysis | {"disagreements": {"models": ["teacher", "ft"], "counts": []}}
    )
    html = page.html(results)
    assert "section-calibration" not in html
    assert "(right)" not in html and "(wrong)" not in html and "(right)" in page.html(made_up.results())


def test_a_name_with_a_bar_keeps_its_cell_in_markdown():
    text = page.markdown(made_up.results(cost=made_up.results().cost | {"machine": "a|b"}))
    assert all(line.count("|") - line.count("\\|") > 1 for line in text.splitlines() if line.startswith("|"))


def test_one_seed_says_so():
    html = page.html(made_up.results(seeds=(1,)))
    found = Page(html)
    assert "Cannot tell from one seed." in found.text and "dvc exp run -S 'seeds=[1,2,3]'" in found.text
    assert {text for name, (text, _) in found.column("comparison", "Verdict").items() if name in ("kd", "ted")} == {
        "one seed"
    }
    assert not re.search(r"\w+ wins:", found.text)
    assert "±" not in "".join(text for row in found.tables["comparison"] for text, _ in row)


def test_without_ft_the_comparison_has_no_differences():
    found = Page(page.html(made_up.results(methods=("kd", "ted"))))
    titles = [text for text, _ in found.tables["comparison"][0]]
    assert not {"Difference to ft", "p", "Verdict"} & set(titles)
    assert "ft, the baseline of every comparison, is not in the run" in found.text


def test_a_run_of_little():
    """One method, and none of what may be missing."""
    bare = made_up.results(
        methods=("ft",), cost={}, filters={}, sweeps={}, curves={}, runs={}, disagreements={}, commands={}
    )
    bare = replace(bare, analysis={"slices": [], "calibration": {}, "agreement": {}, "disagreements": {}}, training={})
    found = Page(page.html(replace(bare, about={}, settings={})))
    assert list(found.tables) == ["comparison", "tuned"]
    assert page.markdown(replace(bare, about={}, settings={})).startswith("**Nothing to compare")


def test_21_methods_are_all_there():
    results = made_up.results(methods=made_up.METHODS)
    html = page.html(results)
    found = Page(html)
    assert len(found.tables["comparison"]) == 1 + 23 and len(found.tables["training"]) == 1 + 23
    assert html.count('id="picture-loss-') == 21
    assert len(html) < 1_500_000


def test_oracle_scores_are_called_so_and_are_means_of_the_runs():
    results = made_up.results()
    column = Page(page.html(results)).column("oracle", "Best F1 (oracle)")
    mean = sum(results.runs[f"ted-{seed}"]["best_f1_oracle"] for seed in (1, 2, 3)) / 3
    assert float(column["ted"][1]) == pytest.approx(mean)


def test_tuned_scores_stand_beside_those_at_threshold_0():
    results = made_up.results()
    head, *rows = Page(page.html(results)).tables["tuned"]
    assert [text for text, _ in head] == [
        "Model",
        *("EMthreshold 0", "EMtuned threshold", "GainEM points"),
        *("F1threshold 0", "F1tuned threshold", "GainF1 points"),
    ]
    for row in rows:
        kept = results.summary[row[0][0]]
        assert [value for _, value in row[4:]] == [
            str(kept["f1"]), str(kept["tuned_f1"]), str(kept["tuned_f1"] - kept["f1"]),
        ]  # fmt: skip


def test_a_sweep_shows_the_score_to_choose_by_first():
    frame = pd.DataFrame(
        {
            "experiment": ["a"],
            "value": [0.5],
            "model": ["kd"],
            "seeds": ["1"],
            "f1": [80.5],
            "selection_f1": [81.5],
            "p": [1],
        }
    )
    head, row = Page(page.html(made_up.results(sweeps={"kd.temperature": frame}))).tables["sweep-kd.temperature"]
    assert [text for text, _ in head] == ["kd.temperature", "F1, selection split", "F1", "Experiment"]
    assert [text for text, _ in row] == ["0.5", "81.50", "80.50", "a"]


def test_exports():
    forms = ("pytorch", "onnx", "int8")
    row = {"parity_max": 1e-5, "scores": {form: {"f1": 80.0 + i} for i, form in enumerate(forms)}}
    row |= {
        name: {form: float(i + 1) for i, form in enumerate(forms)}
        for name in ("size_mb", "latency_ms", "latency_ms_p90", "throughput")
    }
    row |= {"selection": {form: {"f1": 90.0 + i} for i, form in enumerate(forms)}, "machine": "a machine", "threads": 2}
    reason = "int8 (static) loses 3.00 points"
    refused = {"refused": reason, "left_out": ["a"], "nodes": 9, "trained": True}
    kept = refused | {"refused": None}
    shown = Page(page.html(made_up.results(exports={"kd-1": row | {"int8": refused}, "kd-2": row | {"int8": kept}})))
    assert {name: value for name, (_, value) in shown.column("exports", "F1").items()} == {
        f"kd-{seed}, {form}": str(80.0 + i)
        for seed, last in ((1, "ONNX, int8, refused"), (2, "ONNX, int8"))
        for i, form in enumerate(("PyTorch, float32", "ONNX, float32", last))
    }
    assert [value for _, value in shown.column("exports", "F1, selection split").values()] == [
        "90.0",
        "91.0",
        "92.0",
    ] * 2
    times = [text for text, _ in shown.column("exports", "Times as fast as PyTorch").values()]
    assert times == ["1.00×", "0.50×", "0.33×"] * 2
    for note in (
        f"kd-1: not exported: {reason}.",
        "kd-2: so that int8 holds the score, 1 of 9 nodes stay in float32, and the student was trained to bear it.",
        "Measured by stage export, the forms of a student in turns, on a machine, 2 threads.",
    ):
        assert note in shown.text, note


def test_scaling_that_makes_calibration_worse_or_has_few_examples_is_said():
    results = made_up.results("classification")
    rows = {name: row | {"ece": 9.0, "ece_calibrated": 4.0} for name, row in results.analysis["calibration"].items()}
    rows["kd"] |= {"ece": 5.0, "ece_calibrated": 24.0}

    def notes(selection: int, **changes) -> list[str]:
        analysis = dict(results.analysis) | {"calibration": rows | changes, "rows": {"selection": selection}}
        return calibration.notes(replace(results, analysis=analysis))

    worse, few = notes(24)
    assert "kd (ECE 5.00 → 24.00%)" in worse and "the 24 examples" in worse and "ft (" not in worse
    assert few.startswith("The temperatures are fitted on the 24 examples of the selection split: too few")
    better = {"kd": rows["ft"]}
    assert notes(2400, **better) == [] and len(notes(2400)) == 1 and len(notes(24, **better)) == 1
    assert calibration.notes(made_up.results("regression")) == []
