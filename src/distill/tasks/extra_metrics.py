"""The further metrics that `evaluate.extra` names: scripts for the library `evaluate`, local or from the hub.

Their code runs in the stage's process, with its rights. Importing `evaluate` takes seconds: `load` does so where there
is a metric to load.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from distill.config.metric_names import prefix
from distill.config.scoring import ExtraMetric
from distill.errors import UserError
from distill.tasks.base import MetricInputs

#: A loaded metric: a function from predictions and references to its results.
Compute = Callable[[MetricInputs], Mapping[str, Any]]


def load(entries: Sequence[ExtraMetric]) -> dict[str, Compute]:
    """Load the metrics, those of the hub by downloading their scripts.

    Returns:
        the metrics by name as in params.yaml. `numpy`'s random state is the same in every call.

    Raises:
        UserError: a metric cannot be loaded.
    """
    if not entries:
        return {}
    import evaluate

    metrics = {}
    for entry in entries:
        try:
            metric = evaluate.load(entry.name, entry.config, keep_in_memory=True, seed=0)
        except Exception as error:  # whatever a script or the hub's client raises
            raise UserError(
                f"params.yaml: evaluate.extra: {entry.name!r} cannot be loaded ({_line(error)}): a script needs a class"
                " derived from evaluate.Metric and its packages installed, an id on the hub needs the network"
            ) from error
        metrics[entry.name] = _computing(metric, entry.args)
    return metrics


def _computing(metric: Any, args: Mapping[str, Any]) -> Compute:
    def compute(inputs: MetricInputs) -> Mapping[str, Any]:
        predictions = _described(inputs.predictions, metric.features)
        return metric.compute(predictions=predictions, references=inputs.references, **args)

    return compute


def _described(predictions: Sequence[Any], features: Any) -> Sequence[Any]:
    """Predictions with only the fields that a metric declares: `squad` has no probability of no answer."""
    described = features[0] if isinstance(features, list) else features
    fields = described.get("predictions")
    if not isinstance(fields, Mapping):
        return predictions
    return [{name: prediction[name] for name in fields if name in prediction} for prediction in predictions]


def scores(metrics: Mapping[str, Compute], inputs: MetricInputs, task: str) -> dict[str, float]:
    """The numbers among the metrics' results, as `<metric>_<score>`.

    What is no finite number is left out: lists and texts, and with a warning a score that is NaN or infinite.

    Args:
        metrics: metrics by name, from `load`.
        inputs: inputs of one split.
        task: name of the task, for errors.

    Raises:
        UserError: a metric fails on what the task hands over, or gives no number.
    """
    named: dict[str, float] = {}
    for name, compute in metrics.items():
        try:
            results = compute(inputs)
            numbered = {key: _number(value) for key, value in results.items()}
            values = {f"{prefix(name)}_{key}": value for key, value in numbered.items() if value is not None}
        except Exception as error:  # whatever a metric's own code raises
            raise UserError(
                f"params.yaml: evaluate.extra: {name!r} fails on what task {task} hands over ({_line(error)}): choose"
                " a metric for that format (docs/metrics.md), or mend its args"
            ) from error
        if not values:
            raise UserError(
                f"params.yaml: evaluate.extra: {name!r} gives no number but {_line(results)}: a metric returns a"
                " dictionary with numbers in it; see its args, or take it out"
            )
        for key in values:
            if key in named:
                raise UserError(_duplicate(key))
            if not math.isfinite(values[key]):
                warnings.warn(f"{key} is {values[key]}, no finite number, and is left out", stacklevel=2)
        named |= {key: value for key, value in values.items() if math.isfinite(value)}
    return named


def check_names(scores: Iterable[str], task_scores: Iterable[str]) -> None:
    """Check that scores of further metrics have names of their own, in the summary too.

    Args:
        scores: names of the further metrics' scores.
        task_scores: names of the task's own scores.

    Raises:
        UserError: a name occurs in both, or is that of another score's standard deviation or difference to ft.
    """
    names, task_scores = list(scores), set(task_scores)
    for name in names:
        bases = {*names, *task_scores}
        derived = [base for base in bases if name == f"{base}_std" or name.startswith(f"{base}_vs_")]
        if name in task_scores or derived:
            raise UserError(_duplicate(name))


def names_of(runs: Iterable[Mapping[str, Any]], entries: Sequence[ExtraMetric]) -> tuple[str, ...]:
    """Names of the further metrics' scores in metrics/runs, in the order of params.yaml, each once."""
    keys = dict.fromkeys(key for run in runs for key in run)
    starts = [f"{prefix(entry.name)}_" for entry in entries]
    return tuple(dict.fromkeys(key for start in starts for key in keys if key.startswith(start)))


def _number(value: Any) -> float | None:
    """A number, or an array or tensor of a single one, as float; None for anything else."""
    if getattr(value, "shape", None) == ():
        value = value.item()
    return float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else None


def _duplicate(score: str) -> str:
    return (
        f"params.yaml: evaluate.extra: score {score!r} has the name of another one: give the metric, or the score in"
        " its results, another name"
    )


def _line(value: Any) -> str:
    text = " ".join(str(value).split())
    text = f"{type(value).__name__}: {text}" if isinstance(value, Exception) else text
    return text if len(text) <= 300 else f"{text[:299]}…"
