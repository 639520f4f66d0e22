"""A run that is open in MLflow's store; used from the background thread of `distill.tracking.run` only."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from distill import provenance
from distill.tracking import parent, registry, saved_view
from distill.tracking.names import clean_key, flatten
from distill.tracking.records import Champion, Dataset, Details
from distill.tracking.store import lock, log_batch, reason, redact

PARENT = "mlflow.parentRunId"  # by which MLflow nests runs


@dataclass(frozen=True)
class RunSpec:
    """What a run is opened with; see `distill.tracking.run.start_run`."""

    uri: str
    root: Path
    experiment: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    state: Path | None
    shared: bool


def default_tags(name: str) -> dict[str, str]:
    """Tags that say where a run comes from, as far as the environment knows."""
    tags = {"dvc.stage": os.environ.get("DVC_STAGE") or name, "mlflow.source.name": name}
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.exp_name"] = experiment
    return tags


class Session:
    """An open run in the store, new or taken up again from its state file, and its parent.

    Attributes:
        run_id: MLflow's id of the run.

    Raises:
        Exception: every method may raise any exception of MLflow, SQLAlchemy or requests.
    """

    def __init__(self, spec: RunSpec, details: Details) -> None:
        from mlflow.tracking import MlflowClient

        self._spec = spec
        tags = _commit_tags(spec.root) | {key: str(value) for key, value in details.tags.items()} | spec.tags
        # Tags that all runs of the pipeline and its registered models share.
        origin = ("git.commit", "mlflow.source.git.commit", "dvc.exp_name")
        self._origin = {key: tags[key] for key in origin if key in tags}
        self._parent: str | None = None
        with lock(spec.uri):
            self._client = MlflowClient(spec.uri)
            experiment = self._find_experiment()
            self._experiment_id = experiment.experiment_id
            if details.view is not None:
                saved_view.save(self._client, experiment, details.view)
            if details.parent is not None:
                self._parent = parent.join(self._client, self._experiment_id, details.parent, self._origin)
                tags[PARENT] = self._parent
        run = self._previous_run()
        if run is None:
            nested = {PARENT: self._parent} if self._parent else None
            run = self._client.create_run(self._experiment_id, run_name=spec.name, tags=nested)
            self._remember(run.info.run_id)
            self._last_step: dict[str, int] = {}
        else:
            self._client.update_run(run.info.run_id, status="RUNNING")
            # Read from the store: a state file would be behind after a kill.
            self._last_step = {
                key: max(m.step for m in self._client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            }
        self.run_id: str = run.info.run_id
        self._resumed_after = dict(self._last_step)
        self._results = dict(run.data.metrics)
        self._describe(flatten(details.params) | spec.params, run.data.params, tags)
        if details.datasets:
            self._client.log_inputs(self.run_id, [_input(dataset) for dataset in details.datasets])

    def send(self, calls: Sequence[tuple]) -> list[str]:
        """Send the calls of a `Run`, metrics and tags bundled; returns a line for each that could not be sent."""
        from mlflow.entities import Metric

        metrics, results, tags = [], [], {}
        for kind, *values in calls:
            if kind == "metrics":
                metrics += [Metric(*point) for point in self._points(*values)]
                named, step, timestamp = values
                results += [Metric(clean_key(k), v, timestamp, 0) for k, v in named.items() if step is None]
            elif kind == "tag":
                tags[values[0]] = values[1]
        log_batch(self._client, self.run_id, metrics=metrics, tags=tags)
        if self._spec.shared and self._parent:
            log_batch(self._client, self._parent, metrics=results, tags=tags)
        problems = []
        for kind, *values in calls:
            if kind == "artifact":
                problems += self._copy(*values)
            elif kind == "champion":
                problems += self._register(*values)
            elif kind == "end":
                self._client.set_terminated(self.run_id, status=values[0])
                if self._parent:  # the status of its last stage, until the next stage begins
                    self._client.set_terminated(self._parent, status=values[0])
        return problems

    def _copy(self, path: Path, folder: str | None) -> list[str]:
        if not path.is_file():
            return [f"artifact {path} was removed before it was sent: not kept"]
        self._client.log_artifact(self.run_id, str(path), folder)
        if self._spec.shared and self._parent:
            self._client.log_artifact(self._parent, str(path), folder)
        return []

    def _register(self, champion: Champion) -> list[str]:
        from mlflow.exceptions import MlflowException

        try:
            with lock(self._spec.uri):
                version = registry.register(self._client, champion, self._origin)
        except MlflowException as error:  # a store without a registry, a name that it refuses
            return [f"{champion.path} is not registered as {champion.name} ({reason(error)})"]
        for run_id in dict.fromkeys((self.run_id, self._parent)):
            if run_id:
                log_batch(self._client, run_id, tags={"registered": version})
        return []

    def _points(
        self, values: Mapping[str, float], step: int | None, timestamp: int
    ) -> Iterator[tuple[str, float, int, int]]:
        """(key, value, milliseconds, step) of the points that an earlier process has not logged in this run."""
        for name, value in values.items():
            key = clean_key(name)
            if step is None:
                if self._results.get(key) == value:
                    continue
                # On the curve's last step, if there is a curve: MLflow's "latest" goes by step.
                at = self._last_step.get(key, 0)
            elif step <= self._resumed_after.get(key, -1):
                continue
            else:
                at = step
            self._last_step[key] = max(at, self._last_step.get(key, 0))
            yield key, value, timestamp, at

    def _find_experiment(self) -> Any:
        from mlflow.exceptions import MlflowException

        name = self._spec.experiment
        if experiment := self._client.get_experiment_by_name(name):
            return experiment
        # A server knows its own place for artifacts. A database knows none, and would take cwd.
        remote = self._spec.uri.startswith(("http://", "https://", "databricks"))
        folder = self._spec.root / "mlartifacts" / quote(name, safe=" ")
        try:
            self._client.create_experiment(name, artifact_location=None if remote else folder.as_uri())
        except MlflowException:
            if self._client.get_experiment_by_name(name) is None:  # no other machine has made it meanwhile
                raise
        return self._client.get_experiment_by_name(name)

    def _previous_run(self) -> Any:
        from mlflow.exceptions import MlflowException

        if self._spec.state is None or not self._spec.state.is_file():
            return None
        try:
            state = json.loads(self._spec.state.read_text(encoding="utf-8"))
            run_id, uri = state["run_id"], state["uri"]
        except (ValueError, KeyError, TypeError):  # a file of another program, or cut off: a new run loses nothing
            return None
        if uri != redact(self._spec.uri):
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the database was deleted since
                return None
            raise
        same = run.info.experiment_id == self._experiment_id
        return run if same and run.info.lifecycle_stage == "active" else None

    def _remember(self, run_id: str) -> None:
        path = self._spec.state
        if path is None or not path.parent.is_dir():
            return  # the stage is over and has removed its folder, which must not come back
        uri = redact(self._spec.uri)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps({"run_id": run_id, "uri": uri}) + "\n", encoding="utf-8")
        partial.replace(path)

    def _describe(self, params: Mapping[str, str], logged: Mapping[str, str], tags: dict[str, str]) -> None:
        changed = {k: v for k, v in params.items() if logged.get(k, v) != v}
        if changed:  # MLflow refuses to change a param
            tags["params.changed"] = json.dumps(changed, ensure_ascii=False)
        new = {k: v for k, v in params.items() if k not in logged}
        log_batch(self._client, self.run_id, params=new, tags=tags)


def _input(dataset: Dataset) -> Any:
    """As MLflow logs inputs; schema and profile in the form that its pages read."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    columns = [{"name": name, "type": kind, "required": True} for name, kind in dataset.columns.items()]
    entity = Entity(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=json.dumps(dataset.source),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(dataset.counts),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", dataset.context)])


def _commit_tags(root: Path) -> dict[str, str]:
    """The commit of the code, under the project's name of the tag and MLflow's."""
    commit = provenance.commit(root)
    if commit is None:
        return {}
    return {"git.commit": commit, "mlflow.source.git.commit": commit}
