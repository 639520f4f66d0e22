"""A saved view of MLflow's runs table, which without one shows no score, no method and no seed.

MLflow keeps views in tags of the experiment; a version of it that does not know them ignores them.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

PREFIX = "mlflow.sharedViewState."


@dataclass(frozen=True)
class View:
    """A saved view of the runs table.

    Attributes:
        key: last part of the view's address: `#/experiments/1/runs?viewStateShareKey=<key>`.
        name: name in the menu Views.
        search: filter of runs, as in MLflow's search field.
        order: tag by which runs are sorted. Sorted by date, the default, they are folded below their parents.
        tags, metrics: columns, in this order; those that no run has are not shown.
    """

    key: str
    name: str
    search: str
    order: str
    tags: Sequence[str]
    metrics: Sequence[str]

    def state(self) -> str:
        """The JSON that MLflow keeps of a view, without its name."""
        columns = [f"tags.`{name}`" for name in self.tags] + [f"metrics.`{name}`" for name in self.metrics]
        state = {"searchFilter": self.search, "orderByKey": f"tags.`{self.order}`", "orderByAsc": True}
        return json.dumps(state | {"selectedColumns": columns})


def save(client: "MlflowClient", experiment: "Experiment", view: View) -> None:
    """Save the view where the experiment has none of this key: changes by a person stay."""
    if PREFIX + view.key in experiment.tags:
        return
    now = time.time_ns() // 1_000_000
    view_tag = {"name": view.name, "createdAt": now, "updatedAt": now, "state": view.state()}
    client.set_experiment_tag(experiment.experiment_id, PREFIX + view.key, json.dumps(view_tag))
