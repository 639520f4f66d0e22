"""Candidates on disk: what is read back, and damage that is refused."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from distill.augmentation.candidates import Candidates
from distill.errors import UserError
from distill.runtime import checkpoints
from distill.tasks.registry import load_task
from tests.helpers import bits, cached, neighbours

TASKS = {"qa": (), "classification": ("a", "b", "c"), "regression": ()}


def stored(folder, task):
    """What stage retrieve leaves, of random candidates; and those."""
    made = neighbours.candidates(task, rows=4, per_row=3)
    folder.mkdir(exist_ok=True)
    table = made.rows.features.with_format("arrow")[:]
    lengths = pa.array(made.rows.lengths, pa.int32())
    table = table.append_column("length", lengths).replace_schema_metadata(None)
    with pa.OSFile(str(folder / "features.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    np.save(folder / "neighbours.npy", made.neighbours)
    checkpoints.seal(folder, checkpoints.CHECKSUMS)
    everything = made.cache.rows("logits", list(range(len(made.rows))), int(made.rows.lengths.max()))
    cached.write(folder / "logits", made.rows.lengths, {"logits": everything})
    return made


@pytest.mark.parametrize("name", list(TASKS))
def test_what_was_stored_comes_back(tmp_path, name):
    task = load_task(name, labels=TASKS[name])
    made = stored(tmp_path / "candidates", task)
    found = Candidates.load(tmp_path / "candidates", cached.IDENTITY, task, 0)
    assert found.per_row == 3
    index = torch.tensor([3, 0])
    for own, other in zip(found.of(index), made.of(index), strict=True):
        torch.testing.assert_close(own, other)
    batch, logits = found.of(index)
    assert batch["input_ids"].shape[0] == 6
    wanted = (6, batch["input_ids"].shape[1], 2) if task.per_token else (6, task.channels)
    assert logits.shape == wanted and logits.dtype == torch.float32
    one, _ = found.of(index, 1)
    assert [row[row > 0].tolist() for row in one["input_ids"]] == [
        row[row > 0].tolist() for row in batch["input_ids"][[0, 3]]
    ]


@pytest.mark.parametrize("name", list(TASKS))
def test_picked_rows_lose_only_padding(tmp_path, name):
    task = load_task(name, labels=TASKS[name])
    found = stored(tmp_path / "candidates", task)
    batch, logits = found.of(torch.tensor([0, 1, 2]))
    lengths = batch["attention_mask"].sum(1)
    rows = lengths.argsort()[:2]
    picked, taught = found.pick(batch, logits, rows)
    assert lengths[rows].max() <= 8 < batch["input_ids"].shape[1] == 16  # of multiples of 8 the least
    assert picked["input_ids"].shape == picked["attention_mask"].shape == (2, 8)
    for own, row in enumerate(rows):
        length = lengths[row]
        assert torch.equal(picked["input_ids"][own, :length], batch["input_ids"][row, :length])
        assert picked["attention_mask"][own].sum() == length
        given = (taught[own, :length], logits[row, :length]) if task.per_token else (taught[own], logits[row])
        assert torch.equal(*given)


def test_candidates_of_other_features_are_refused(tmp_path):
    task = load_task("qa")
    stored(tmp_path / "candidates", task)
    with pytest.raises(UserError, match="belong to features a{12}, the run has f{12}: run `dvc repro retrieve`"):
        Candidates.load(tmp_path / "candidates", cached.IDENTITY | {"data": "f" * 32}, task, 0)


def test_the_empty_artifact_of_a_run_that_needed_none_is_refused_with_the_fix(tmp_path):
    (tmp_path / "not-needed.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read .*dvc repro retrieve"):
        Candidates.load(tmp_path, cached.IDENTITY, load_task("qa"), 0)


@pytest.mark.parametrize("name", ["features.arrow", "neighbours.npy"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_file_is_refused_with_the_fix(tmp_path, name, damage):
    folder, task = tmp_path / "candidates", load_task("qa")
    stored(folder, task)
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:40])
    with pytest.raises(UserError, match="candidates cannot be read .*dvc checkout .*dvc repro retrieve"):
        Candidates.load(folder, cached.IDENTITY, task, 0)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    folder, task = tmp_path / "candidates", load_task("qa")
    made = stored(folder, task)
    np.save(folder / "neighbours.npy", made.neighbours + 1)
    checkpoints.seal(folder, checkpoints.CHECKSUMS)
    with pytest.raises(UserError, match=r"11 candidates, logits for 11 and neighbours of shape \(4, 3\) do not belong"):
        Candidates.load(folder, cached.IDENTITY, task, 0)


@pytest.mark.parametrize("name", ["features.arrow", "neighbours.npy"])
def test_a_flipped_bit_is_refused(tmp_path, name):
    folder, task = tmp_path / "candidates", load_task("qa")
    stored(folder, task)
    bits.flip(folder / name)
    with pytest.raises(UserError, match=f"the candidates cannot be read .{name} does not have the content"):
        Candidates.load(folder, cached.IDENTITY, task, 0)
