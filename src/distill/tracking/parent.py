"""The run of a whole pipeline, above those of its stages: joined if its key is in the store, else created."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from distill.tracking.names import TAG_LENGTH, flatten, shorten
from distill.tracking.records import Parent
from distill.tracking.store import log_batch

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

KEY = "pipeline.key"


def key_of(parent: Parent, commit: str) -> str:
    """Hash of what the stages of one pipeline share (its name, its params and the commit): 32 hex digits."""
    identity = json.dumps([parent.name, commit, parent.params], sort_keys=True, default=str)
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


def join(
    client: "MlflowClient",
    experiment_id: str,
    parent: Parent,
    tags: Mapping[str, str],
    started: int,
    late: bool = False,
) -> tuple[str, bool]:
    """The id of the parent's run, which is set to running, and whether it is new; the caller holds the store's lock.

    Args:
        tags: tags that all runs of the pipeline share (`git.commit`, `dvc.exp_name`).
        started: milliseconds since 1970, for a new run.
        late: whether the stage has long ended: the status of the run is that of other stages.
    """
    commit = tags.get("git.commit", "")
    key = key_of(parent, commit)
    # Two machines on one server may each have made a run: all stages take the older.
    runs = client.search_runs(
        [experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1, order_by=["attributes.start_time ASC"]
    )
    if runs:
        run, params = runs[0], runs[0].data.params
        if not late:
            client.update_run(run.info.run_id, status="RUNNING")
    else:
        name = parent.name or " ".join(["workspace", commit[:7]]).strip()
        tags = {**tags, **parent.tags, KEY: key, "mlflow.source.name": "dvc"}
        tags = {k: shorten(v, TAG_LENGTH) for k, v in tags.items()}
        run = client.create_run(experiment_id, started, tags, name)
        params = {}
    # To an existing run, too: the process that made it may have been killed before it logged them.
    log_batch(client, run.info.run_id, params={k: v for k, v in flatten(parent.params).items() if k not in params})
    return run.info.run_id, not runs
