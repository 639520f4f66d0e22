"""The commit that a branch of the hub stands for: asked for, pinned, or last downloaded."""

import hashlib
import os

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

from distill.errors import UserError
from distill.runtime import hub, hub_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """Sets what the hub answers: a commit, or an error; what it was asked is recorded."""
    asked = []
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))

    def set_answer(value):
        def repo_info(self, name, **options):
            asked.append((name, options["revision"], options["repo_type"]))
            if isinstance(value, Exception):
                raise value
            return type("Info", (), {"sha": value})

        monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
        return asked

    return set_answer


def of(name="user/model", revision=None, kind="model"):
    return hub.commit(name, revision, kind, "teacher.model.path")


def test_a_branch_is_asked_for(answer):
    asked = answer(COMMIT)
    assert of() == of(revision="main") == of("user/data", "v2", "dataset") == COMMIT
    assert asked == [("user/model", None, "model"), ("user/model", "main", "model"), ("user/data", "v2", "dataset")]


def test_a_commit_is_not_asked_for(answer):
    asked = answer(ConnectionError("no network"))
    assert of(revision=COMMIT) == COMMIT and asked == []


@pytest.mark.parametrize("error", [OfflineModeIsEnabled("HF_HUB_OFFLINE"), ConnectionError("refused"), TimeoutError()])
def test_offline_the_last_download_counts(answer, tmp_path, error):
    answer(error)
    with pytest.raises(UserError, match=r"teacher\.model\.path: 'user/model': .*not downloaded before.*go online"):
        of()
    refs = tmp_path / "models--user--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    (refs / "v2").write_text("cut off")
    assert of() == of(revision="main") == COMMIT
    for revision in ("v2", "v3"):
        with pytest.raises(UserError, match="cannot be asked"):
            of(revision=revision)


def http(kind):
    response = type("Response", (), {"headers": {}, "status_code": 404, "request": None, "text": ""})()
    return kind("no", response=response)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (RepositoryNotFoundError, "no such folder here, and no such model on the hub"),
        (RevisionNotFoundError, "not at revision 'v9'"),
        (GatedRepoError, "asks for consent"),
    ],
)
def test_what_the_hub_refuses_is_one_line(answer, kind, message):
    answer(http(kind))
    with pytest.raises(UserError, match=message) as error:
        of(revision="v9")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a/b/c", "not here", "models/../x", "-x", "a" * 100])
def test_names_that_are_no_ids_are_not_asked_for(name):
    with pytest.raises(UserError, match="no such folder, and no id of the hub"):
        of(name)


def test_the_branch_whose_commit_was_downloaded_counts_offline_and_the_newest_note_of_it(answer, tmp_path):
    """Stages download commits: the hub's own libraries then note no branch."""
    other = "f" * 40
    answer(COMMIT)
    of()
    answer(ConnectionError("refused"))
    with pytest.raises(UserError, match="not downloaded before"):  # asked for, and never read
        of()
    folder = tmp_path / "models--user--model"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    assert of() == COMMIT
    with pytest.raises(UserError, match="not downloaded before"):
        of(revision="v2")
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(other)  # another program has read a newer one
    record = next(tmp_path.glob("assets/distill/*/refs/main/*"))
    os.utime(record, (1, 1))
    assert of() == other
    os.utime(folder / "refs/main", (0, 0))
    assert of() == COMMIT


def downloaded(tmp_path, content: bytes, name: str):
    """A file in the hub's cache, by its hash."""
    folder = tmp_path / "models--user--model"
    blob, link = folder / "blobs" / name, folder / "snapshots" / COMMIT / "sub" / f"{name[:4]}.bin"
    for path in (blob, link):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(blob)
    return blob, link


def test_files_that_are_not_what_their_name_says_are_removed_and_the_others_hashed_once(answer, tmp_path, monkeypatch):
    content = b"weights"
    git = hashlib.sha1(b"blob 7\0" + content).hexdigest()
    names = [hashlib.sha256(content).hexdigest(), git, hashlib.sha1(content).hexdigest(), "d41d8-7"]
    whole = [downloaded(tmp_path, content, name) for name in names]
    hub.verify("user/model", COMMIT, "model", "teacher.model.path")
    assert all(link.exists() for _, link in whole)
    hashed = []
    monkeypatch.setattr(hub_files, "_hash", lambda *words: hashed.append(words) or "")
    hub.verify("user/model", COMMIT, "model", "teacher.model.path")
    assert not hashed
    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    whole[1][0].write_bytes(b"weighty")
    os.utime(whole[1][0], ns=(1, 1))
    with pytest.raises(UserError, match=rf"teacher.model.path: 'user/model'.*sub/{git[:4]}.bin came damaged.*removed"):
        hub.verify("user/model", COMMIT, "model", "teacher.model.path")
    assert [link.exists() for _, link in whole] == [True, False, True, True]
    assert not whole[1][0].exists() and not whole[1][1].is_symlink()
    hub.verify("user/model", COMMIT, "model")


def test_a_file_that_lies_in_a_store_for_all_repositories_goes_by_its_name_in_the_repository(answer, tmp_path):
    content = b"weights"
    blob, link = downloaded(tmp_path, b"", hashlib.sha256(content).hexdigest())
    stored = tmp_path / ("0" * 64)  # named by another hash, Xet's
    stored.write_bytes(content)
    blob.unlink()
    blob.symlink_to(stored)
    hub.verify("user/model", COMMIT, "model")
    assert link.read_bytes() == content
    stored.write_bytes(b"weighty")
    os.utime(stored, ns=(1, 1))
    with pytest.raises(UserError, match="came damaged"):
        hub.verify("user/model", COMMIT, "model")
    assert not (stored.exists() or blob.is_symlink() or link.is_symlink())


def test_folders_of_this_machine_are_never_compared_or_asked_about(tmp_path):
    with pytest.raises(OSError, match="mine"), hub.reading(str(tmp_path), None, "model"):
        raise OSError("mine")
    assert hub.explain(OSError("does not appear to have"), str(tmp_path), None, "model") is None


def test_a_faulty_checkpoint_is_not_blamed_on_a_network_that_is_away(answer):
    answer(ConnectionError("refused"))
    with pytest.raises(KeyError), hub.reading("user/model", COMMIT, "model"):
        raise KeyError("vocab")
