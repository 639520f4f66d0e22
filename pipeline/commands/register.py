"""Puts a model into MLflow's registry with its files, so that `mlflow.pyfunc.load_model` loads it.

    python -m pipeline.commands.register                              # the champion
    python -m pipeline.commands.register --model data/export/kd/2 --alias canary

Of the champion its exported folder is taken, where stage export has made one of it, else its checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from distill.errors import UserError
from distill.inference import loadable
from distill.tracking import registry, store
from pipeline.process import command
from pipeline.process.hashes import dvc_md5
from pipeline.stage import paths

LOCK = Path("dvc.lock")


def main(argv: list[str] | None = None) -> None:
    """Register a model.

    Raises:
        UserError: there is no champion, its files are others here, or MLflow's store refuses.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline.commands.register", description=__doc__)
    parser.add_argument("--model", type=Path, metavar="DIR", help="an exported folder or a checkpoint")
    parser.add_argument("--int8", action="store_true", help="the quantized model of the exported folder")
    parser.add_argument("--name", help="in the registry (default: tracking.registered_model)")
    parser.add_argument("--alias", default=registry.ALIAS, help="that the version gets (default: %(default)s)")
    options = parser.parse_args(argv)
    tracking = paths.params(pinned=False).tracking
    name = options.name or tracking.registered_model
    if name is None:
        raise UserError("--name: tracking.registered_model in params.yaml is null: give a name")
    uri = store.store_uri(Path.cwd())
    try:
        version = None if options.model else _champion(uri, name)
        folder = options.model or _folder(version)
        given = loadable.Loadable(
            folder=folder,
            int8=options.int8,
            name=name,
            alias=options.alias,
            tags=dict(version.tags) if version else {"dvc.path": folder.as_posix(), registry.MD5: dvc_md5(folder)},
            description=version.description if version else f"`{folder.as_posix()}`, registered by hand.",
            experiment=tracking.experiment,
            parent=version.run_id if version else None,
        )
        address = loadable.register(uri, given)
    except ImportError as error:
        raise UserError(f"MLflow is missing: {store.remedy('', error)}") from None
    except UserError:
        raise
    except Exception as error:  # MLflow's clients, stores and servers have exceptions of their own
        raise UserError(f"MLflow: {store.reason(error)}: check MLFLOW_TRACKING_URI") from error
    print(f"registered {folder.as_posix()} as {address}, alias {options.alias}: models:/{name}@{options.alias}")


def _champion(uri: str, name: str) -> Any:
    """The version with the alias `champion`."""
    store.import_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        return MlflowClient(uri).get_model_version_by_alias(name, registry.ALIAS)
    except MlflowException as error:
        raise UserError(
            f"registry: {name} has no version with the alias {registry.ALIAS} ({store.reason(error)}): run `dvc repro`,"
            " or name a model by --model"
        ) from None


def _folder(version: Any) -> Path:
    """The champion's exported folder where there is one, else its checkpoint.

    Raises:
        UserError: the checkpoint here is not the champion's.
    """
    student = Path(version.tags.get("dvc.path", "none"))
    if not student.is_dir() or dvc_md5(student) != version.tags.get(registry.MD5):
        at = version.tags.get("git.commit", "of the tag dvc.md5")
        raise UserError(
            f"{student}: is not the champion's (version {version.version}): `git checkout {at}` and `dvc checkout`, or"
            " name a model by --model"
        )
    exported = Path("data/export", *student.parts[-2:])
    return exported if exported.is_dir() and _is_made_from(exported, student, version.tags[registry.MD5]) else student


def _is_made_from(exported: Path, student: Path, md5: str) -> bool:
    """Whether dvc.lock says that the exported folder was made from this student, and it is the folder that was made."""
    try:
        stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"].values()
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False
    for stage in stages:
        read = {item["path"]: item.get("md5") for item in stage.get("deps", ())}
        made = {item["path"]: item.get("md5") for item in stage.get("outs", ())}
        if exported.as_posix() in made:
            return read.get(student.as_posix()) == md5 and made[exported.as_posix()] == dvc_md5(exported)
    return False


if __name__ == "__main__":
    sys.exit(command.run(main))
