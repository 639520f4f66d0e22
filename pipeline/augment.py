"""Stage augment: the training features and copies with words replaced by the generator. `python -m pipeline.augment`"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from distill.augmentation import masked_lm, word_replacement
from distill.data.loading.prepared import Prepared
from distill.models import acceleration
from distill.models.forward import default_device, freeze
from distill.runtime import checkpoints, json_text
from distill.runtime.files import tree_hash, write_text
from distill.runtime.progress import bar
from pipeline.launch.run import run_stage
from pipeline.stage import paths
from pipeline.stage.definition import define
from pipeline.stage.stage import Stage

# Rows whose copies are made and saved at a time.
_PART = 1000


def main() -> None:
    """features.arrow: the originals in their order, then the copies of the first, of the second …

    Part by part; a killed run resumes with the part that it was making.
    """
    params = paths.params()
    section = params.augment
    with Stage(define("augment"), params, tags={"seed": section.seed}) as stage:
        acceleration.use_threads(params.runtime)
        data = Prepared(paths.PREPARED)
        table = data.features("train").data.table
        stage.read(paths.PREPARED, f"{len(table):,} training features")
        model = freeze(masked_lm.load(paths.GENERATOR)).to(default_device())
        stage.read(paths.GENERATOR)
        augmenter = word_replacement.Augmenter(
            model,
            data.tokenizer(),
            section.probability,
            section.candidates,
            section.batch_size,
            section.precision,
            section.seed,
        )
        parts = stage.scratch / "parts"
        parts.mkdir(exist_ok=True)
        replaced = 0
        with bar(len(table), "augment", unit="row") as progress:
            for start in range(0, len(table), _PART):
                rows = table.slice(start, _PART)
                replaced += part(augmenter, rows, start, section.copies, parts / f"{start}.arrow")
                progress.update(len(rows))
        folder = stage.fresh("augmented")
        total = write(folder / "features.arrow", table, parts)
        meta = {
            "data": data.trained_on(),
            "generator": tree_hash(paths.GENERATOR / "model.safetensors"),
            "originals": len(table),
            "rows": total,
            "words_replaced": replaced,
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        checkpoints.seal(folder, checkpoints.CHECKSUMS)
        stage.publish(folder, paths.AUGMENTED)
        stage.figures({"originals": len(table), "copies": total - len(table), "words replaced": replaced})
        stage.record({"rows": total})


def part(augmenter: word_replacement.Augmenter, rows: pa.Table, start: int, count: int, path: Path) -> int:
    """Make the copies of some rows unless an earlier run has; returns the number of replaced words."""
    done = path.with_suffix(".json")
    if not done.exists():
        copies, replaced = augmenter.copies(rows, start, count)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, copies.schema) as stream:
            stream.write_table(copies)
        write_text(done, json.dumps({"replaced": replaced}))
    return json_text.parse(done.read_text(encoding="utf-8"))["replaced"]


def write(path: Path, originals: pa.Table, parts: Path) -> int:
    """Write one Arrow stream without metadata; returns the number of its rows."""
    schema = originals.schema.remove_metadata()

    def batches() -> Iterator[pa.RecordBatch]:
        yield from originals.to_batches(max_chunksize=_PART)
        for file in sorted(parts.glob("*.arrow"), key=lambda file: int(file.stem)):
            with pa.memory_map(str(file)) as source:
                yield from pa.ipc.open_stream(source)

    rows = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for batch in batches():
            stream.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            rows += len(batch)
    return rows


if __name__ == "__main__":
    run_stage(main)
