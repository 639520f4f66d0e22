"""What dvc.lock vouches for, without any data: from listings of folders."""

import hashlib

import pytest

from pipeline.fan.graph import Contents, Stage, in_order, up_to_date
from pipeline.process.hashes import dvc_md5

STAGES = [
    Stage("inputs", outs=("data/inputs/needs.json",)),
    Stage("teacher", ("inputs",), ("data/inputs/needs.json", "src"), ("data/teacher",)),
    Stage("filters", ("teacher",), ("data/teacher",), ("data/filters/teacher", "data/filters/one.json")),
    Stage("signals", ("teacher", "filters"), ("data/teacher", "data/filters"), ("data/signals",)),
    Stage("distill@kd-1", ("signals",), ("data/signals/kd",), ("data/models/kd/1",)),
    Stage("distill@ted-1", ("signals",), ("data/signals/ted", "data/signals/ted/one.json"), ("data/models/ted/1",)),
]
OUTS = ("data/teacher", "data/filters/teacher", "data/filters/one.json", "data/signals", "data/models/kd/1")


@pytest.fixture
def workspace(tmp_path):
    """Files as the stages have made them."""
    for name in ("teacher/w", "filters/teacher/w", "filters/one.json", "filters/.gitkeep", "models/kd/1/w"):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    for name in ("kd/a", "kd/deep/b", "ted/one.json"):
        file = tmp_path / "data" / "signals" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path


def record(workspace):
    """dvc.lock of all stages but ted's, and the listings that DVC keeps."""
    entries, listings = {"inputs": {}}, {}
    for stage in STAGES[1:5]:
        deps = [{"path": path, "md5": dvc_md5(workspace / path)} for path in stage.deps if path.startswith("data/t")]
        deps += [
            {"path": path, "md5": dvc_md5(workspace / path)}
            for path in stage.deps
            if path.startswith(("data/filters", "data/signals"))
        ]
        outs = [{"path": path, "md5": dvc_md5(workspace / path)} for path in stage.outs]
        entries[stage.name] = {"deps": deps, "outs": outs}
    for path in OUTS:
        if (workspace / path).is_dir():
            listings[dvc_md5(workspace / path)] = [
                {"md5": dvc_md5(file), "relpath": file.relative_to(workspace / path).as_posix()}
                for file in (workspace / path).rglob("*")
                if file.is_file()
            ]
    return entries, listings


def current(entries, listings, changed=()):
    beside = {"data/filters": {".gitkeep": hashlib.md5(b"filters/.gitkeep").hexdigest()}}
    contents = Contents(STAGES, entries, listings.get, lambda folder: beside.get(folder, {}))
    return up_to_date(STAGES, entries, changed, contents)


def test_what_has_run_is_up_to_date_by_listings_alone(workspace):
    """A folder around outputs and a part of an output have the md5 that DVC has of the files themselves."""
    assert current(*record(workspace)) == {"inputs", "teacher", "filters", "signals", "distill@kd-1"}


def test_a_part_that_another_run_of_the_stage_has_changed_counts(workspace):
    """DVC's --allow-missing takes data/signals/kd, which is not there, for unchanged."""
    entries, listings = record(workspace)
    (workspace / "data/signals/kd/a").write_text("another")
    later, new = record(workspace)
    entries["signals"] = later["signals"]
    assert "distill@kd-1" not in current(entries, listings | new)
    (workspace / "data/signals/kd/a").write_text("kd/a")
    (workspace / "data/signals/ted/one.json").write_text("another")
    later, new = record(workspace)
    entries["signals"] = later["signals"]
    assert "distill@kd-1" in current(entries, listings | new)


def test_what_follows_a_changed_stage_has_to_wait_for_it(workspace):
    entries, listings = record(workspace)
    assert current(entries, listings, {"filters"}) == {"inputs", "teacher"}


def test_an_output_whose_listing_is_lost_vouches_for_nothing(workspace):
    entries, listings = record(workspace)
    lost = {md5: files for md5, files in listings.items() if md5 != entries["signals"]["outs"][0]["md5"]}
    assert current(entries, lost) == {"inputs", "teacher", "filters", "signals"}


def test_stages_come_after_those_that_they_need():
    assert [stage.name for stage in in_order(STAGES[::-1])][:3] == ["inputs", "teacher", "filters"]
