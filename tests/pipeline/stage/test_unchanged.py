"""What a stage read must still be so at its end: nothing is recorded of an edit in between."""

import json
from pathlib import Path

import pytest

from distill.errors import UserError
from pipeline.stage import origins, snapshot
from tests.helpers.stages import INPUT, build, finish, scratches, settings


@pytest.mark.parametrize("kind", ["input", "added", "gone", "parameter", "both"])
def test_what_changes_while_a_stage_runs_is_not_recorded(here, kind):
    (here / "code").mkdir()
    (here / "code" / "ted.py").write_text("a = 1")
    stage = build(deps=[INPUT, Path("code")])
    with pytest.raises(UserError) as refused, stage:
        if kind in ("input", "both"):
            (here / "data" / "in").write_text("4 5 6")
        if kind == "added":
            (here / "code" / "new.py").write_text("")
        if kind == "gone":
            (here / "code" / "ted.py").unlink()
        if kind in ("parameter", "both"):
            settings(0.2)
        finish(stage)
    named = {"input": ["data/in"], "parameter": ["params.yaml: tuning"], "both": ["data/in", "params.yaml: tuning"]}
    assert str(refused.value).startswith(", ".join(named.get(kind, ["code"])) + ": changed while evaluate@ted-1 ran")
    assert scratches(here)  # put back, it resumes


def test_what_changes_nothing_ends_well(here):
    with build() as stage:
        text = (here / "data" / "in").read_text()
        (here / "data" / "in").unlink()
        (here / "data" / "in").write_text(text)  # another inode and time
        settings(0.1)
        (here / "data" / "other").write_text("x")
        finish(stage)
    assert not scratches(here)


def test_an_edit_before_the_code_is_imported_counts_from_the_start(here):
    """`run_stage` looks first; what a stage finds later is compared with that."""
    snapshot.begin((INPUT,))
    (here / "data" / "in").write_text("edited while torch was imported")
    with pytest.raises(UserError, match="data/in: changed while"), build() as stage:
        finish(stage)
    with build() as stage:  # the snapshot of `begin` is used once
        finish(stage)


@pytest.fixture
def own_model(here, tmp_path_factory):
    """A folder of the user's, outside of the repository, as stage inputs has written it down."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "weights").write_text("1")
    entry = {"name": str(folder), "content": snapshot.Snapshot([folder]).contents[folder]}
    origins.file("teacher").parent.mkdir(parents=True)
    origins.file("teacher").write_text(json.dumps({"teacher.model.path": entry}))
    return folder


def with_model():
    return build(deps=[INPUT, origins.file("teacher")])


def test_a_folder_that_has_changed_since_stage_inputs_is_refused(own_model):
    with with_model() as stage:
        finish(stage)
    (own_model / "weights").write_text("2")
    with (
        pytest.raises(UserError, match=r"teacher\.model\.path: .*mine\d+: changed since stage inputs ran"),
        with_model(),
    ):
        pass


def test_a_folder_that_changes_while_a_stage_runs_is_not_recorded(own_model):
    with pytest.raises(UserError, match=r"mine\d+: changed while evaluate@ted-1 ran"), with_model() as stage:
        (own_model / "weights").write_text("2")
        finish(stage)


def test_a_checkpoint_swapped_while_a_killed_stage_waits_starts_anew(here, own_model):
    with pytest.raises(KeyboardInterrupt), with_model() as stage:
        (stage.scratch / "step").write_text("200")
        raise KeyboardInterrupt
    (own_model / "weights").write_text("2")
    content = snapshot.Snapshot([own_model]).contents[own_model]
    entry = {"name": str(own_model), "content": content}
    origins.file("teacher").write_text(json.dumps({"teacher.model.path": entry}))
    with with_model() as stage:
        assert not stage.resumed
        finish(stage)
