"""A model's outputs on disk: what is written comes back, damage and other data are noticed, a killed run goes on."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UserError
from distill.runtime.files import file_hash
from distill.signals.cache import IDENTITY, Array, Cache, Writer, complete, link_arrays
from tests.helpers import bits, cached

LENGTHS = [5, 3, 9, 1, 7, 4]
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
META = {"task": "qa", **cached.IDENTITY}
ARRAYS = {"logits": Array(2, True), "cls-1": Array(3, False), "hidden-2": Array(3, True, "float16")}
# Not in the order of rows: batches are formed by length.
BATCHES = [[2, 4], [0, 5], [1, 3]]
# Bytes of a shard: `hidden-2` has 6 a token, `logits` 8, `cls-1` 12 a row.
SHARD = 60


def values_of(rows, garbage=None):
    """Padded outputs of a batch; the padding holds nonsense that must not be stored."""
    found = {}
    for name, array in ARRAYS.items():
        shape = (len(rows), max(LENGTHS[row] for row in rows) + 3, array.width) if array.per_token else (len(rows), 3)
        found[name] = np.full(shape, -99, np.float32)
        for i, row in enumerate(rows):
            own = expected(name, row)
            if array.per_token:
                found[name][i, : len(own)] = own
            else:
                found[name][i] = own
    return found if garbage is None else {name: np.full_like(value, garbage) for name, value in found.items()}


def expected(name, row):
    array = ARRAYS[name]
    shape = (LENGTHS[row], array.width) if array.per_token else (array.width,)
    return np.random.default_rng([row, array.width]).normal(size=shape).astype(array.dtype).astype(np.float32)


def write(folder, batches=BATCHES, arrays=ARRAYS, end=True):
    writer = Writer(folder, OFFSETS, arrays, SHARD)
    for number, rows in enumerate(batches, start=1):
        writer.write(np.array(rows), {name: value for name, value in values_of(rows).items() if name in arrays})
        writer.mark(number)
    writer.finish(META)
    if end:
        complete(folder)


@pytest.fixture
def cache(tmp_path):
    write(tmp_path / "teacher")
    return tmp_path / "teacher"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_come_back_with_zeros_at_padding_and_nothing_else(cache):
    opened = Cache.open(cache, cached.IDENTITY)
    assert opened.meta["rows"] == 6 and opened.meta["tokens"] == 29
    for rows in ([0], [2, 0, 3], [5, 5]):
        for name, array in ARRAYS.items():
            found = opened.rows(name, rows, 16)
            assert found.dtype == np.float32
            assert found.shape == ((len(rows), 16, array.width) if array.per_token else (len(rows), array.width))
            for i, row in enumerate(rows):
                own = expected(name, row)
                assert np.array_equal(found[i, : LENGTHS[row]] if array.per_token else found[i], own)
                assert not array.per_token or not found[i, LENGTHS[row] :].any()


def test_shards_are_plain_files_of_whole_rows_and_none_is_too_large(cache):
    """Read without our code: NumPy alone, in the order of the files' names."""
    for name, array in ARRAYS.items():
        shards = [np.load(path) for path in sorted((cache / name).glob("*.npy"))]
        assert len(shards) > 1 and all(shard.dtype == array.dtype for shard in shards)
        whole = np.concatenate([expected(name, row).reshape(-1, array.width) for row in range(6)])
        assert np.array_equal(np.concatenate(shards), whole.astype(array.dtype))
        longest = 9 if array.per_token else 1
        for shard in shards:
            assert shard.nbytes <= max(SHARD, longest * array.width * shard.itemsize)
        stored = json.loads((cache / "meta.json").read_text())["arrays"][name]
        assert stored["bounds"][0] == 0 and stored["bounds"][-1] == 6 and len(stored["bounds"]) == len(shards) + 1


def test_files_are_mapped_and_not_read(cache):
    opened = Cache.open(cache, cached.IDENTITY)
    opened.rows("logits", [0, 5], 9)
    assert all(isinstance(shard, np.memmap) for shard in opened._shards["logits"].maps.values())
    assert not opened._shards["hidden-2"].maps


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    width=st.integers(1, 5),
    per_token=st.booleans(),
    shard=st.integers(1, 400),
)
def test_bounds_cover_every_row_once_and_fill_shards_as_far_as_rows_allow(lengths, width, per_token, shard):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    array = Array(width, per_token)
    bounds, size = array.bounds(offsets, shard), 4 * width
    assert bounds[0] == 0 and bounds[-1] == len(lengths) and bounds == sorted(set(bounds))
    entries = lengths if per_token else [1] * len(lengths)
    for first, last in zip(bounds, bounds[1:], strict=False):
        assert sum(entries[first:last]) * size <= shard or last == first + 1
        if last < len(lengths):
            assert sum(entries[first : last + 1]) * size > shard
    assert array.size(offsets) == sum(entries) * size


def test_a_finished_cache_holds_the_same_bytes_each_time_and_nothing_else(cache, tmp_path):
    names = {path.split("/")[0] for path in contents(cache)}
    assert names == {*ARRAYS, "offsets.npy", "meta.json"}
    write(tmp_path / "again", BATCHES[::-1])
    assert contents(tmp_path / "again") == contents(cache)


def test_a_cache_without_arrays_is_one_too(tmp_path):
    write(tmp_path / "none", arrays={})
    assert Cache.open(tmp_path / "none", cached.IDENTITY).arrays == {}


@pytest.mark.parametrize("name", IDENTITY)
def test_the_cache_of_something_else_is_refused(cache, name):
    other = cached.IDENTITY | {name: "f" * 32}
    expected = f"belong to {IDENTITY[name]} {cached.IDENTITY[name][:12]}, the run has ffffffffffff: run `dvc repro"
    with pytest.raises(UserError, match=expected):
        Cache.open(cache, other)


@pytest.mark.parametrize("name", ["logits/00001.npy", "hidden-2/00000.npy", "offsets.npy", "meta.json"])
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
        Cache.open(cache, cached.IDENTITY)
    message = str(caught.value)
    assert message.startswith(str(cache)) and "\n" not in message
    assert "dvc checkout" in message and "dvc repro predict_teacher" in message


@pytest.mark.parametrize("content", ["[]", "{}", '{"data": 3}', "null", json.dumps(META | {"rows": 6, "arrays": []})])
def test_foreign_meta_data_gives_one_line(cache, content):
    (cache / "meta.json").write_text(content)
    with pytest.raises(UserError) as caught:
        Cache.open(cache, cached.IDENTITY)
    assert "\n" not in str(caught.value) and "dvc repro predict_teacher" in str(caught.value)


def test_offsets_of_other_rows_are_refused(cache):
    np.save(cache / "offsets.npy", OFFSETS[:-1])
    with pytest.raises(UserError, match=r"offsets.npy has 5 rows, meta.json says 6"):
        Cache.open(cache, cached.IDENTITY)
    np.save(cache / "offsets.npy", OFFSETS + 1)
    shutil.copy(cache / "logits/00000.npy", cache / "logits/00001.npy")
    with pytest.raises(UserError, match=r"logits/00001.npy holds float32 \(5, 2\), expected float32 \(3, 2\)"):
        Cache.open(cache, cached.IDENTITY)


@pytest.mark.parametrize("killed_after", [0, 1, 2, 3])
def test_a_killed_writer_goes_on_and_gives_the_bytes_of_an_uninterrupted_one(cache, tmp_path, killed_after):
    folder = tmp_path / "killed"
    first = Writer(folder, OFFSETS, ARRAYS, SHARD)
    assert first.done == 0
    for number, rows in enumerate(BATCHES[:killed_after], start=1):
        first.write(np.array(rows), values_of(rows))
        first.mark(number)
    for rows in BATCHES[killed_after : killed_after + 1]:
        first.write(np.array(rows), values_of(rows, garbage=7))  # in work when the kill came, not marked
    del first
    second = Writer(folder, OFFSETS, ARRAYS, SHARD)
    assert second.done == killed_after
    for rows in BATCHES[second.done :]:
        second.write(np.array(rows), values_of(rows))
    second.finish(META)
    complete(folder)
    assert contents(folder) == contents(cache)


@pytest.mark.parametrize("left", ["other rows", "other arrays", "cut logits", "cut mark"])
def test_leftovers_that_cannot_be_gone_on_from_are_begun_anew(cache, tmp_path, left):
    folder = tmp_path / "killed"
    offsets = OFFSETS[:-1] if left == "other rows" else OFFSETS
    arrays = {"logits": Array(3, True)} if left == "other arrays" else ARRAYS
    writer = Writer(folder, offsets, arrays, SHARD)
    if left != "other arrays":
        writer.write(np.array([0]), values_of([0], garbage=7))
    writer.mark(1)
    del writer
    for name, file in (("cut logits", "logits/00001.npy"), ("cut mark", "done-0.json")):
        if left == name:
            (folder / file).write_bytes((folder / file).read_bytes()[:-8])
    again = Writer(folder, OFFSETS, ARRAYS, SHARD)
    assert again.done == 0
    for rows in BATCHES:
        again.write(np.array(rows), values_of(rows))
    again.finish(META)
    complete(folder)
    assert contents(folder) == contents(cache)


def test_a_kill_while_the_mark_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    writer = Writer(tmp_path, OFFSETS, ARRAYS)
    writer.mark(3)

    def cut_off(path, text, encoding):
        path.write_bytes(text.encode()[:5])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("pathlib.Path.write_text", cut_off)
        writer.mark(4)
    assert json.loads((tmp_path / "done-0.json").read_text()) == {"batches": 3, "parts": 1}
    assert Writer(tmp_path, OFFSETS, ARRAYS).done == 3


def test_a_finished_cache_that_was_not_handed_over_is_not_computed_again(tmp_path):
    write(tmp_path, end=False)
    assert Writer(tmp_path, OFFSETS, ARRAYS, SHARD).done == len(BATCHES)


def test_what_half_precision_cannot_hold_is_said(tmp_path):
    writer = Writer(tmp_path, OFFSETS, ARRAYS, SHARD)
    values = values_of([0])
    values["hidden-2"][0, 1, 2] = -70_000
    with pytest.raises(UserError, match="cache.dtype: float16 ends at 65,504, and hidden-2 of row 0 has 70,000"):
        writer.write(np.array([0]), values)


def test_two_processes_fill_one_cache_and_go_on_each_from_its_own_mark(cache, tmp_path):
    folder = tmp_path / "two"

    def writers():
        return [Writer(folder, OFFSETS, ARRAYS, SHARD, part=(k, 2)) for k in range(2)]

    first, second = writers()
    for writer, rows in ((first, BATCHES[0]), (second, BATCHES[1])):
        writer.write(np.array(rows), values_of(rows))
    second.mark(1)  # the first is killed before it marks its place
    del first, second
    first, second = writers()
    assert (first.done, second.done) == (0, 0)  # the first begins anew, and with it the files
    first.write(np.array(BATCHES[0]), values_of(BATCHES[0]))
    first.mark(1)
    second.write(np.array(BATCHES[1]), values_of(BATCHES[1], garbage=7))
    first, second = writers()
    assert (first.done, second.done) == (1, 0)
    second.write(np.array(BATCHES[1]), values_of(BATCHES[1]))
    first.write(np.array(BATCHES[2]), values_of(BATCHES[2]))
    second.flush()
    first.finish(META)
    complete(folder)
    assert contents(folder) == contents(cache)


def test_another_number_of_processes_begins_anew(tmp_path):
    Writer(tmp_path, OFFSETS, ARRAYS, SHARD, part=(0, 2)).mark(1)
    assert Writer(tmp_path, OFFSETS, ARRAYS, SHARD).done == 0


@pytest.mark.parametrize("name", ["logits", "cls-1", "hidden-2"])
def test_a_flipped_bit_is_refused_before_any_value_of_its_shard_is_used(cache, name):
    """With the file's old time: DVC does not look at it again."""
    shard = sorted((cache / name).glob("*.npy"))[1]
    bits.flip(shard)
    opened = Cache.open(cache, cached.IDENTITY)
    for other in ARRAYS:
        opened.rows(other, [0], 9)  # the first shards, and other arrays, are whole
    with pytest.raises(UserError) as caught:
        opened.rows(name, [0, 5, 4, 3, 2, 1], 9)
    message = str(caught.value)
    assert message.startswith(f"{shard}: damaged") and "\n" not in message
    assert f"delete {cache}" in message and "dvc repro --force" in message


def test_flipped_bits_in_offsets_are_refused(cache):
    bits.flip(cache / "offsets.npy")
    with pytest.raises(UserError, match="cannot be read"):
        Cache.open(cache, cached.IDENTITY)


def test_each_shard_is_hashed_once(cache, monkeypatch):
    read = []
    monkeypatch.setattr("distill.signals.cache.file_hash", lambda path: read.append(path) or file_hash(path))
    opened = Cache.open(cache, cached.IDENTITY)
    for _ in range(3):
        opened.rows("logits", [0, 5, 4, 3, 2, 1], 9)
    assert sorted(path.name for path in read) == sorted(
        ["offsets.npy", *(path.name for path in (cache / "logits").glob("*.npy"))]
    )


def test_linked_arrays_have_their_hashes(cache, tmp_path):
    link_arrays(cache, tmp_path / "linked", ["cls-1"])
    linked = Cache.open(tmp_path / "linked", cached.IDENTITY)
    assert np.array_equal(linked.rows("cls-1", [3], 0)[0], expected("cls-1", 3))
