"""A whole study of two arms in micro sizes: every phase runs, goes on, and leaves figures that the page can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from distill.errors import UserError
from distill.experiments import study
from distill.runtime import json_files
from pipeline.study import page
from pipeline.study.workspace import Workspace
from pipeline.summary import contents
from tests.helpers import micro

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


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_a_study_runs_from_tuning_to_tables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    space = _workspace(tmp_path)
    with pytest.raises(UserError, match="run phase tune of tiny first"):
        space.run(study.SCREEN)
    for phase in study.PHASES:
        space.run(phase)
    figures = page.Figures(space.plan, tmp_path / "results")
    tuned = figures.summary("tiny", study.TUNE)
    picks = figures.made("tiny", study.SCREEN)["picks"]
    for arm in PLAN["arms"]:
        scores = [tuned[f"{arm}-t{number}"]["selection_accuracy"] for number in (1, 2)]
        assert picks[arm] == 1 + scores.index(max(scores))
    # What the screening says is what its own summary says.
    summary = json_files.read(space.clone / "metrics/summary.json", "", contents.SUMMARY)
    assert set(summary) >= {"ft", "kd-tuned", "rkd-tuned"}
    screened = figures.summary("tiny", study.SCREEN)
    row = figures.differences("tiny", study.SCREEN)["against"]["ft"]["kd-tuned"]
    assert row["value"] == pytest.approx(screened["kd-tuned"]["accuracy_vs_ft"])
    assert row["p"] == pytest.approx(screened["kd-tuned"]["accuracy_vs_ft_p"])
    (control,) = figures.differences("tiny", study.CONFIRM)["controls"]
    assert control["method"] == "rkd-tuned"
    assert figures.made("tiny", study.TIME)["data"].keys() == {"note.txt"}
    text = page.text(figures)
    assert "### Mean over tiny" in text
    assert "confirmation on fresh seeds" in text
    assert "<svg" in page.picture(figures)
    # A finished phase is left alone; one whose figures were lost comes out of DVC's cache.
    before = json.loads((space.results / study.TUNE / "phase.json").read_text())
    (space.results / study.TUNE / "phase.json").unlink()
    capfd.readouterr()
    space.run(study.TUNE)
    space.run(study.SCREEN)
    assert "tiny screen: done before" in capfd.readouterr().out
    assert json.loads((space.results / study.TUNE / "phase.json").read_text()) == before
