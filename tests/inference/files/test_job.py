"""Files of rows: answers as those of the function, constant memory, the same bytes however often a job is stopped."""

import csv
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.errors import UserError
from distill.inference import classify
from distill.inference.files import job
from distill.inference.files.parts import Parts
from distill.inference.files.sources import Source
from distill.inference.model import Model, Settings
from distill.inference.verb import Field, Verb
from tests.helpers import tiny

LABELS = ["bad", "=good"]


@pytest.fixture(scope="module")
def model() -> Model:
    """A model whose logits are the number of tokens and a constant."""
    fields = {"task": "classification", "labels": LABELS, "max_length": 16, "temperature": 1.0, "pairs": False}
    settings = Settings.model_validate(dict.fromkeys(Settings.model_fields) | fields)
    return Model(
        settings,
        tiny.tokenizer(),
        lambda batch: np.stack([batch["attention_mask"].sum(1), np.full(len(batch["input_ids"]), 5)], 1).astype("f4"),
    )


TEXTS = ["w1 w2", "w3, w4 w5; w6", "", "w7\nw8 w9", "w1"]


def given(path: Path, texts: list[str] = TEXTS) -> Path:
    """A file with ids of these texts."""
    rows = [{"id": 10 + i, "text": text} for i, text in enumerate(texts)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), encoding="utf-8-sig")
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, ["id", "text"], delimiter=";")
            writer.writeheader()
            writer.writerows(rows)
    return path


def table(path: Path) -> list[dict]:
    """The rows of an output; empty cells of a CSV are None."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("read", "written"),
    [(".csv", ".csv"), (".jsonl", ".parquet"), (".parquet", ".jsonl"), (".csv", ".parquet"), (".parquet", ".parquet")],
)
def test_the_answers_are_those_of_the_function_and_a_bad_row_stops_nothing(model, tmp_path, read, written):
    output = tmp_path / f"out{written}"
    source = Source(given(tmp_path / f"in{read}"), classify.VERB, {})
    counts = job.run(source, model, {}, output, part_rows=2)
    assert (counts.rows, counts.refused, counts.earliest) == (5, 1, "row 3: text: is empty: give a text")
    rows = table(output)
    assert [str(row["id"]) for row in rows] == ["10", "11", "12", "13", "14"]
    good = [text for text in TEXTS if text]
    expected = iter(classify.classify(model, [(text, None) for text in good]))
    for text, row in zip(TEXTS, rows, strict=True):
        if not text:
            assert row["error"] == "text: is empty: give a text" and row.get("label") is None
            continue
        result = next(expected)
        # What a spreadsheet would calculate has a mark in a CSV.
        assert row["label"] == result["label"].replace("=", "'=" if written == ".csv" else "=")
        assert float(row["confidence"]) == result["confidence"] and row.get("error") is None
        if written != ".jsonl" or "probability.bad" in row:
            assert float(row["probability.bad"]) == result["probabilities"]["bad"]
    assert not (tmp_path / f"{output.name}.parts").exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_killed_job_goes_on_at_the_last_whole_part_and_ends_with_the_same_bytes(model, tmp_path, suffix):
    texts = [f"w{i} " * (i % 7) for i in range(23)]  # four are empty
    path, asked = given(tmp_path / "in.csv", texts), []

    def ask(loaded, rows):
        asked.extend(row["text"] for row in rows)
        if stop and len(asked) > 11:
            raise KeyboardInterrupt
        return classify.VERB.ask(loaded, rows)

    source = Source(path, replace(classify.VERB, ask=ask), {})
    stop = False
    job.run(source, model, {"model": 1}, tmp_path / f"whole{suffix}", part_rows=4)
    asked.clear()
    stop, output = True, tmp_path / f"out{suffix}"
    with pytest.raises(KeyboardInterrupt):
        job.run(source, model, {"model": 1}, output, part_rows=4)
    assert not output.exists()
    # A part whose counts were not written yet is made again.
    folder = tmp_path / f"out{suffix}.parts"
    assert len(list(folder.glob(f"0*{suffix}"))) == 3
    (folder / "00002.json").unlink()
    with pytest.raises(UserError, match="was made with another model: remove it to begin again"):
        job.run(source, model, {"model": 2}, output, part_rows=4)
    stop = False
    asked.clear()
    counts = job.run(source, model, {"model": 1}, output, part_rows=4)
    assert asked == [text for text in texts[8:] if text.strip()]
    assert (counts.rows, counts.refused, counts.earliest) == (23, 4, "row 1: text: is empty: give a text")
    assert output.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


def test_two_jobs_do_not_write_the_same_parts(tmp_path):
    first = Parts(tmp_path / "out.csv", {}, {"id": pa.string()})
    with pytest.raises(UserError, match=r"out\.csv\.parts: another process is writing it"):
        Parts(tmp_path / "out.csv", {}, {"id": pa.string()})
    first.release()
    Parts(tmp_path / "out.csv", {}, {"id": pa.string()}).release()


@pytest.mark.parametrize(("read", "written"), [(".csv", ".csv"), (".parquet", ".parquet")])
def test_memory_does_not_grow_with_the_file(model, tmp_path, read, written):
    largest = 0

    def ask(loaded, rows):
        nonlocal largest
        largest = max(largest, len(rows))
        return [{"words": len(row["text"].split())} for row in rows]

    verb = Verb(
        "count", "", ("classification",), {"text": Field("")}, Settings, ask, {}, lambda _: {"words": pa.int64()}, dict
    )
    peaks = []
    for rows in (1_500, 4_500):
        path = given(tmp_path / f"{rows}{read}", [f"w{i} w2" for i in range(rows)])
        tracemalloc.start()
        job.run(Source(path, verb, {}), model, {}, tmp_path / f"out{written}", part_rows=500)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(table(tmp_path / f"out{written}")) == rows
    assert largest == 256 and peaks[1] < 1.3 * peaks[0]


def test_a_file_without_rows_gives_one_without_rows(model, tmp_path):
    (tmp_path / "in.csv").write_text("text\n")
    assert job.run(Source(tmp_path / "in.csv", classify.VERB, {}), model, {}, tmp_path / "out.csv").rows == 0
    assert (tmp_path / "out.csv").read_text().startswith('"id","label","confidence"')


def test_what_cannot_be_begun_is_said_in_a_line(model, tmp_path):
    source = Source(given(tmp_path / "in.csv"), classify.VERB, {})
    with pytest.raises(UserError, match=r"out\.xlsx: suffix '\.xlsx': is none of \.csv, \.parquet, \.jsonl"):
        job.run(source, model, {}, tmp_path / "out.xlsx")
    with pytest.raises(UserError, match="is --input"):
        job.run(source, model, {}, tmp_path / "in.csv")
    with pytest.raises(UserError, match="--model: is one for classification: distill.answer takes qa"):
        job.run(
            replace(source, verb=replace(classify.VERB, name="answer", tasks=("qa",))), model, {}, tmp_path / "o.csv"
        )
