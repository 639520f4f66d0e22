"""pipeline.commands.send_runs: what it says about the runs that wait."""

import pytest

from distill.errors import UserError
from distill.tracking import late, spool, store
from distill.tracking.run import start_run
from distill.tracking.session import Session
from pipeline.commands import send_runs


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("DISTILL_TRACKING", "MLFLOW_TRACKING_URI", "RANK", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in store.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy of MLflow
def test_a_run_that_waits_is_sent_once(tmp_path, monkeypatch, capsys):
    def away(self: Session, calls: list) -> list[str]:
        raise OSError("away")

    send_runs.main(tmp_path)
    assert capsys.readouterr().out == "" and list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr(Session, "send", away)
        with start_run(root=tmp_path, experiment="distill", name="stage", close_timeout=60):
            pass
        with pytest.raises(UserError, match=r"stage still waits in .scratch/tracking \(OSError: away\)"):
            send_runs.main(tmp_path)
    capsys.readouterr()
    for expected in ("sent 1 run to MLflow\n", ""):
        send_runs.main(tmp_path)
        assert capsys.readouterr().out == expected
    assert not (tmp_path / spool.FOLDER).exists()


def test_without_mlflow_the_runs_stay(tmp_path, monkeypatch):
    def missing(*words: object) -> int:
        raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")

    monkeypatch.setattr(late, "send_all", missing)
    with pytest.raises(UserError, match="pip install mlflow"):
        send_runs.main(tmp_path)
