"""One row per model: means and standard deviations over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.analysis.significance import Comparison, Difference, gap_closed
from distill.runtime import csv_files


def summarize(runs: dict[str, dict[int | None, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Mean and sample standard deviation of every score over the seeds; counts (integers) are the same for all.

    Args:
        runs: model name → seed → scores; the seed of a model that is trained once is None.

    Returns:
        name → {score: mean, score_std: …, seeds: […]}. The standard deviation of a single run is null: one run has no
        spread, which is not a spread of 0.
    """
    table: dict[str, dict[str, Any]] = {}
    for name, by_seed in runs.items():
        rows = list(by_seed.values())
        scores = [key for key in rows[0] if all(key in row for row in rows)]
        counts = [key for key in scores if all(isinstance(row[key], int) for row in rows)]
        table[name] = {
            key: rows[0][key] if key in counts else statistics.fmean(row[key] for row in rows) for key in scores
        }
        for key in [key for key in scores if key not in counts]:
            table[name][f"{key}_std"] = statistics.stdev(row[key] for row in rows) if len(rows) > 1 else None
        table[name]["seeds"] = [seed for seed in by_seed if seed is not None]
    return table


def add_comparison(
    table: dict[str, dict[str, Any]], comparison: Comparison, metric: str, further: bool = False
) -> None:
    """Put the results of `distill.analysis.significance` into each method's row.

    Args:
        table: result of `summarize`, with the baseline; without a teacher nothing closes a gap.
        comparison: all methods against one.
        metric: the score that was compared, main_metric of the task.
        further: whether this is a table beside the one against `compare.baseline`: its verdict has the name of its
            baseline, and it has no share of the gap.
    """
    base = comparison.baseline
    for name, item in comparison.differences.items():
        row = table[name]
        row |= {
            f"{metric}_vs_{base}": item.value,
            f"{metric}_vs_{base}_low": item.low,
            f"{metric}_vs_{base}_high": item.high,
            f"{metric}_vs_{base}_p": item.p,
            f"{metric}_vs_{base}_detectable": comparison.detectable[name],
        }
        if further:
            row[f"verdict_vs_{base}"] = comparison.verdicts[name]
            continue
        teacher = table.get("teacher", {}).get(metric)
        closed = None if teacher is None else gap_closed(row[metric], table[base][metric], teacher)
        low, high = (comparison.gaps.get(name) if closed is not None else None) or (None, None)
        row |= {
            "gap_closed": closed,
            "gap_closed_low": low,
            "gap_closed_high": high,
            "verdict": comparison.verdicts[name],
        }


def add_teacher(table: dict[str, dict[str, Any]], differences: Mapping[str, Difference], metric: str) -> None:
    """Put each model's difference to the teacher into its row: `<metric>_vs_teacher`, `…_low` and `…_high`.

    Args:
        differences: results of `Scored.to_single` by model.
    """
    for name, item in differences.items():
        beginning = f"{metric}_vs_teacher"
        table[name] |= {beginning: item.value, f"{beginning}_low": item.low, f"{beginning}_high": item.high}


def write_csv(table: dict[str, dict[str, Any]], metric: str, path: Path) -> None:
    """The table for a spreadsheet: a row per model, a column per score; `score` repeats the main one."""
    scores = dict.fromkeys(key for row in table.values() for key in row if key != "seeds")
    columns = ["model", "score", *scores, "seeds"]
    rows = (
        {"model": name, "score": row.get(metric), **row, "seeds": " ".join(map(str, row["seeds"]))}
        for name, row in table.items()
    )
    csv_files.write_rows(columns, ([row.get(column, "") for column in columns] for row in rows), path)


def weaker_teacher(table: dict[str, dict[str, Any]], metric: str) -> str | None:
    """A warning where the teacher does not score above the fine-tuned student, else None."""
    teacher, student = (table.get(role, {}).get(metric) for role in ("teacher", "student"))
    if teacher is None or student is None or teacher > student:
        return None
    how = "worse" if teacher < student else "no better"
    return (
        f"the teacher ({metric} {teacher:.2f}) is {how} than the fine-tuned student ({student:.2f}): this is defective"
        " distillation; train the teacher longer, or with a lower learning rate, unless that is what you are after"
    )
