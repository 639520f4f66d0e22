"""A model in MLflow that `mlflow.pyfunc.load_model` loads, with its files; the registry's own versions point to DVC."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pyarrow as pa

import distill
from distill.inference import requirements, verbs
from distill.inference.model import SETTINGS, Settings
from distill.inference.verb import Verb
from distill.tracking import store
from distill.tracking.names import TAG_LENGTH, clean_key, shorten
from distill.tracking.registry import FLAVOUR

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


@dataclass(frozen=True)
class Loadable:
    """What is registered.

    Attributes:
        folder: an exported folder or a checkpoint.
        int8: whether the quantized model of an exported folder is meant.
        name: name in the registry.
        alias: that the version gets; it moves from another one.
        tags: of the version.
        description: of the version.
        experiment: experiment of the run that the model is logged in.
        parent: id of the run above that run; None: none.
    """

    folder: Path
    int8: bool
    name: str
    alias: str
    tags: Mapping[str, str]
    description: str
    experiment: str
    parent: str | None = None


def register(uri: str, given: Loadable) -> str:
    """Log a model with its files as a pyfunc model, and register it.

    Args:
        uri: the store; MLflow's process-wide setting is put back afterwards.

    Returns:
        Address of the version: `models:/distill/4`.

    Raises:
        UserError: the model cannot be loaded.
        ImportError: MLflow is missing.
        Exception: what MLflow raises where the store does not do it.
    """
    model = verbs.load_model(str(given.folder), given.int8)  # what cannot be loaded here is not registered
    verb = verbs.of_task(model.settings.task)[0]
    store.import_mlflow()
    import mlflow
    import mlflow.pyfunc
    from mlflow.tracking import MlflowClient

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(given.experiment)
        number = client.create_experiment(given.experiment) if experiment is None else experiment.experiment_id
        tags = {"stage": "register", "dvc.path": given.folder.as_posix()}
        if given.parent is not None:
            tags["mlflow.parentRunId"] = given.parent
        with tempfile.TemporaryDirectory() as scratch, mlflow.start_run(None, number, "register", tags=tags):
            code = Path(scratch) / "distill"
            # In a folder of its own: MLflow copies all that lies there, and a clone has caches.
            shutil.copytree(Path(distill.__file__).parent, code, ignore=shutil.ignore_patterns("__pycache__"))
            logged = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                artifacts={"model": str(given.folder)},
                model_config={"int8": given.int8},
                code_paths=[str(code)],
                signature=signature(verb, model.settings),
                input_example=_example(verb, model.settings),
                pip_requirements=requirements.pinned((given.folder / SETTINGS).is_file()),
            )
        more = {clean_key(key): shorten(value, TAG_LENGTH) for key, value in {**given.tags, FLAVOUR: "pyfunc"}.items()}
        version = mlflow.register_model(logged.model_uri, given.name, await_registration_for=None, tags=more).version
        client.update_model_version(given.name, version, given.description)
        client.set_registered_model_alias(given.name, given.alias, version)
    finally:
        mlflow.set_tracking_uri(before)
    return f"models:/{given.name}/{version}"


def signature(verb: Verb, settings: Settings) -> ModelSignature:
    """Columns in and out, with their types."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import Array, DataType

    kinds = {pa.string(): DataType.string, pa.int64(): DataType.long, pa.float64(): DataType.double}
    columns = {**verb.columns(settings), "error": pa.string()}
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(Array(DataType.string) if get_args(field.type) else DataType.string, name, required=needed)
                for name, field, needed in _fields(verb, settings)
            ]
        ),
        outputs=Schema([ColSpec(kinds[kind], name, required=False) for name, kind in columns.items()]),
    )


def _fields(verb: Verb, settings: Settings) -> list[tuple[str, Any, bool]]:
    """Fields of a model's rows, and whether each has them: a model for single texts takes no second ones."""
    fields = [(name, field, field.required or settings.pairs is True) for name, field in verb.fields.items()]
    return [item for item in fields if item[2] or settings.pairs is None]


def _example(verb: Verb, settings: Settings) -> Any:
    import pandas as pd

    needed = [(name, get_args(field.type)) for name, field, needed in _fields(verb, settings) if needed]
    return pd.DataFrame({name: [[f"a {name}"] if many else f"a {name}"] for name, many in needed})
