"""The commit that a branch of the hub stands for: asked for, pinned, or last downloaded."""

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

from distill.errors import UserError
from distill.runtime import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """Sets what the hub answers: a commit, or an error; what it was asked is recorded."""
    asked = []
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

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
