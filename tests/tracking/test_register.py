"""The champion with its files: `mlflow.pyfunc.load_model` loads it and answers as the function does."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from distill.errors import UserError
from distill.inference import classify, verbs
from distill.tracking import registry, store
from distill.tracking.records import Champion
from pipeline.commands import register
from pipeline.process.hashes import dvc_md5
from tests.helpers import exported, micro

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy of MLflow

STUDENT, EXPORT = Path("data/models/distill/kd/1"), Path("data/export/kd/1")


@pytest.fixture
def repository(tmp_path, database, monkeypatch):
    """A student, its export, dvc.lock that ties them, and an empty registry."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(database, tmp_path)
    shutil.copy(micro.ROOT / "tests/params.yaml", tmp_path)
    STUDENT.mkdir(parents=True)
    (STUDENT / "config.json").write_text("{}")
    exported.classifier(EXPORT, ["no", "yes"])
    lock = {"path": str(STUDENT), "md5": dvc_md5(STUDENT)}, {"path": str(EXPORT), "md5": dvc_md5(EXPORT)}
    stages = {"export@kd-1": {"deps": [lock[0]], "outs": [lock[1]]}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    return tmp_path


def champion() -> Champion:
    tags = {"method": "kd"}
    return Champion("distill", str(STUDENT), dvc_md5(STUDENT), 80.5, "classification accuracy", tags, "The winner.")


def test_the_champion_is_registered_with_its_files_loads_and_answers(repository, capsys):
    import mlflow
    from mlflow.tracking import MlflowClient

    uri, before = store.store_uri(repository), mlflow.get_tracking_uri()
    with pytest.raises(UserError, match="distill has no version with the alias champion"):
        register.main([])
    client = MlflowClient(uri)
    assert registry.register(client, champion(), {}) == "distill/1"
    register.main([])
    assert "registered data/export/kd/1 as models:/distill/2, alias champion" in capsys.readouterr().out
    assert mlflow.get_tracking_uri() == before
    version = client.get_model_version_by_alias("distill", "champion")
    assert str(version.version) == "2" and version.description == "The winner."
    assert version.tags | {"flavour": "pyfunc", "method": "kd", registry.MD5: dvc_md5(STUDENT)} == version.tags
    # The next run of the pipeline finds the same model, and leaves the alias where the files are.
    assert registry.register(client, champion(), {}) == "distill/2"
    assert str(client.get_model_version_by_alias("distill", "champion").version) == "2"

    texts = ["w1 w2", "", None, "w3"]
    mlflow.set_tracking_uri(uri)
    try:
        loaded = mlflow.pyfunc.load_model("models:/distill@champion")
        table = loaded.predict(pd.DataFrame({"text": texts}, index=[7, 8, 9, 10]))
    finally:
        mlflow.set_tracking_uri(before)
    right = classify.classify(verbs.load_model(str(EXPORT)), [("w1 w2", None), ("w3", None)])
    assert list(table.index) == [7, 8, 9, 10]
    for row, expected in zip([table.iloc[0], table.iloc[3]], right, strict=True):
        assert row["label"] == expected["label"] and row["confidence"] == pytest.approx(expected["confidence"])
        assert row["probability.no"] == pytest.approx(expected["probabilities"]["no"]) and row["error"] is None
    assert list(table["error"])[1:3] == ["text: is empty: give a text", "text: is missing: give a text"]
    signature = json.loads(loaded.metadata.signature.to_dict()["inputs"])
    assert [(column["name"], column["type"], column["required"]) for column in signature] == [("text", "string", True)]
    requirements = Path(loaded._model_impl.context.artifacts["model"]).parents[1] / "requirements.txt"
    assert "onnxruntime==" in requirements.read_text() and "torch" not in requirements.read_text()


def test_only_the_champions_own_files_are_taken(repository):
    class Version:
        version, tags = "1", {"dvc.path": str(STUDENT), registry.MD5: dvc_md5(STUDENT), "git.commit": "abc"}

    assert register._folder(Version) == EXPORT
    # An export of another student, or one that was changed by hand, is not the champion's.
    (EXPORT / "README.md").write_text("changed")
    assert register._folder(Version) == STUDENT
    (STUDENT / "config.json").write_text('{"other": 1}')
    with pytest.raises(UserError, match=r"kd/1: is not the champion's \(version 1\): `git checkout abc` and"):
        register._folder(Version)
