"""Measures a command over files (`distill.classify --input`), on this machine: peak memory and rows per second by rows.

    python -m benchmarks.file_memory data/export/kd/1 --rows 10000 1000000 --format parquet

Each number of rows is a file of its own, of random words of the model's vocabulary, which a process of its own answers.
Memory is the resident set of that process, Arrow's memory too, looked at every 20 ms; its largest value is told. The
output's rows are counted.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from distill.errors import UserError
from distill.inference import verbs
from pipeline.process import command

_PART = 10_000  # rows that are written at once


class Measured(NamedTuple):
    """What answering a file took.

    Attributes:
        rows: of the input and of the output.
        megabytes: peak of the resident set, 10^6 bytes.
        seconds: of the whole process, its start too.
    """

    rows: int
    megabytes: float
    seconds: float


def write(path: Path, rows: int, words: Sequence[str], length: int) -> None:
    """A Parquet or CSV file with column `text`: so many random words in each row."""
    draw, schema = random.Random(0), pa.schema({"text": pa.string()})

    def batches() -> Iterator[pa.RecordBatch]:
        for begin in range(0, rows, _PART):
            texts = [" ".join(draw.choices(words, k=length)) for _ in range(min(_PART, rows - begin))]
            yield pa.record_batch([texts], schema=schema)

    kind = pyarrow.parquet.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
    with kind(path, schema) as writer:
        for batch in batches():
            writer.write_batch(batch)


def measure(verb: str, model: str, source: Path, target: Path) -> Measured:
    """Answer a file by `distill.<verb>`.

    Raises:
        UserError: the command failed.
    """
    begin, peak = time.monotonic(), 0
    words = [sys.executable, "-m", f"distill.{verb}", "--model", model, "--input", str(source), "--output", str(target)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    watched, told = psutil.Process(process.pid), []
    reader = threading.Thread(target=lambda: told.append(process.stderr.read()))
    reader.start()
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.Error:  # it has just ended
            break
        time.sleep(0.02)
    code = process.wait()
    reader.join()
    if code:
        raise UserError(f"distill.{verb} ended with {code}: {told[0].strip()[-500:]}")
    rows = pyarrow.parquet.read_metadata(target).num_rows
    return Measured(rows, peak / 1e6, time.monotonic() - begin)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each number of rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.file_memory", description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="an exported folder, or a checkpoint, for single texts")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--words", type=int, default=12, help="in a row")
    parser.add_argument("--format", choices=["parquet", "csv"], default="parquet", help="of the input")
    options = parser.parse_args(argv)
    model = verbs.load_model(options.model)
    (verb, *_) = verbs.of_task(model.settings.task)
    vocabulary = sorted(word for word in model.tokenizer.get_vocab() if word.isalnum())
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            source, target = Path(folder) / f"in.{options.format}", Path(folder) / f"out-{rows}.parquet"
            write(source, rows, vocabulary, options.words)
            found = measure(verb.name, options.model, source, target)
            print(
                f"{found.rows:,} rows: peak {found.megabytes:,.0f} MB, {found.seconds:,.1f} s,"
                f" {found.rows / found.seconds:,.0f} rows/s",
                flush=True,
            )
            target.unlink()
    return command.DONE


if __name__ == "__main__":
    sys.exit(command.run(main))
