"""A run that is open in MLflow's store; used from the background thread of `distill.tracking.run` only."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from distill import provenance
from distill.tracking import parent, registry, saved_view
from distill.tracking.names import clean_key, flatten
from distill.tracking.records import Champion, Dataset, Details, RunSpec
from distill.tracking.redaction import shown
from distill.tracking.store import is_remote, lock, log_batch, reason

PARENT = "mlflow.parentRunId"  # by which MLflow nests runs
KEY = "tracking.key"  # by which a run is found whose id never came back


def default_tags(name: str) -> dict[str, str]:
    """Tags that say where a run comes from, as far as the environment knows."""
    tags = {"dvc.stage": os.environ.get("DVC_STAGE") or name, "mlflow.source.name": name}
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.exp_name"] = experiment
    return tags


def commit_tags(root: Path) -> dict[str, str]:
    """The commit of the code, under the project's name of the tag and MLflow's."""
    commit = provenance.commit(root)
    return {} if commit is None else {"git.commit": commit, "mlflow.source.git.commit": commit}


class Session:
    """An open run in the store, new or taken up again, and its parent.

    What is sent twice is there once: points on the steps that the run has, results of the same value, and tags, params
    and artifacts of the same name are not repeated.

    Attributes:
        run_id: MLflow's id of the run.

    Raises:
        Exception: every method may raise any exception of MLflow, SQLAlchemy or requests.
    """

    def __init__(
        self, spec: RunSpec, details: Details, run_id: str | None = None, again: bool = False, late: bool = False
    ) -> None:
        """Open the run.

        Args:
            run_id: MLflow's id of the run; None: that of the state file, if there is one.
            again: whether an earlier attempt may have made the run without learning its id.
            late: whether the stage has long ended.
        """
        from mlflow.tracking import MlflowClient

        self._spec, self._late = spec, late
        tags = {key: str(value) for key, value in details.tags.items()} | spec.tags
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
                self._parent, self._new_parent = parent.join(
                    self._client, self._experiment_id, details.parent, self._origin, spec.started, late
                )
                tags[PARENT] = self._parent
        run = self._previous_run(run_id)
        if run is None and again:
            run = self._run_of_key()
        if run is None:
            tags_at_once = {KEY: spec.key} | ({PARENT: self._parent} if self._parent else {})
            run = self._client.create_run(self._experiment_id, spec.started, tags_at_once, spec.name)
            self._last_step: dict[str, int] = {}
        else:
            self._client.update_run(run.info.run_id, status="RUNNING")
            # Read from the store: a state file would be behind after a kill.
            self._last_step = {
                key: max(m.step for m in self._client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            }
        self.run_id: str = run.info.run_id
        self._remember(self.run_id)
        self._resumed_after = dict(self._last_step)
        self._results = dict(run.data.metrics)
        self._describe(flatten(details.params) | spec.params, run.data.params, tags)
        if details.datasets:
            runs = [self.run_id, self._parent] if spec.shared and self._parent else [self.run_id]
            for run_id in runs:
                self._client.log_inputs(run_id, [_input(dataset) for dataset in details.datasets])

    def send(self, calls: Sequence[tuple]) -> list[str]:
        """Send the calls of a `Run`, metrics and tags bundled; returns a line for each that could not be sent.

        After an error the same calls may be sent again.
        """
        before = [dict(known) for known in (self._last_step, self._resumed_after, self._results)]
        try:
            return self._send(calls)
        except Exception:
            self._last_step, self._resumed_after, self._results = before
            raise

    def _send(self, calls: Sequence[tuple]) -> list[str]:
        from mlflow.entities import Metric

        metrics, results, tags = [], [], {}
        for kind, *values in calls:
            if kind == "metrics":
                metrics += [Metric(*point) for point in self._points(*values)]
                named, step, timestamp = values
                results += [Metric(clean_key(k), v, timestamp, 0) for k, v in named.items() if step is None]
            elif kind == "tag":
                tags[values[0]] = values[1]
            elif kind == "resumed":  # from a checkpoint: the next points repeat some of those before
                self._resumed_after = dict(self._last_step)
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
                status, ended = values
                self._client.set_terminated(self.run_id, status, ended)
                if self._parent and self._is_last_stage(ended):  # until the next stage begins
                    self._client.set_terminated(self._parent, status, ended)
        return problems

    def _is_last_stage(self, ended: int) -> bool:
        """Whether the parent ends with this stage: one that is sent late may have been followed by others."""
        if not self._late or self._new_parent:
            return True
        if (self._client.get_run(self._parent).info.end_time or 0) > ended:
            return False
        at_work = f"attributes.status = 'RUNNING' and tags.`{PARENT}` = '{self._parent}'"
        return not self._client.search_runs([self._experiment_id], at_work, max_results=1)

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
                self._results[key] = value
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
        remote = is_remote(self._spec.uri)
        # A single folder: quote() leaves dots as they are.
        folder = self._spec.root / "mlartifacts" / re.sub(r"^\.", "%2E", quote(name, safe=" "))
        try:
            self._client.create_experiment(name, artifact_location=None if remote else folder.as_uri())
        except MlflowException:
            if self._client.get_experiment_by_name(name) is None:  # no other machine has made it meanwhile
                raise
        return self._client.get_experiment_by_name(name)

    def _previous_run(self, run_id: str | None) -> Any:
        from mlflow.exceptions import MlflowException

        run_id = run_id or self._remembered()
        if run_id is None:
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the database was deleted since
                return None
            raise
        same = run.info.experiment_id == self._experiment_id
        return run if same and run.info.lifecycle_stage == "active" else None

    def _run_of_key(self) -> Any:
        runs = self._client.search_runs([self._experiment_id], f"tags.`{KEY}` = '{self._spec.key}'", max_results=1)
        return runs[0] if runs else None

    def _remembered(self) -> str | None:
        """The id in the state file, if it is of this store."""
        if self._spec.state is None or not self._spec.state.is_file():
            return None
        try:
            state = json.loads(self._spec.state.read_text(encoding="utf-8"))
            run_id, uri = state["run_id"], state["uri"]
        except (ValueError, KeyError, TypeError):  # a file of another program, or cut off: a new run loses nothing
            return None
        return run_id if uri == shown(self._spec.uri) else None

    def _remember(self, run_id: str) -> None:
        path = self._spec.state
        if path is None or not path.parent.is_dir():
            return  # the stage is over and has removed its folder, which must not come back
        uri = shown(self._spec.uri)
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
