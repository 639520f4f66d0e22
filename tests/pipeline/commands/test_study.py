"""docs/which-method.md holds what `pipeline.commands.study` prints of the runs that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands import study


def test_the_page_has_the_figures_of_the_runs(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    study.main(["studies/which-method"])
    printed = capsys.readouterr().out
    assert printed.count("|") > 20
    page = (root / "docs/which-method.md").read_text(encoding="utf-8")
    assert printed in page, "docs/which-method.md: replace its figures by what the study's command prints"
