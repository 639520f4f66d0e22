"""The teacher's logits on disk: what is written comes back, damage and other data are noticed, a killed run goes on."""

import json

import numpy as np
import pytest

from distill.cache import LogitCache, LogitWriter
from distill.errors import UserError

LENGTHS = [5, 3, 9, 1, 7, 4]
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
META = {"data": "a" * 32, "rows": len(LENGTHS)}
# Not in the order of rows: batches are formed by length.
BATCHES = [[2, 4], [0, 5], [1, 3]]


def logits_of(rows, garbage=None):
    """Padded logits of a batch; the padding holds nonsense that must not be stored."""
    values = np.full((len(rows), max(LENGTHS[row] for row in rows) + 3, 2), -99, np.float32)
    for i, row in enumerate(rows):
        values[i, : LENGTHS[row]] = np.random.default_rng(row).normal(size=(LENGTHS[row], 2))
    return values if garbage is None else np.full_like(values, garbage)


def write(folder, batches=BATCHES):
    writer = LogitWriter(folder, OFFSETS, 2)
    for number, rows in enumerate(batches, start=1):
        writer.write(np.array(rows), logits_of(rows))
        writer.mark(number)
    writer.finish(META)


@pytest.fixture
def cache(tmp_path):
    write(tmp_path / "teacher")
    return tmp_path / "teacher"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_rows_come_back_with_zeros_at_padding_and_nothing_else(cache):
    opened = LogitCache.open(cache, META["data"])
    assert isinstance(opened.logits, np.memmap) and opened.logits.dtype == np.float32
    for rows in ([0], [2, 0, 3], [5, 5]):
        found = opened.rows(rows, 16)
        assert found.shape == (len(rows), 16, 2) and found.dtype == np.float32
        for i, row in enumerate(rows):
            assert np.array_equal(found[i, : LENGTHS[row]], logits_of([row])[0, : LENGTHS[row]])
            assert not found[i, LENGTHS[row] :].any()


def test_a_finished_cache_holds_three_files_and_the_same_bytes_each_time(cache, tmp_path):
    assert set(contents(cache)) == {"logits.npy", "offsets.npy", "meta.json"}
    write(tmp_path / "again", BATCHES[::-1])
    assert contents(tmp_path / "again") == contents(cache)


def test_the_cache_of_other_data_is_refused(cache):
    with pytest.raises(UserError, match="belong to features aaaaaaaaaaaa, the run trains on bbbbbbbbbbbb: run `dvc re"):
        LogitCache.open(cache, "b" * 32)


@pytest.mark.parametrize("name", ["logits.npy", "offsets.npy", "meta.json"])
@pytest.mark.parametrize("keep", [None, 0, 10, 0.5, -1])
def test_missing_and_cut_off_files_give_one_line_with_the_fix(cache, name, keep):
    file = cache / name
    data = file.read_bytes()
    if keep is None:
        file.unlink()
    else:
        end = int(len(data) * keep) if isinstance(keep, float) else keep
        file.write_bytes(data[:end])
        if name == "meta.json" and keep == -1:
            return  # only the final line break is gone
    with pytest.raises(UserError) as caught:
        LogitCache.open(cache, META["data"])
    message = str(caught.value)
    assert message.startswith(str(cache)) and "\n" not in message
    assert "dvc checkout" in message and "dvc repro predict_teacher" in message


@pytest.mark.parametrize("content", ["[]", "{}", '{"data": 3}', "null"])
def test_foreign_meta_data_gives_one_line(cache, content):
    (cache / "meta.json").write_text(content)
    with pytest.raises(UserError) as caught:
        LogitCache.open(cache, META["data"])
    assert "\n" not in str(caught.value) and "dvc repro predict_teacher" in str(caught.value)


def test_logits_of_another_number_of_tokens_are_refused(cache):
    np.save(cache / "offsets.npy", OFFSETS[:-1])
    with pytest.raises(UserError, match="29 tokens, offsets.npy says 25"):
        LogitCache.open(cache, META["data"])


@pytest.mark.parametrize("killed_after", [0, 1, 2, 3])
def test_a_killed_writer_goes_on_and_gives_the_bytes_of_an_uninterrupted_one(cache, tmp_path, killed_after):
    folder = tmp_path / "killed"
    first = LogitWriter(folder, OFFSETS, 2)
    assert first.done == 0
    for number, rows in enumerate(BATCHES[:killed_after], start=1):
        first.write(np.array(rows), logits_of(rows))
        first.mark(number)
    for rows in BATCHES[killed_after : killed_after + 1]:
        first.write(np.array(rows), logits_of(rows, garbage=7))  # in work when the kill came, not marked
    del first
    second = LogitWriter(folder, OFFSETS, 2)
    assert second.done == killed_after
    for rows in BATCHES[second.done :]:
        second.write(np.array(rows), logits_of(rows))
    second.finish(META)
    assert contents(folder) == contents(cache)


@pytest.mark.parametrize("left", ["other shape", "cut logits", "cut mark"])
def test_leftovers_that_cannot_be_gone_on_from_are_begun_anew(cache, tmp_path, left):
    folder = tmp_path / "killed"
    offsets = OFFSETS[:-1] if left == "other shape" else OFFSETS
    writer = LogitWriter(folder, offsets, 2)
    writer.write(np.array([0]), logits_of([0], garbage=7))
    writer.mark(1)
    del writer
    for name, file in (("cut logits", "logits.npy"), ("cut mark", "done.json")):
        if left == name:
            (folder / file).write_bytes((folder / file).read_bytes()[:-8])
    again = LogitWriter(folder, OFFSETS, 2)
    assert again.done == 0
    for rows in BATCHES:
        again.write(np.array(rows), logits_of(rows))
    again.finish(META)
    assert contents(folder) == contents(cache)


def test_the_mark_is_replaced_in_one_step(tmp_path):
    writer = LogitWriter(tmp_path, OFFSETS, 2)
    writer.mark(3)
    assert json.loads((tmp_path / "done.json").read_text()) == {"batches": 3}
    assert not list(tmp_path.glob("*.tmp"))
