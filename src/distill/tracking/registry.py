"""The model registry: a version for each champion, pointing to the files that DVC keeps, and an alias for the best."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from distill.tracking.names import TAG_LENGTH, clean_key, shorten
from distill.tracking.records import Champion

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

ALIAS = "champion"
# Tags of a version by which it is found again, and compared.
MD5, SCORE, JUDGED_ON = "dvc.md5", "score", "judged_on"
# Tag of a version that has the files themselves, and of what kind: `python -m pipeline.commands.register`.
FLAVOUR = "flavour"


def register(client: "MlflowClient", champion: Champion, origin: Mapping[str, str]) -> str:
    """Register a model and give it the alias `champion`; the caller holds the store's lock.

    A model of the same md5 keeps its version. The alias stays where the present champion has a higher score on
    the same data: a weaker run does not take it over.

    Args:
        origin: further tags of a new version: `git.commit`, `dvc.exp_name`.

    Returns:
        Name and number of the version: `distill/3`.
    """
    from mlflow.exceptions import MlflowException

    name = champion.name
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    same = [version for version in versions if version.tags.get(MD5) == champion.md5]
    # Of several the latest: it has the files, where a person has registered them.
    version = max(same, key=lambda version: int(version.version), default=None)
    version = version or _create(client, champion, origin)
    holder = _holder(client, name)
    if holder is None or not _is_better(holder, champion):
        client.set_registered_model_alias(name, ALIAS, version.version)
    return f"{name}/{version.version}"


def _create(client: "MlflowClient", champion: Champion, origin: Mapping[str, str]) -> "ModelVersion":
    tags = {**origin, **champion.tags, "dvc.path": champion.path, MD5: champion.md5}
    tags |= {SCORE: repr(champion.score), JUDGED_ON: champion.judged_on}
    return client.create_model_version(
        champion.name,
        # MLflow copies nothing, and a server refuses paths of files: the address says that DVC keeps the file.
        source=f"dvc:///{champion.path}",
        run_id=champion.run_id,
        tags={clean_key(key): shorten(str(value), TAG_LENGTH) for key, value in tags.items()},
        description=champion.description,
        await_creation_for=None,
    )


def _holder(client: "MlflowClient", name: str) -> "ModelVersion | None":
    version = client.get_registered_model(name).aliases.get(ALIAS)
    return None if version is None else client.get_model_version(name, version)


def _is_better(holder: "ModelVersion", champion: Champion) -> bool:
    """Whether the present champion has a higher score of the same kind."""
    try:
        score = float(holder.tags[SCORE])
    except (KeyError, ValueError):  # registered by another program
        return False
    return holder.tags.get(JUDGED_ON) == champion.judged_on and score > champion.score
