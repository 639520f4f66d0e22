"""What is written comes back, byte for byte the same each time; damage is noticed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import BertTokenizer

from distill.data.features import preparation, question_features
from distill.data.features.preparation import write
from distill.data.loading.prepared import Prepared
from distill.data.loading.tokenizer import fingerprint, train
from distill.errors import UserError
from distill.runtime.files import file_hash
from tests.helpers import bits

CONTEXTS = [f"The tower of city {i} was painted green by mayor number {i}. " * (1 + i % 4) for i in range(12)]


def make_rows(prefix: str) -> list[dict]:
    rows = []
    for i, context in enumerate(CONTEXTS):
        for k, answer in enumerate(("green", f"city {i}", None)):
            texts = [] if answer is None else [answer]
            starts = [] if answer is None else [context.index(answer)]
            rows.append(
                {
                    "id": f"{prefix}{i}-{k}",
                    "title": f"Städte {i // 3}",
                    "context": context,
                    "question": f"Question {k} about it?",
                    "answers": {"text": texts, "answer_start": starts},
                }
            )
    return rows


SPLITS = {"train": make_rows("t"), "selection": make_rows("s")[:9], "validation": make_rows("v")[9:]}


@pytest.fixture(scope="module")
def tokenizer():
    return train([row["context"] + row["question"] for row in SPLITS["train"]], 150, lowercase=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory, tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("data") / "prepared"
    write(folder, SPLITS, tokenizer, 32, 8, {"task": "qa"})
    return folder


def test_other_features_of_a_split_leave_all_else_as_it_is(written):
    data = Prepared(written)
    features = data.features("train")
    changed = features.remove_columns("start_positions").add_column("start_positions", [1] * len(features))
    other = data.with_features("train", changed)
    assert set(other.features("train")["start_positions"]) == {1} != set(data.features("train")["start_positions"])
    assert other.trained_on() == data.trained_on() and other.ragged("train").offsets.tolist() == (
        data.ragged("train").offsets.tolist()
    )
    assert other.features("selection")[:] == data.features("selection")[:]
    assert other.examples("train")[:] == data.examples("train")[:]


@pytest.fixture
def copied(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "prepared"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_examples_come_back_as_they_were(written):
    opened = Prepared(written)
    for split, rows in SPLITS.items():
        assert opened.examples(split).to_list() == rows


def test_features_are_those_of_encode_and_are_memory_mapped(written, tokenizer):
    opened = Prepared(written)
    for split, rows in SPLITS.items():
        expected = [item for batch in question_features.encode(rows, tokenizer, 32, 8) for item in batch.to_pylist()]
        found = opened.features(split)
        assert found.to_list() == expected
        assert found.cache_files == [{"filename": str(written / split / "features.arrow")}]


def test_small_integers_stay_small_on_disk_and_rows_become_flat_arrays(written, tokenizer):
    found = Prepared(written).features("train")
    assert found.data.schema.types == question_features.schema(tokenizer).types
    first = found.with_format("numpy")[0]
    assert first["input_ids"].shape == first["offset_end"].shape == (int(first["length"]),)


def test_ragged_layout(written):
    opened = Prepared(written)
    ragged = opened.ragged("train")
    ids = opened.features("train")["input_ids"]
    assert ragged.lengths.dtype == np.int32 and ragged.offsets.dtype == np.int64
    assert ragged.lengths.tolist() == [len(item) for item in ids]
    assert ragged.offsets[0] == 0 and ragged.offsets[-1] == ragged.lengths.sum()
    flat = np.concatenate([np.array(item) for item in ids])
    for i in (0, 5, len(ids) - 1):
        assert flat[ragged.offsets[i] : ragged.offsets[i + 1]].tolist() == ids[i]


def test_meta_counts(written, tokenizer):
    opened = Prepared(written)
    meta = opened.meta
    assert (meta["task"], meta["max_length"], meta["doc_stride"]) == ("qa", 32, 8)
    assert meta["tokenizer"]["fingerprint"] == fingerprint(tokenizer)
    assert meta["tokenizer"]["vocab_size"] == len(tokenizer)
    for split, rows in SPLITS.items():
        found = opened.features(split).to_list()
        windows = [sum(item["example_index"] == i for item in found) for i in range(len(rows))]
        counts = meta["splits"][split]
        assert counts == {
            "examples": len(rows),
            "answerable": sum(bool(row["answers"]["text"]) for row in rows),
            "articles": len({row["title"] for row in rows}),
            "features": len(found),
            "extra_windows": len(found) - len(rows),
            "windowed_questions": sum(count > 1 for count in windows),
            "answers_in_no_window": 0,
            "tokens_mean": round(sum(item["length"] for item in found) / len(found), 2),
            "tokens_max": max(item["length"] for item in found),
            "blake2b": {name: file_hash(written / split / f"{name}.arrow") for name in ("examples", "features")},
        }
    assert meta["splits"]["train"]["extra_windows"] > 0


def test_answers_in_no_window_are_counted(tmp_path, tokenizer):
    row = dict(SPLITS["train"][0])
    long = row["context"][: row["context"].index("green") + len("green")]
    row["answers"] = {"text": [long], "answer_start": [0]}
    meta = write(tmp_path / "p", {"train": [row, SPLITS["train"][1]]}, tokenizer, 14, 2, {})
    assert meta["splits"]["train"]["answers_in_no_window"] == 1


def test_meta_is_returned_and_reported_by_batches(tmp_path, tokenizer):
    seen = []
    meta = write(tmp_path / "p", SPLITS, tokenizer, 32, 8, {}, lambda split, count: seen.append((split, count)))
    assert meta == Prepared(tmp_path / "p").meta
    assert seen == [(split, len(rows)) for split, rows in SPLITS.items()]


def test_writing_twice_gives_the_same_bytes(written, tmp_path, tokenizer):
    tokenizer("a b c", truncation=True, max_length=3, padding="max_length")  # state that must not be saved
    write(tmp_path / "again", SPLITS, tokenizer, 32, 8, {"task": "qa"})
    assert files(tmp_path / "again") == files(written)


def test_the_number_of_threads_changes_no_byte(written, tmp_path, root, monkeypatch):
    """None, and three in another process: the tokenizer starts them once in each."""
    code = f"""
import sys
from pathlib import Path
from distill.data.features.preparation import write
from distill.data.loading.prepared import Prepared
from tests.data.loading.test_prepared import SPLITS
write(sys.argv[1], SPLITS, Prepared({str(written)!r}).tokenizer(), 32, 8, {{"task": "qa"}})
"""
    three = os.environ | {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": "3"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "three")], cwd=root, check=True, env=three)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    write(tmp_path / "none", SPLITS, Prepared(written).tokenizer(), 32, 8, {"task": "qa"})
    for folder in (tmp_path / "none", tmp_path / "three"):
        for split in SPLITS:
            for name in ("examples", "features"):
                path = f"{split}/{name}.arrow"
                assert (folder / path).read_bytes() == (written / path).read_bytes()


def test_several_batches_read_as_one(tmp_path, tokenizer):
    rows = [row | {"id": f"{row['id']}/{n}"} for n in range(40) for row in SPLITS["train"]]
    meta = write(tmp_path / "p", {"train": rows}, tokenizer, 32, 8, {})
    opened = Prepared(tmp_path / "p")
    assert len(opened.examples("train")) == len(rows) == 1440
    assert opened.examples("train")["id"] == [row["id"] for row in rows]
    found = opened.features("train")
    assert len(found) == meta["splits"]["train"]["features"]
    assert sorted(set(found["example_index"])) == list(range(1440))


def test_tokenizer_comes_back(written, tokenizer):
    back = Prepared(written).tokenizer()
    assert fingerprint(back) == fingerprint(tokenizer)
    assert back.is_fast and back.model_input_names == tokenizer.model_input_names


def test_question_too_long_leaves_the_old_data_in_place(copied, tokenizer):
    before = files(copied)
    bad = [row | {"question": "green " * 40} if row["id"] == "v5-0" else row for row in SPLITS["validation"]]
    with pytest.raises(UserError, match='^validation split: question "v5-0": .*features.max_length = 32'):
        write(copied, SPLITS | {"validation": bad}, tokenizer, 32, 8, {})
    assert files(copied) == before
    assert [path.name for path in copied.parent.iterdir()] == ["prepared"]


def test_rest_of_a_killed_run_is_cleared_away(copied, tokenizer):
    rest = copied.parent / ".prepared.building"
    rest.mkdir()
    (rest / "junk").write_text("x")
    write(copied, SPLITS, tokenizer, 32, 8, {"task": "qa"})
    assert [path.name for path in copied.parent.iterdir()] == ["prepared"]
    assert "junk" not in files(copied)


def refused(path: Path, problem: str, action) -> None:
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and problem in message
    assert message.endswith("run dvc repro prepare") and len(message.splitlines()) == 1


def test_missing_folder(tmp_path):
    refused(tmp_path / "none" / "meta.json", "does not exist", lambda: Prepared(tmp_path / "none"))


@pytest.mark.parametrize("content", ["", '{"splits": ', "[]", "{}", '{"splits": {"train": {}}}', '{"splits": 3}'])
def test_damaged_meta(copied, content):
    (copied / "meta.json").write_text(content)
    refused(copied / "meta.json", "is damaged", lambda: Prepared(copied))


@pytest.mark.parametrize("name", ["examples", "features"])
def test_missing_and_damaged_arrow_files(copied, name):
    path = copied / "train" / f"{name}.arrow"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:3], b"", b"not arrow at all" * 100):
        path.write_bytes(content)
        refused(path, "is ", lambda: getattr(Prepared(copied), name)("train"))
    path.unlink()
    refused(path, "does not exist", lambda: getattr(Prepared(copied), name)("train"))


def test_stream_cut_between_two_batches(tmp_path, tokenizer):
    write(tmp_path / "p", {"train": SPLITS["train"]}, tokenizer, 32, 8, {})
    path = tmp_path / "p" / "train" / "features.arrow"
    half = question_features.encode(SPLITS["train"][:18], tokenizer, 32, 8)
    preparation._write_stream(path, question_features.schema(tokenizer), half)
    refused(path, "is cut off: ", lambda: Prepared(tmp_path / "p").features("train"))


def test_unknown_split(written):
    refused(
        written / "test" / "features.arrow", "train, selection, validation", lambda: Prepared(written).features("test")
    )


def test_missing_or_exchanged_tokenizer(copied):
    path = copied / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(content))
    refused(path.parent, "blake2b", lambda: Prepared(copied).tokenizer())
    path.unlink()
    refused(path, "does not exist", lambda: Prepared(copied).tokenizer())


def test_a_flipped_bit_in_a_file_beside_the_tokenizer_is_refused(copied):
    path = copied / "tokenizer" / "tokenizer_config.json"
    bits.flip(path)
    refused(path.parent, "blake2b", lambda: Prepared(copied).tokenizer())


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ["examples", "features"])
def test_a_flipped_bit_is_refused(copied, split, name):
    """With the file's old time: DVC does not look at it again."""
    path = copied / split / f"{name}.arrow"
    bits.flip(path, words=b"green" if name == "examples" else None)
    opened = Prepared(copied)
    with pytest.raises(UserError) as caught:
        getattr(opened, name)(split)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "damaged" in message and "\n" not in message
    other = "examples" if name == "features" else "features"
    assert len(getattr(opened, other)(split))


def test_a_file_is_hashed_once(written, monkeypatch):
    read = []
    monkeypatch.setattr("distill.data.loading.prepared.file_hash", lambda path: read.append(path) or file_hash(path))
    opened = Prepared(written)
    for _ in range(3):
        opened.features("train")
    assert read == [written / "train" / "features.arrow"]


def test_a_format_that_one_caller_sets_is_its_own(written):
    opened = Prepared(written)
    one, other = opened.features("train"), opened.features("train")
    one.set_format("numpy", columns=["input_ids"])
    for rows in (other, opened.features("train"), opened.read_by("teacher").features("train")):
        assert rows.format["type"] is None and rows[0]["input_ids"] == one[0]["input_ids"].tolist()
        assert set(rows[0]) > {"input_ids"} == set(one[0])


@pytest.fixture(scope="module")
def other() -> BertTokenizer:
    """A second tokenizer: with capitals, and many more pieces."""
    return train([row["context"] + row["question"] for row in SPLITS["train"]], 90, lowercase=False)


@pytest.fixture(scope="module")
def in_two(tmp_path_factory, tokenizer, other) -> Path:
    folder = tmp_path_factory.mktemp("two") / "prepared"
    write(folder, SPLITS, tokenizer, 32, 8, {"task": "qa"}, readers={"teacher": other})
    return folder


def test_a_second_tokenizer_changes_no_byte_of_what_is_there_without_it(written, in_two):
    plain, both = files(written), files(in_two)
    assert {name: both[name] for name in plain if name != "meta.json"} == {
        name: content for name, content in plain.items() if name != "meta.json"
    }
    added = {f"{split}/teacher_features.arrow" for split in SPLITS}
    assert added <= (new := both.keys() - plain.keys()) and all("teacher_" in name for name in new)
    meta = json.loads(both["meta.json"])
    del meta["readers"]
    for counts in meta["splits"].values():
        del counts["readers"]
    assert meta == json.loads(plain["meta.json"])


def test_a_model_with_its_own_tokenizer_reads_its_own_features_of_the_same_examples(in_two, tokenizer, other):
    data = Prepared(in_two)
    assert data.has_tokens_of("teacher") and not data.has_tokens_of("student")
    view = data.read_by("teacher")
    assert fingerprint(view.tokenizer()) == fingerprint(other) == view.meta["tokenizer"]["fingerprint"]
    assert fingerprint(data.tokenizer()) == fingerprint(tokenizer) == data.meta["tokenizer"]["fingerprint"]
    for split, rows in SPLITS.items():
        expected = [item for batch in question_features.encode(rows, other, 32, 8) for item in batch.to_pylist()]
        assert view.features(split).to_list() == expected and len(view.ragged(split).lengths) == len(expected)
        assert view.meta["splits"][split]["features"] == len(expected) != data.meta["splits"][split]["features"]
        assert view.examples(split).to_list() == rows
    assert view.taught_features().to_list() == view.features("train").to_list()
    assert view.trained_on() == data.trained_on()


def test_other_models_read_the_students_tokens(written, in_two):
    plain, both = Prepared(written), Prepared(in_two)
    assert plain.read_by("teacher") is plain and both.read_by("student") is both


def test_features_replaced_for_one_reader_leave_the_others(in_two):
    data = Prepared(in_two)
    few = data.features("train").select(range(3))
    assert len(data.with_features("train", few).features("train")) == 3
    assert len(data.with_features("train", few).read_by("teacher").features("train")) > 3


def test_damage_to_the_second_features_is_noticed(in_two, tmp_path):
    folder = Path(shutil.copytree(in_two, tmp_path / "prepared"))
    path = folder / "train" / "teacher_features.arrow"
    bits.flip(path)
    Prepared(folder).features("train")
    with pytest.raises(UserError, match="teacher_features.arrow: (damaged|is damaged)"):
        Prepared(folder).read_by("teacher").features("train")


def test_a_text_that_fits_in_one_readers_tokens_alone_names_the_other(tmp_path, tokenizer):
    pieces = train([row["context"] for row in SPLITS["train"]] + ["Question abou it?", "012"], 48, lowercase=True)
    with pytest.raises(
        UserError, match="^train split, in the teacher's tokens: question .t0-0.: .*features.max_length"
    ):
        write(tmp_path / "prepared", SPLITS, tokenizer, 24, 8, {"task": "qa"}, readers={"teacher": pieces})
    assert not (tmp_path / "prepared").exists()
