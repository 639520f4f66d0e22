"""Complete checkpoints, folders replaced in one step, refused weights."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from distill.errors import UserError
from distill.runtime.checkpoints import CHECKSUMS, MANIFEST, fault, is_complete, last_complete, load_check, seal
from distill.runtime.files import files_below, publish, tree_hash, write_text
from tests.helpers import bits


def make_checkpoint(folder, step, sealed=True):
    path = folder / f"checkpoint-{step}"
    (path / "inner").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(bytes(range(256)) * 8)
    (path / "inner" / "state.json").write_text(f'{{"step": {step}}}')
    if sealed:
        seal(path)
    return path


def make_model(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    save_file({"weight": np.arange(100, dtype=np.float32)}, folder / "model.safetensors")
    return folder


def content(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def other_filesystem(monkeypatch, source):
    """Makes renaming `source` away fail as it does between filesystems."""
    rename = os.rename

    def refuse(old, new):
        if os.fspath(old) == os.fspath(source):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(old, new)

    monkeypatch.setattr(os, "rename", refuse)


def test_a_sealed_checkpoint_is_complete(tmp_path):
    path = make_checkpoint(tmp_path, 10)
    assert is_complete(path)
    assert set(json.loads((path / MANIFEST).read_text())["files"]) == {"model.safetensors", "inner/state.json"}


def test_what_is_wrong_with_a_checkpoint_is_said(tmp_path):
    assert "not written to its end" in fault(make_checkpoint(tmp_path, 1, sealed=False))
    short = make_checkpoint(tmp_path, 2)
    os.truncate(short / "model.safetensors", 100)
    assert fault(short) == "model.safetensors has 100 bytes instead of 2,048"
    flipped = make_checkpoint(tmp_path, 3)
    with (flipped / "model.safetensors").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"!")
    assert "does not have the content" in fault(flipped)
    lacking = make_checkpoint(tmp_path, 4)
    (lacking / "inner" / "state.json").unlink()
    assert fault(lacking) == "inner/state.json is missing"
    for damaged in ('{"files": {"mod', "[]", "{}"):
        (lacking / MANIFEST).write_text(damaged)
        assert "damaged" in fault(lacking)


def test_a_truncated_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    make_checkpoint(tmp_path, 5)
    good = make_checkpoint(tmp_path, 20)
    os.truncate(make_checkpoint(tmp_path, 100) / "model.safetensors", 7)
    make_checkpoint(tmp_path, 110, sealed=False)
    assert last_complete(tmp_path) == good
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1] == (
        "checkpoint-100 cannot be used (model.safetensors has 7 bytes instead of 2,048): removed; "
        "going on from checkpoint-20"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-20", "checkpoint-5"]


def test_no_checkpoint_to_go_on_from(tmp_path, capsys):
    assert last_complete(tmp_path / "missing") is None
    make_checkpoint(tmp_path, 3, sealed=False)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete(tmp_path) is None
    assert "starting from the beginning" in capsys.readouterr().out


def test_sealing_leaves_the_manifest_out_until_all_is_hashed(tmp_path, monkeypatch):
    path = make_checkpoint(tmp_path, 1, sealed=False)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        seal(path)
    assert not is_complete(path)


@pytest.mark.parametrize("copied", [False, True], ids=["renamed", "copied"])
def test_publish_replaces_a_folder(tmp_path, monkeypatch, copied):
    source, target = make_model(tmp_path / "scratch" / "model"), tmp_path / "data" / "model"
    target.mkdir(parents=True)
    (target / "stale.json").write_text("old")
    expected = content(source)
    if copied:
        other_filesystem(monkeypatch, source)
    publish(source, target)
    assert content(target) == expected
    assert not source.exists()
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_publish_replaces_a_file_and_not_its_links(tmp_path):
    """DVC's cache may be a hard link of the output: it must keep the old content."""
    target, cached, source = tmp_path / "out.json", tmp_path / "cached", tmp_path / "new.json"
    target.write_text("old")
    os.link(target, cached)
    source.write_text("new")
    publish(source, target)
    assert (target.read_text(), cached.read_text(), source.exists()) == ("new", "old", False)


def test_the_old_target_is_intact_when_copying_fails(tmp_path, monkeypatch):
    source, target = make_model(tmp_path / "scratch" / "model"), make_model(tmp_path / "data" / "model")
    (target / "old.json").write_text("old")
    before, finished = content(target), content(source)
    other_filesystem(monkeypatch, source)

    def copy_half(source, target):
        target.mkdir()
        (target / "config.json").write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", copy_half)
    with pytest.raises(OSError, match="No space"):
        publish(source, target)
    assert content(target) == before
    assert content(source) == finished
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_the_old_target_comes_back_when_the_last_rename_fails(tmp_path, monkeypatch):
    source, target = make_model(tmp_path / "scratch" / "model"), make_model(tmp_path / "data" / "model")
    (target / "old.json").write_text("old")
    before, finished = content(target), content(source)
    rename = os.rename

    def refuse(old, new):
        if new == target and old.name.endswith(".new"):
            raise PermissionError(errno.EACCES, "Permission denied")
        rename(old, new)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError):
        publish(source, target)
    assert content(target) == before
    assert content(source) == finished


def test_publish_survives_what_a_killed_one_left(tmp_path):
    source, target = make_model(tmp_path / "scratch"), tmp_path / "data" / "model"
    make_model(tmp_path / "data" / ".model.new")
    make_model(tmp_path / "data" / ".model.old")
    publish(source, target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["model"]


def test_tree_hash_counts_names_and_bytes_only(tmp_path):
    one, two = make_model(tmp_path / "one"), make_model(tmp_path / "elsewhere" / "two")
    assert tree_hash(one) == tree_hash(two)
    (two / "__pycache__").mkdir()
    (two / "__pycache__" / "x.pyc").write_bytes(b"1")
    os.utime(two / "config.json", (1, 1))
    assert tree_hash(one) == tree_hash(two)
    (two / "config.json").rename(two / "configs.json")
    renamed = tree_hash(two)
    (two / "configs.json").write_text("[]")
    assert len({tree_hash(one), renamed, tree_hash(two)}) == 3
    assert tree_hash(one / "config.json") != tree_hash(two / "configs.json")
    with pytest.raises(FileNotFoundError):
        tree_hash(tmp_path / "missing")


@pytest.mark.parametrize("manifest", [MANIFEST, CHECKSUMS])
@pytest.mark.parametrize("killed_in", [MANIFEST, CHECKSUMS])
def test_what_a_kill_left_while_sealing_is_not_sealed(tmp_path, monkeypatch, killed_in, manifest):
    def killed(source, target):
        raise KeyboardInterrupt

    folder = make_model(tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(Path, "unlink", lambda path, **_: None)  # a killed process clears nothing up
        with pytest.raises(KeyboardInterrupt):
            seal(folder, killed_in)
    assert (folder / f".{killed_in}.new").is_file() and not (folder / killed_in).exists()
    seal(folder, manifest)
    assert fault(folder, manifest) is None
    assert sorted(json.loads((folder / manifest).read_text())["files"]) == ["config.json", "model.safetensors"]
    seal(folder, CHECKSUMS)  # as stage retrieve does, one after the other
    seal(folder, MANIFEST)
    assert fault(folder) is None and not list(folder.glob(".*"))


def test_files_below_are_sorted_links_among_them_and_no_folder_is_entered_twice(tmp_path):
    folder = tmp_path / "model"
    for name in ("b/2.py", "b.py", "b/a/1.py", "b/__pycache__/1.pyc", "__pycache__/2.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "cache").write_text("as DVC links it")
    (folder / "a.bin").symlink_to(tmp_path / "cache")
    (folder / "gone.bin").symlink_to(tmp_path / "nothing")
    (folder / "b/around").symlink_to(folder)
    names = ["a.bin", "b.py", "b/2.py", "b/a/1.py"]
    assert list(files_below(folder)) == [(name, folder / name) for name in names]
    (tmp_path / "link").symlink_to(folder)
    assert [name for name, _ in files_below(tmp_path / "link")] == names
    assert list(files_below(tmp_path / "missing")) == []


def test_write_text_keeps_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_text(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("summary.json", "old")]
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_good_model_folder_passes(tmp_path):
    folder = make_model(tmp_path / "model")
    seal(folder, CHECKSUMS)
    load_check(folder)
    (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"weight": "model-00001.safetensors"}}')
    seal(folder, CHECKSUMS)
    load_check(folder)


def damage_nothing(folder):
    shutil.rmtree(folder)


def damage_weights_gone(folder):
    (folder / "model.safetensors").unlink()


def damage_weights_truncated(folder):
    os.truncate(folder / "model.safetensors", 300)


def damage_weights_empty(folder):
    os.truncate(folder / "model.safetensors", 0)


def damage_header(folder):
    (folder / "model.safetensors").write_bytes(b"\x10" + b"\x00" * 7 + b"not json at all!" + b"\x00" * 400)


def damage_pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")


def damage_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def damage_config(folder):
    (folder / "config.json").write_text('{"hidden_size": ')


def damage_config_deep(folder):
    (folder / "config.json").write_text('{"a": ' * 100_000)


def damage_config_digits(folder):
    (folder / "config.json").write_text('{"hidden_size": ' + "1" * 5_000 + "}")


def damage_shard(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-00002.safetensors"}}')


def damage_index(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "../other/model.safetensors"}}')


def damage_index_number(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": 7, "v": "model.safetensors"}}')


def damage_bit(folder):
    bits.flip(folder / "model.safetensors")


def damage_configuration(folder):
    (folder / "config.json").write_text('{"hidden_size": 9}')


def damage_manifest(folder):
    (folder / CHECKSUMS).unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_index, ["index.json: weight_map: w: '../other/model.safetensors'", "no name of a file beside it"]),
        (damage_index_number, ["index.json: weight_map: w: 7", "no name of a file beside it"]),
        (damage_bit, ["model.safetensors does not have the content", "delete", "dvc repro --force"]),
        (damage_configuration, ["config.json has 18 bytes instead of 2", "delete", "dvc repro --force"]),
        (damage_manifest, ["checksums.json is missing", "delete", "dvc checkout"]),
        (damage_nothing, ["no such model folder", "dvc checkout"]),
        (damage_weights_gone, ["model.safetensors", "missing", "dvc checkout", "rerun the stage"]),
        (damage_weights_truncated, ["model.safetensors", "truncated or corrupted", "300 bytes", "dvc checkout"]),
        (damage_weights_empty, ["model.safetensors", "truncated or corrupted", "0 bytes"]),
        (damage_header, ["model.safetensors", "truncated or corrupted"]),
        (damage_pointer, ["model.safetensors", "git lfs pull"]),
        (damage_pickle, ["model.safetensors", "convert it"]),
        (damage_config, ["config.json", "truncated or corrupted", "dvc checkout"]),
        (damage_config_deep, ["config.json", "brackets are nested too deep", "dvc checkout"]),
        (damage_config_digits, ["config.json", "more than 4,300 digits", "dvc checkout"]),
        (damage_shard, ["model-00002.safetensors", "missing"]),
    ],
)
def test_a_damaged_model_folder_is_refused_in_one_line(tmp_path, damage, said):
    folder = make_model(tmp_path / "teacher")
    seal(folder, CHECKSUMS)
    damage(folder)
    with pytest.raises(UserError) as caught:
        load_check(folder)
    line = str(caught.value)
    assert "\n" not in line
    assert "teacher" in line
    for words in said:
        assert words in line
