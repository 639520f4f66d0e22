"""A whole study of three arms in micro sizes: every phase runs, goes on, and leaves figures that the page can read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from distill.errors import UserError
from distill.experiments import study
from distill.runtime import json_files
from pipeline.study import page, workspace
from pipeline.study.figures import Figures
from pipeline.study.phase_folder import PhaseFolder
from pipeline.study.students import Student
from pipeline.study.workspace import Workspace
from pipeline.summary import contents
from tests.helpers import micro, studied

PLAN = {
    "seeds": {"tuning": [11], "screening": [1, 2], "further": [], "confirmation": [101, 102]},
    "tasks": {"tiny": {"presets": ["tiny.yaml"]}},
    "baseline": "ft",
    "also": "kd",
    "margin": 0.5,
    "timed_updates": 4,
    "arms": {
        "ft": [{"learning_rate": 1e-3, "label_smoothing": 0.0}, {"learning_rate": 3e-3, "label_smoothing": 0.1}],
        "kd": [{"learning_rate": 1e-3, "kl_alpha": 1}, {"learning_rate": 3e-3, "kl_alpha": 10}],
        "rkd": [{"learning_rate": 1e-3, "alpha": 0.3}, {"learning_rate": 3e-3, "alpha": 0.7}],
    },
}
PRESET = """# description: sentences in micro sizes
task: classification
data: {embedded: sentences, text: sentence, label: label, train: data/raw/study/note.txt}
evaluate: {metric: accuracy}
"""


def _workspace(folder: Path) -> Workspace:
    (folder / "plan").mkdir()
    (folder / "plan" / study.FILE).write_text(yaml.safe_dump(PLAN), encoding="utf-8")
    (folder / "plan" / "tiny.yaml").write_text(PRESET, encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data" / "note.txt").write_text("a file that the preset names\n", encoding="utf-8")
    plan = study.read(folder / "plan")
    source = micro.repo(folder / "source")
    return Workspace(plan, folder / "plan", "tiny", folder / "data", folder / "w/tiny", folder / "results/tiny", source)


class Stopped(Workspace):
    """Stages that leave files and train nothing; the machine goes at the arm `lost`."""

    lost = ""

    def _dvc(self, targets: list[str], log: Path) -> None:
        labels = [target.partition("@")[2] for target in targets]
        if self.lost and any(label.startswith(self.lost) for label in labels):
            raise UserError("the machine is gone")
        with (self.clone.parent / "ran").open("a", encoding="utf-8") as file:
            file.write(f"{' '.join(labels)}\n")
        for label in labels:
            name, seed = label.rsplit("-", 1)
            studied.run(self.clone, [Student(name, int(seed), targets[0])], "accuracy")


def test_a_phase_goes_on_in_another_clone_with_the_arms_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = Stopped(**vars(_workspace(tmp_path)))
    monkeypatch.setattr(Stopped, "lost", "rkd")
    with pytest.raises(UserError, match="the machine is gone"):
        space.run(study.TUNE)
    kept = PhaseFolder(space.results / study.TUNE)
    assert kept.arms().keys() == {"ft", "kd"} and not kept.done
    monkeypatch.setattr(Stopped, "lost", "")
    other = dataclasses.replace(space, clone=tmp_path / "other/tiny")
    other.run(study.TUNE)
    assert (tmp_path / "other/ran").read_text().split() == ["rkd-t1-11", "rkd-t2-11"]
    assert kept.done and "tiny tune: ft: done before" in capsys.readouterr().out
    rows = json_files.read(kept.path / "metrics/summary.json", "")
    assert list(rows) == [f"{arm}-t{number}" for arm in PLAN["arms"] for number in (1, 2)]
    # Times are divided by each other: they are taken on one machine, and no scores with them.
    other.run(study.TIME)
    timed = PhaseFolder(space.results / study.TIME)
    assert timed.done and timed.arms().keys() == {"all"} and not (timed.path / "metrics").exists()
    # DVC orders the stages of one call by itself: each round is a call of its own.
    calls = (tmp_path / "other/ran").read_text().splitlines()[1:]
    assert calls == [f"ft-{seed} kd-tuned-{seed} rkd-tuned-{seed}" for seed in PLAN["seeds"]["screening"]]
    # Other data are no part of the same phase.
    (kept.path / "phase.json").unlink()
    (space.data / "note.txt").write_text("another text\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"data\.json: not those of this phase"):
        other.run(study.TUNE)


def test_data_that_were_edited_in_their_length_reach_the_clone(tmp_path: Path) -> None:
    space = Stopped(**vars(_workspace(tmp_path)))
    space.run(study.TUNE)
    edited = "b file that the preset names\n"
    assert len(edited) == len((space.data / "note.txt").read_text(encoding="utf-8"))
    (space.data / "note.txt").write_text(edited, encoding="utf-8")
    space.run(study.TIME)
    assert (space.clone / "data/raw/study/note.txt").read_text(encoding="utf-8") == edited


def test_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    space = Stopped(**vars(_workspace(tmp_path)))
    (space.data / "note.txt").unlink()
    with pytest.raises(UserError, match="note.txt: no such file or folder, and tiny names it: put it there"):
        space.run(study.TUNE)


def test_two_commands_do_not_work_in_one_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second would change the parameters under the first one's stages."""
    space = Stopped(**vars(_workspace(tmp_path)))
    refusals = []

    def second(self: Stopped, targets: list[str], log: Path) -> None:
        before = (self.clone / "params.yaml").read_bytes()
        with pytest.raises(UserError, match="a phase of tiny is being run by .*: wait for its end") as caught:
            dataclasses.replace(self, results=self.results.with_name("other")).run(study.TUNE)
        refusals.append(caught)
        assert (self.clone / "params.yaml").read_bytes() == before
        raise UserError("the machine is gone")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="the machine is gone"):
        patch.setattr(Stopped, "_dvc", second)
        space.run(study.TUNE)
    assert len(refusals) == 1 and not space.results.with_name("other").exists()
    # The first one's end leaves the clone free, also where it failed.
    space.run(study.TUNE)
    assert PhaseFolder(space.results / study.TUNE).done


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_study_runs_from_tuning_to_tables(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What runs DVC and its stages.
    monkeypatch.setattr(workspace, "sys", SimpleNamespace(executable=str(python / "python")))
    space = _workspace(tmp_path)
    with pytest.raises(UserError, match="run phase tune of tiny first"):
        space.run(study.SCREEN)
    for phase in study.PHASES:
        space.run(phase)
        if phase == study.SCREEN:
            code = {"PYTHONPATH": f"{space.clone / 'src'}:{space.clone}"}
            micro.run(space.clone, "dvc", "repro", "summarize", env=micro.with_programs(python) | code)
            screened = json_files.read(space.clone / "metrics/summary.json", "", contents.SUMMARY)
    figures = Figures(space.plan, tmp_path / "results")
    tuned = figures.summary("tiny", study.TUNE)
    picks = figures.made("tiny", study.SCREEN)["picks"]
    for arm in PLAN["arms"]:
        scores = [tuned[f"{arm}-t{number}"]["selection_accuracy"] for number in (1, 2)]
        assert picks[arm] == 1 + scores.index(max(scores))
    # The differences are those of the pipeline's own summary.
    assert screened.keys() >= {"ft", "kd-tuned", "rkd-tuned"}
    row = figures.differences("tiny", study.SCREEN)["against"]["ft"]["kd-tuned"]
    assert row["value"] == pytest.approx(screened["kd-tuned"]["accuracy_vs_ft"])
    assert row["p"] == pytest.approx(screened["kd-tuned"]["accuracy_vs_ft_p"])
    longer = figures.differences("tiny", study.CONFIRM)["against"]["ft-longer"]
    assert longer.keys() == {"ft", "kd-tuned", "rkd-tuned"}
    record = json_files.read(space.results / study.CONFIRM / "data/runs/distill-ft-longer-101.json", "")
    assert record["updates"] == figures.as_long("tiny", "rkd") == figures.made("tiny", study.CONFIRM)["updates"]
    assert f"ft, {record['updates']} updates" in page.text(figures)
    assert json_files.read(space.results / study.TIME / "data.json", "").keys() == {"note.txt"}
    text = page.text(figures)
    assert "### Mean over tiny" in text
    assert "confirmation on fresh seeds" in text
    assert "<svg" in page.picture(figures)
    # A finished phase is left alone; one that was not finished runs no arm again.
    before = json.loads((space.results / study.TUNE / "phase.json").read_text())
    (space.results / study.TUNE / "phase.json").unlink()
    capfd.readouterr()
    space.run(study.TUNE)
    space.run(study.SCREEN)
    assert "tiny screen: done before" in capfd.readouterr().out
    assert json.loads((space.results / study.TUNE / "phase.json").read_text()) == before
