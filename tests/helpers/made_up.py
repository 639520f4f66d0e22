"""Made-up metrics of a whole run, in the form that the stages write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distill.report.results import Results

METHODS = (
    "ft",
    "kd",
    "rkd",
    "annealing",
    "freelb",
    "tfkd_self",
    "tfkd_reg",
    "hidden",
    "lwd",
    "pkd",
    "ckd",
    "rail",
    "alp",
)
METHODS += ("ted", "takd", "mate", "combined", "knn", "minimax_knn", "tinybert", "born_again")
SHOWN = {
    "qa": ("em", "f1", "has_answer_f1", "no_answer_f1", "tuned_em", "tuned_f1"),
    "classification": ("accuracy", "f1", "mcc", "mismatched_accuracy"),
    "regression": ("pearson", "spearman", "mse", "mismatched_pearson"),
}
MAIN = {"qa": "f1", "classification": "accuracy", "regression": "pearson"}
#: Methods that learn from changed texts, and where these come from.
SOURCES = {"mate": "generator", "combined": "generator", "knn": "neighbours", "minimax_knn": "neighbours"}
SOURCES |= {"tinybert": "copies"}
SCRIPT = '<script>document.title = "taken"</script>'


def results(
    task: str = "qa",
    methods: tuple[str, ...] = ("ft", "kd", "lwd", "ted"),
    seeds: tuple[int, ...] = (1, 2, 3),
    **changes: Any,
) -> Results:
    """A run of made-up numbers, the same each time.

    Args:
        changes: fields of `Results` that are given instead.
    """
    random = np.random.default_rng(7)
    metric, models = MAIN[task], ["teacher", "student", *methods]
    present = [score for score in SHOWN[task] if not score.startswith("mismatched")]
    runs: dict[str, dict[str, float]] = {}
    for name in models:
        level = {"teacher": 93.6, "student": 71.7, "ft": 86.1}.get(name, 86 + 5 * random.random())
        for label in [name] if name in ("teacher", "student") else [f"{name}-{seed}" for seed in seeds]:
            runs[label] = {score: float(level + random.normal(0, 0.4)) for score in present}
            runs[label] |= {f"selection_{metric}": float(level + random.normal(0, 0.6))}
            if task == "qa":
                runs[label] |= {"best_em_oracle": level + 0.1, "best_f1_oracle": level + 0.3}
    summary = {name: _row(name, runs, seeds, metric) for name in models}
    tuned = ("best_em_oracle", "best_f1_oracle") if task == "qa" else ()
    oracle = {
        name: {key: float(np.mean([runs[label][key] for label in _labels(name, runs)])) for key in tuned}
        for name in models
        if tuned
    }
    gap = summary["teacher"][metric] - summary["ft"][metric] if "ft" in summary else None
    for name in methods:
        if "ft" in summary and name != "ft":
            summary[name] |= _versus(summary[name][metric] - summary["ft"][metric], gap, metric, len(seeds), random)
    best = max((n for n in methods if n != "ft"), key=lambda n: summary[n][f"selection_{metric}"], default=None)
    everything: dict[str, Any] = {
        "metric": metric,
        "shown": SHOWN[task],
        "baseline": "ft",
        "confidence": 0.95,
        "summary": summary,
        "analysis": _analysis(task, models, best, random)
        | {
            "oracle": oracle,
            "intervals": {name: [row[metric] - 1.5, row[metric] + 1.5] for name, row in summary.items()},
        },
        "training": {name: _training(name, len(seeds)) for name in models},
        "cost": _cost(),
        "disagreements": _texts(task, best),
        "samples": {name: _sample(task, name) for name in methods if name in SOURCES},
        "runs": runs,
        "curves": {name: {seed: _curve(name, random) for seed in seeds} for name in methods},
        "filters": {
            "teacher": {f"layer_{layer}": {metric: 50 + 10.0 * layer} for layer in (2, 4)},
            "student": {f"layer_{layer}": {metric: 45 + 9.0 * layer} for layer in (1, 2)},
        },
        "sweeps": {"ted.mse_alpha": _sweep(metric)},
        "settings": {
            "task": task,
            "distill.epochs": 1,
            "seeds": list(seeds),
            "compare.resamples": 10000,
            "kd.temperature": 2,
        },
        "commands": {name: f"dvc repro --glob 'evaluate@{name}-*'" for name in methods},
        "about": {"commit": "0123456789abcdef0123456789abcdef01234567", "machine": "cpu x86_64, 2 cores"},
    }
    return Results(**everything | changes)


def _labels(name: str, runs: dict) -> list[str]:
    return [label for label in runs if label == name or label.rpartition("-")[0] == name]


def _row(name: str, runs: dict, seeds: tuple[int, ...], metric: str) -> dict[str, Any]:
    own = [runs[label] for label in _labels(name, runs)]
    scores = [key for key in own[0] if not key.endswith("_oracle")]
    row: dict[str, Any] = {key: float(np.mean([run[key] for run in own])) for key in scores}
    row |= {f"{key}_std": float(np.std([run[key] for run in own], ddof=1)) if len(own) > 1 else None for key in scores}
    return row | {"seeds": [] if name in ("teacher", "student") else list(seeds)}


def _versus(difference: float, gap: float, metric: str, seeds: int, random: np.random.Generator) -> dict[str, Any]:
    half = 1.5 + random.random()
    verdict = "better" if difference > half else "worse" if difference < -half else "cannot tell"
    return {
        f"{metric}_vs_ft": difference,
        f"{metric}_vs_ft_low": difference - half,
        f"{metric}_vs_ft_high": difference + half,
        f"{metric}_vs_ft_detectable": None if seeds == 1 else 1.3 * half,
        f"{metric}_vs_ft_p": None if seeds == 1 else float(np.exp(-abs(difference) / half * 3)),
        "gap_closed": 100 * difference / gap if gap > 0 else None,
        "gap_closed_low": 100 * (difference - half) / gap if gap > 0 else None,
        "gap_closed_high": 100 * (difference + half) / gap if gap > 0 else None,
        "verdict": "one seed" if seeds == 1 else verdict,
    }


def _analysis(task: str, models: list[str], best: str | None, random: np.random.Generator) -> dict[str, Any]:
    groups = {
        "qa": [
            ("answerable", "Answerable or not", "f1", ["HasAns", "NoAns"]),
            ("question_word", "Question word", "f1", ["what", "who", "when", "where", "which", "how", "why", "other"]),
            ("answer_length", "Answer length (words)", "f1", ["1", "2–3", "4–6", "7 or more"]),
        ],
        "classification": [("class", "Gold class", "accuracy", ["negative", "positive"])],
        "regression": [("gold", "Thirds of the gold number", "pearson", ["0–1.7", "1.7–3.4", "3.4–5"])],
    }[task]
    slices = [
        {
            "name": name,
            "title": title,
            "metric": metric,
            "groups": [
                {
                    "group": group,
                    "examples": int(random.integers(20, 900)),
                    "scores": {model: float(random.uniform(70, 95)) for model in models},
                }
                for group in names
            ],
        }
        for name, title, metric, names in groups
    ]
    for group in [group for part in slices if task != "regression" for group in part["groups"]]:
        group["intervals"] = {model: [score - 4, score + 4] for model, score in group["scores"].items()}
    calibration = {} if task == "regression" else {name: _calibration(random) for name in models}
    three = [name for name in ("teacher", "ft", best) if name in models]
    sets = [[n for i, n in enumerate(three) if mask >> i & 1] for mask in range(2 ** len(three))]
    return {
        **({"classes": _classes(models, random)} if task == "classification" else {}),
        "slices": slices,
        "calibration": calibration,
        "agreement": {name: float(random.uniform(80, 99)) for name in models if name != "teacher"},
        "disagreements": {
            "models": three,
            "counts": [{"right": right, "examples": int(random.integers(1, 400))} for right in sets],
        },
    }


def _classes(models: list[str], random: np.random.Generator) -> dict[str, Any]:
    names = [f"{beginning}{name}" for name in ("recall", "precision", "f1") for beginning in ("", "tuned_")]
    overall = ("macro_f1", "tuned_macro_f1", "minority_recall", "tuned_minority_recall")
    return {
        "rarest": "negative",
        "train": 4000,
        "models": {
            model: {name: float(random.uniform(60, 90)) for name in overall} | {"tuned_threshold": 0.25}
            for model in models
        },
        "classes": [
            {
                "class": label,
                "rows": {"train": rows, "selection": rows // 20, "validation": rows // 10},
                "scores": {model: {name: float(random.uniform(50, 95)) for name in names} for model in models},
            }
            for label, rows in (("negative", 400), ("positive", 3600))
        ],
    }


def _calibration(random: np.random.Generator) -> dict[str, Any]:
    bins = []
    for i in range(10):
        middle = i / 10 + 0.05
        own = (
            {"examples": 0, "confidence": None, "accuracy": None}
            if i == 0
            else {
                "examples": 30 * i,
                "confidence": middle,
                "accuracy": max(0.0, middle - 0.12 + 0.02 * float(random.normal())),
            }
        )
        after = {
            "calibrated_examples": 30 * i + 5,
            "calibrated_confidence": middle,
            "calibrated_accuracy": middle - 0.02,
        }
        bins.append({"from": i / 10, "to": (i + 1) / 10} | own | after)
    scores = {"ece": 8.0 + float(random.random()), "ece_calibrated": 1.5, "temperature": 1.7}
    scores |= {"ece_low": 6.5, "ece_high": 9.5, "ece_calibrated_low": 0.25, "ece_calibrated_high": 2.75}
    scores |= {"answer_brier": 0.125, "answer_brier_calibrated": 0.0625}
    return scores | {"answer_log_loss": 0.5, "answer_log_loss_calibrated": 0.375, "bins": bins}


def _training(name: str, seeds: int) -> dict[str, Any]:
    factor = 1 + (METHODS.index(name) / 5 if name in METHODS else 0)
    upstream = None if name in ("teacher", "student", "ft") else 160.0 + 10 * factor
    return {
        "runs": 1 if name in ("teacher", "student") else seeds,
        "total_seconds": 95.8 * factor + (upstream or 0),
        "labelled_rows": 9504.0,
        "student_passes": 1.0,
        "teacher_passes": 0.0,
        "seconds": 95.8 * factor,
        "examples_per_second": 200.5 / factor,
        "updates": 594,
        "peak_memory_mb": 900.0,
        "teacher_seconds": upstream,
    }


def _cost() -> dict[str, Any]:
    def shape(size: float) -> dict[str, Any]:
        return {
            "parameters": int(66_000_000 * size),
            "parameters_without_embeddings": int(42_000_000 * size),
            "flops_per_token": 85e6 * size,
            "checkpoint_mb": 265.5 * size,
            "latency_ms": 14.2 * size,
            "latency_ms_p10": 12.0 * size,
            "latency_ms_p90": 21.7 * size,
            "throughput": 91.3 / size,
            "throughput_batch": 32,
        }

    return {
        "machine": "cpu x86_64, 2 cores",
        "threads": 2,
        "precision": "fp32",
        "length": 171.4,
        "models": {"teacher": shape(1.0), "student": shape(0.25)},
    }


def _texts(task: str, best: str | None) -> dict[str, Any]:
    text = {"question": f"Who wrote {SCRIPT}?", "context": f"It was written in {SCRIPT} 1867."}
    if task != "qa":
        text = {"text": f"A {SCRIPT} film", "text_pair": None}
    example = {"id": "a<b", "text": text, "gold": ["1867", "in 1867"], "right": ["teacher", best]}
    example["answers"] = {"teacher": "1867", "ft": "", best or "kd": f"1867 {SCRIPT}"}
    if task == "classification":
        example["gold"] = "positive"
    if task == "regression":
        example["gold"] = 3.4
    return {"models": ["teacher", "ft", best], "examples": [example | {"id": f"a<b{i}"} for i in range(12)]}


def _sample(task: str, name: str) -> list[dict[str, Any]]:
    def side(text: str, sure: float) -> dict[str, Any]:
        parts = (
            {"text": f"A {SCRIPT} {text}"} if task != "qa" else {"question": f"Who wrote {SCRIPT}?", "context": text}
        )
        answers = {"qa": {"labelled span": sure, "likeliest span": sure}, "regression": {"score": 5 * sure}}
        found = answers.get(task, {"negative": 1 - sure, "positive": sure})
        return {"text": parts, "teacher": found, "student": {name: value / 2 for name, value in found.items()}}

    gold = {"qa": ["1867"], "regression": 3.4}.get(task, "positive")
    original, changed = side(f"good film of {SCRIPT} 1867", 0.98), side(f"terrible film of {SCRIPT} 1867", 0.41)
    entry = {"gold": gold, "source": SOURCES[name], "original": original, "changed": [changed, original]}
    return [{"row": row, "id": f"a<b{row}", **entry} for row in range(12)]


def _curve(name: str, random: np.random.Generator) -> pd.DataFrame:
    step = np.arange(20, 600, 20)
    terms = {"ft": ["task"], "ted": ["kl", "mse", "task"]}.get(name, ["kl", "task"])
    values = {
        term: (i + 1) * np.exp(-step / 300) + 0.1 + 0.05 * random.random(len(step)) for i, term in enumerate(terms)
    }
    return pd.DataFrame(
        {"step": step, "grad_norm": 1.0, "learning_rate": 1e-3, "loss": 10 * sum(values.values()), **values}
    )


def _sweep(metric: str) -> pd.DataFrame:
    values = [10, 100, 1000, 10000]
    return pd.DataFrame(
        {
            "experiment": [f"try-{value}" for value in values],
            "value": values,
            metric: [86.2, 88.4, 90.1, 89.0],
            f"{metric}_std": [0.4, 0.3, 0.5, 0.4],
            f"selection_{metric}": [86.0, 88.9, 90.6, 88.1],
        }
    )


def write(results: Results, folder: Path) -> None:
    """The files below `folder` that the stages would have written, but for what summarize makes."""
    metrics = folder / "metrics"
    files = {metrics / "cost.json": results.cost}
    files |= {metrics / "runs" / f"{label}.json": run for label, run in results.runs.items()}
    files |= {folder / "data" / "samples" / f"{name}-1.json": rows for name, rows in results.samples.items()}
    files |= {metrics / "filters" / f"{role}.json": rows for role, rows in results.filters.items()}
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    tables = {metrics / "sweeps" / f"{name}.csv": frame for name, frame in results.sweeps.items()}
    for method, seeds in results.curves.items():
        tables |= {metrics / "curves" / f"{method}-{seed}.csv": frame for seed, frame in seeds.items()}
    for path, frame in tables.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(path, index=False)
