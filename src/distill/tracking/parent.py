"""The run of a whole pipeline, above those of its stages: found by a key, or made."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from distill.tracking.batches import send_params
from distill.tracking.names import TAG_LENGTH, flatten, shorten
from distill.tracking.records import Parent

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

KEY = "pipeline.key"


def key_of(parent: Parent, commit: str) -> str:
    """What stages of the same pipeline agree in: 32 hex digits of its name, its params and the commit."""
    told = json.dumps([parent.name, commit, parent.params], sort_keys=True, default=str)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def join(client: "MlflowClient", experiment_id: str, parent: Parent, tags: Mapping[str, str]) -> str:
    """The id of the parent's run, which is set to running; the caller holds the store's lock.

    Args:
        tags: those that all runs of the pipeline share (`git.commit`, `dvc.exp_name`).
    """
    commit = tags.get("git.commit", "")
    key = key_of(parent, commit)
    # Two machines on one server could each have made one: everybody takes the older.
    found = client.search_runs(
        [experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1, order_by=["attributes.start_time ASC"]
    )
    if found:
        run, known = found[0], found[0].data.params
        client.update_run(run.info.run_id, status="RUNNING")
    else:
        name = parent.name or " ".join(["workspace", commit[:7]]).strip()
        own = {**tags, **parent.tags, KEY: key, "mlflow.source.name": "dvc"}
        run = client.create_run(experiment_id, run_name=name, tags={k: shorten(v, TAG_LENGTH) for k, v in own.items()})
        known = {}
    # Of one that is found, too: whoever made it may have been killed at once.
    send_params(client, run.info.run_id, {k: v for k, v in flatten(parent.params).items() if k not in known})
    return run.info.run_id
