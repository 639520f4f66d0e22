"""What a report is made of: the contents of the metrics files, and what several of its parts take from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from distill.analysis.breakdown import best_method

TITLES = {
    "em": "EM",
    "f1": "F1",
    "has_answer_em": "HasAns EM",
    "has_answer_f1": "HasAns F1",
    "no_answer_em": "NoAns EM",
    "no_answer_f1": "NoAns F1",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "example_f1": "F1 of an example",
    "subset_accuracy": "all labels right",
    "macro_ap": "macro average precision",
    "micro_ap": "micro average precision",
    "hamming_loss": "Hamming loss",
    "mcc": "MCC",
    "minority_recall": "recall of the rarest class",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "mse": "MSE",
    "default_f1": "F1, default mode",
    "ndcg_10": "nDCG@10",
    "mrr_10": "MRR@10",
    "map": "MAP",
    **{f"recall_{k}": f"recall@{k}" for k in (1, 5, 10)},
}
#: Trained once, before any method.
FINE_TUNED = ("teacher", "student")


@dataclass(frozen=True)
class Results:
    """One run of the pipeline.

    Attributes:
        metric: the score by which methods are compared.
        shown: the scores of the comparison, in order; those that a row lacks are left out.
        extra: the scores of the metrics in evaluate.extra, in order, in units of their own.
        baseline: name of the method that all others are compared with.
        confidence: level of the intervals, in (0, 1).
        summary: metrics/summary.json. confirm: metrics/confirm.json, its rows on fresh seeds; {} where there are none.
        also: names of the methods with further tables of all against them.
        analysis: metrics/analysis.json. training: metrics/training.json.
        cost: metrics/cost.json; empty where it was not measured.
        disagreements: data/disagreements.json, with the texts.
        samples: method → data/samples/<method>-<seed>.json of its first seed, where its texts change.
        runs: label → metrics/runs/<label>.json.
        curves: method → seed → metrics/curves/<method>-<seed>.csv.
        filters: teacher, student → metrics/filters/<role>.json: {"layer_2": {score: value}}.
        sweeps: parameter → metrics/sweeps/<parameter>.csv.
        exports: label → metrics/export/<label>.json.
        budget: metrics/budget.json, the search for the best student under a budget; {} where there was none.
        looks: earlier looks at results on this data, as pipeline.summary.looks tells them; None: unknown.
        settings: every parameter by its dotted name.
        commands: model → the command that reproduces its row.
        about: origin of the run, by name: commit, experiment, data, versions, machine.
    """

    metric: str
    shown: tuple[str, ...]
    baseline: str
    confidence: float
    summary: Mapping[str, Mapping[str, Any]]
    analysis: Mapping[str, Any]
    training: Mapping[str, Mapping[str, Any]]
    extra: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    confirm: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    disagreements: Mapping[str, Any] = field(default_factory=dict)
    samples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[int, pd.DataFrame]] = field(default_factory=dict)
    filters: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    sweeps: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    exports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)
    looks: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> list[str]:
        """The methods of the run, the baseline included where it was run."""
        return [name for name in self.summary if name not in FINE_TUNED]

    @property
    def rivals(self) -> list[str]:
        """The methods that are compared with the baseline."""
        return [name for name in self.methods if name != self.baseline]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the methods; the baseline may have further ones."""
        names = self.rivals or self.methods
        return list(self.summary[names[0]]["seeds"]) if names else []

    @property
    def chosen(self) -> str | None:
        """The rival with the highest score on the selection split: nothing is chosen on the reported split."""
        return best_method(self.summary, self.methods, self.metric, self.baseline)

    def score(self, model: str, metric: str | None = None) -> float | None:
        """A model's mean over seeds; None where it has no such score."""
        return self.summary.get(model, {}).get(metric or self.metric)

    def interval(self, model: str) -> tuple[float, float] | None:
        """The interval of a model's score over examples; None in results of before there was one."""
        found = self.analysis.get("intervals", {}).get(model)
        return tuple(found) if found else None

    def versus(self, method: str, what: str = "", other: str | None = None) -> Any:
        """The difference to the baseline, or its "low", "high", "p" or "detectable"; None where there is none.

        Args:
            other: another method of `also` instead of the baseline.
        """
        return self.summary[method].get(f"{self.metric}_vs_{other or self.baseline}" + (f"_{what}" if what else ""))

    def verdict(self, method: str, other: str | None = None) -> str | None:
        """better, worse, cannot tell, one seed; None for the baseline itself, or where it is not in the run."""
        return self.summary[method].get("verdict" if other is None else f"verdict_vs_{other}")

    def closed(self, method: str) -> float | None:
        """Percent of the gap between baseline and teacher that a method closes; None where the gap may be 0."""
        row = self.summary[method]
        # Summaries of before there was an interval have the value alone.
        return row.get("gap_closed") if row.get("gap_closed_low", 0) is not None else None


def title(score: str) -> str:
    """A score as people write it: has_answer_f1 → HasAns F1, tuned_f1 → F1, tuned threshold."""
    for prefix, words in (("tuned_", "{}, tuned threshold"), ("selection_", "{}, selection split")):
        if score.startswith(prefix):
            return words.format(title(score.removeprefix(prefix)))
    if score in TITLES:
        return TITLES[score]
    # Further splits and metrics: mismatched_f1 → mismatched F1.
    known = next((name for name in sorted(TITLES, key=len, reverse=True) if score.endswith(f"_{name}")), None)
    words = f"{score.removesuffix(known)}{TITLES[known]}" if known else score
    return words.replace("_", " ")


def heading(score: str) -> str:
    """A score at the head of a column: `title` with a capital."""
    name = title(score)
    return name[0].upper() + name[1:]


def scale(score: str) -> str:
    """The unit of a score: correlations times 100, shares in percent, errors in the labels' own unit."""
    name = score.rpartition("_")[2]
    if name == "mse":
        return "labels' unit, squared"
    return "−100 to 100" if name in ("mcc", "pearson", "spearman") else "0–100"


def axis(score: str) -> str:
    """A score with its unit: F1 (0–100)."""
    return f"{title(score)} ({scale(score)})"
