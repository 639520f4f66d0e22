"""pipeline.commands.table: Markdown from a run's files, and the tables of docs/results.md."""

import json
from pathlib import Path

import pytest

from distill.errors import UserError
from pipeline.commands import table

SUMMARY = {
    "teacher": {"em": 80.123, "em_std": None, "f1": 85.0, "f1_std": None, "seeds": []},
    "ted": {"em": 70.0, "em_std": 1.5, "f1": 75.555, "f1_std": 0.25, "seeds": [1, 2]},
}
RECORD = {
    "stage": "distill@ted-1",
    "seconds": 1234.5,
    "updates": 600,
    "resumed_from": 200,
    "examples_per_second": 51.26,
    "device": "cpu",
    "versions": {"torch": "1"},
}


def test_scores_have_a_row_per_model_and_a_spread_only_over_several_seeds():
    assert table.scores(SUMMARY) == [
        "| model | seeds | EM | F1 |",
        "|---|---|---:|---:|",
        "| teacher | – | 80.12 | 85.00 |",
        "| ted | 1, 2 | 70.00 ± 1.50 | 75.56 ± 0.25 |",
    ]


def test_methods_are_compared_with_fine_tuning_by_the_main_score():
    rows = {"student": (90.0, []), "ft": (80.0, [1]), "kd": (81.239, [1]), "ted": (79.5, [1])}
    lines = table.scores(
        {name: {"accuracy": value, "mcc": 1.0, "seeds": seeds} for name, (value, seeds) in rows.items()}
    )
    assert lines[0] == "| model | seeds | accuracy | MCC | accuracy − ft |"
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["", "", "+1.24", "-0.50"]


@pytest.mark.parametrize(
    ("row", "header"),
    [
        ({"em": 1.0, "f1": 2.0, "selection_em": 3.0, "selection_f1": 4.0}, "EM | F1 | F1, selection split | F1 − ft"),
        (
            {"f1": 1.0, "precision": 2.0, "recall": 3.0, "accuracy": 4.0, "selection_f1": 5.0},
            "F1 | precision | recall | accuracy | F1, selection split | F1 − ft",
        ),
        (
            {"accuracy": 1.0, "macro_f1": 2.0, "selection_accuracy": 3.0, "macro_f1_vs_ft": 4.0},
            "accuracy | macro F1 | macro F1 − ft",
        ),
        (
            {"ndcg_10": 1.0, "mrr_10": 2.0, "selection_ndcg_10": 3.0},
            "nDCG@10 | MRR@10 | nDCG@10, selection split | nDCG@10 − ft",
        ),
        (
            {"micro_f1": 1.0, "macro_f1": 2.0, "selection_micro_f1": 3.0, "micro_f1_vs_kd": 1.0},
            "micro F1 | micro F1, selection split | micro F1 − ft",
        ),
        ({"own_metric": 1.0}, "own metric | own metric − ft"),
    ],
)
def test_every_task_is_compared_by_its_own_score(row, header):
    lines = table.scores({name: row | {"seeds": [1]} for name in ("ft", "kd")})
    assert lines[0] == f"| model | seeds | {header} |"
    assert lines[3].endswith("| +0.00 |")


def test_costs_are_means_over_seeds_and_leave_out_what_nobody_needed():
    runs = [{**RECORD, "stage": f"distill@pkd-{seed}", "seconds": 10.0 * seed} for seed in (1, 2)]
    lines = table.costs([*runs, {**RECORD, "stage": "retrieve", "needed": False}])
    assert lines[2:-2] == ["| distill@pkd | 2 | 15 | 600 (from 200) | 51.3 |"]


def test_costs_say_where_a_resumed_training_went_on():
    lines = table.costs([RECORD, {**RECORD, "stage": "a", "updates": None, "resumed_from": 0}])
    assert lines[2] == "| a | 1 | 1,234 |  | 51.3 |"
    assert lines[3] == "| distill@ted | 1 | 1,234 | 600 (from 200) | 51.3 |"
    assert lines[-1] == "Machine: cpu. Versions: torch 1."


def test_a_folder_without_a_run_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"summary\.json: missing: run `dvc repro`"):
        table.tables(tmp_path)


def test_every_figure_of_the_results_page_comes_from_the_files_of_its_run(root: Path):
    page = (root / "docs" / "results.md").read_text()
    runs = sorted(path.parent.parent for path in (root / "docs" / "results").glob("*/metrics/summary.json"))
    assert runs
    for run in runs:
        json.loads((run / "metrics" / "summary.json").read_text())
        assert table.tables(run) in page, (
            f"docs/results.md does not hold what `python -m pipeline.commands.table {run}` prints"
        )


def test_the_results_page_has_the_intervals_of_its_runs(root):
    page = (root / "docs" / "results.md").read_text()
    shown = 0
    for file in sorted((root / "docs" / "results").glob("*-seeds/metrics/summary.json")):
        for name, scores in json.loads(file.read_text()).items():
            # `compare.also` of one run is a second baseline of its table.
            for baseline, verdict in (("ft", "verdict"), ("ft-fast", "verdict_vs_ft-fast")):
                end = f"_vs_{baseline}"
                for main in [key.removesuffix(end) for key in scores if key.endswith(end) and key != verdict]:
                    gain, low, high, p = (scores[f"{main}{end}{part}"] for part in ("", "_low", "_high", "_p"))
                    row = f"| {name} | {gain:+.2f} | {low:.2f} to {high:.2f} | {p:.3f} | {scores[verdict]} |"
                    assert row in page, f"{file}: docs/results.md does not hold {row}"
                    shown += 1
    assert shown > 6


def test_the_results_page_has_the_controls_and_checkpoints_of_its_runs(root):
    page = (root / "docs" / "results.md").read_text()
    shown = []
    for file in sorted((root / "docs" / "results").glob("*/metrics/analysis.json")):
        analysis = json.loads(file.read_text())
        summary = json.loads((file.parent / "summary.json").read_text())
        for row in analysis.get("controls") or []:
            interval = f"{row['difference']:+.2f} | {row['low']:.2f} to {row['high']:.2f} | {row['verdict']}"
            shown.append(f"| {row['method']} | {row['score']:.2f} | {row['control_score']:.2f} | {interval} |")
        for row in analysis.get("snapshots") or []:
            label, f1 = row["snapshot"] or "teacher", row["scores"]["f1"]
            student = min(row["students"], key=len)  # the teacher itself teaches further variants of kd
            taught = f"{summary[student]['f1']:.2f} ± {summary[student]['f1_std']:.2f}"
            shown.append(f"| {label} | {row['update']:,} | {f1:.2f} | {taught} |")
    assert len(shown) > 3
    assert not [row for row in shown if row not in page]
