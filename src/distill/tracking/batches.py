"""Params, metrics and tags to a run, in as few requests as MLflow allows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from distill.tracking.names import TAG_LENGTH, shorten

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

METRICS_PER_REQUEST = 1000  # MLflow's limits
PAIRS_PER_REQUEST = 100


def send_params(client: "MlflowClient", run_id: str, params: Mapping[str, str]) -> None:
    """Log params by names that MLflow accepts and the run does not have."""
    from mlflow.entities import Param

    for chunk in _chunks([Param(k, v) for k, v in params.items()], PAIRS_PER_REQUEST):
        client.log_batch(run_id, params=chunk)


def send_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags; long values are cut."""
    from mlflow.entities import RunTag

    for chunk in _chunks([RunTag(k, shorten(v, TAG_LENGTH)) for k, v in tags.items()], PAIRS_PER_REQUEST):
        client.log_batch(run_id, tags=chunk)


def send_metrics(client: "MlflowClient", run_id: str, metrics: Sequence["Metric"]) -> None:
    """Log points of curves."""
    for chunk in _chunks(list(metrics), METRICS_PER_REQUEST):
        client.log_batch(run_id, metrics=chunk)


def _chunks(items: list, size: int) -> Iterator[list]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
