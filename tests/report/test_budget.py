"""What the report says of a search for the best student under a budget."""

import json
from dataclasses import replace

from distill.report import budget
from distill.report.verdict import sentences
from tests.helpers import made_up

SHAPE = {"layers": [2, 4, 6], "units": 768, "heads": 12, "vocabulary": "whole", "latency_ms": 8.412, "excess": ""}
FIGURES = {"latency_ms_p10": 8.0, "latency_ms_p90": 9.5, "checkpoint_mb": 61.2, "parameters_without_embeddings": 2.5e6}
ROW = SHAPE | {
    "name": "l2.4.6-u768-h12",
    "experiment": "budget-kd-l2.4.6-u768-h12",
    "metric": "accuracy",
    "score": 85.168,
    "selection": 90.3,
    "versus_teacher": -3.36,
    "low": -4.2,
    "high": -2.5,
    "confidence": 0.95,
    "seeds": [1, 2, 3],
    "checkpoint_mb": 61.2,
    "teacher": {"latency_ms": 16.5, "checkpoint_mb": 90.9},
}
FOUND = {
    "budget": {"latency_ms": 10.0, "size_mb": None},
    "method": "kd",
    "machine": "cpu x86_64, 2 cores",
    "teacher": FIGURES | {"latency_ms": 17.0},
    "shapes": [SHAPE | FIGURES, SHAPE | FIGURES | {"layers": [6], "latency_ms": 3.0}],
    "fitting": 2,
    "trained": [ROW],
    "best": ROW,
}


def test_the_best_with_its_interval_comes_first_in_the_report():
    text = (
        "Of 2 shapes timed on cpu x86_64, 2 cores, 2 fit in 10 ms a row; the one trained by kd is layers 2, 4 and 6"
        " with 768 feed-forward units and 12 heads: 85.17 accuracy, 3.36 points below the teacher (95% interval [−4.20,"
        " −2.50], 3 seeds); 8.41 ms a row and 61.20 MB, the teacher 16.50 ms a row and 90.90 MB."
    )
    assert budget.sentence(FOUND) == text
    results = made_up.results()
    assert sentences(replace(results, budget=FOUND)) == [(text, ""), *sentences(results)]


def test_a_trimmed_vocabulary_has_a_score_of_its_own():
    row = ROW | {"trimmed_score": 85.05, "tokens": 11_204, "covered": 0.934, "vocabulary": "trimmed"}
    text = budget.sentence(FOUND | {"trained": [row], "best": row})
    assert "; 85.05 with its vocabulary trimmed to 11,204 tokens, which cover 93% of the validation rows; 8.41" in text


def test_no_answer_says_why():
    nothing = FOUND | {"fitting": 0, "trained": [], "best": None, "budget": {"latency_ms": 2.0, "size_mb": 20.0}}
    assert budget.sentence(nothing).endswith(
        "none fits in 2 ms a row and 20 MB: the nearest, layer 6 with 768 feed-forward units and 12 heads, takes"
        " 3.00 ms a row and 61.20 MB."
    )
    assert budget.sentence(FOUND | {"trained": [], "best": None}).endswith("2 fit in 10 ms a row; none is trained yet.")
    over = ROW | {"excess": "10.5 ms of 10"}
    text = budget.sentence(FOUND | {"trained": [over], "best": None})
    assert text.endswith("; over the budget after their training: l2.4.6-u768-h12 (10.5 ms of 10).")


def test_the_tables_have_the_teacher_and_every_shape():
    lines = budget.grid(FOUND)
    assert len(lines) == 5 and lines[2].startswith("| teacher |  |  | whole |")
    assert lines[3] == "| 2, 4, 6 | 768 | 12 | whole | 2.50 M | 61.20 | 8.41 (8.00–9.50) | yes |"
    assert budget.trained(FOUND)[2].endswith("| 1, 2, 3 | budget-kd-l2.4.6-u768-h12 | best |")


def test_the_page_has_the_figures_of_the_measured_search(root):
    found = json.loads((root / "docs/results/sst2-minilm-budget/metrics/budget.json").read_text())
    page = (root / "docs/budget.md").read_text(encoding="utf-8")
    for part in (budget.grid(found), budget.trained(found), [budget.sentence(found)]):
        assert "\n".join(part) in page
