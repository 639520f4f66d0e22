"""Stage retrieve: neighbours of the training texts, and the teacher's logits for them. `python -m pipeline.retrieve`"""

from __future__ import annotations

import itertools
from pathlib import Path

import datasets
import numpy as np

from distill.augmentation import retrieval
from distill.config.data import NO_FILE
from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.models import loading
from distill.runtime import checkpoints
from distill.runtime.progress import bar
from distill.signals import writer
from distill.signals.cache import complete
from pipeline.launch.run import run_stage
from pipeline.stage import paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage


def main() -> None:
    """Look for neighbours, then ask the teacher batch by batch; resumes where a killed run ended.

    Memory is constant except for the texts.
    """
    params = paths.params()
    with Stage(define("retrieve"), params, tags={"role": "teacher"}) as stage:
        data, task = open_data(params, reported=True)
        checkpoints.load_check(paths.model("teacher"))
        model = loading.from_pretrained(str(paths.model("teacher")), task)
        stage.read(paths.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
        folder = stage.scratch / "candidates"
        if not checkpoints.is_complete(folder):
            search(stage, data, params, stage.fresh("candidates"))
            checkpoints.seal(folder, checkpoints.CHECKSUMS)  # the logits have hashes of their own
            checkpoints.seal(folder)
        features = datasets.Dataset.from_file(str(folder / "features.arrow"))
        stage.read(paths.model("teacher"))
        written = writer.write(
            folder / "logits",
            model,
            paths.WEIGHTS,
            data,
            task,
            params.predict,
            params.runtime,
            "retrieve",
            features,
        )
        complete(folder / "logits")
        (folder / checkpoints.MANIFEST).unlink()
        stage.publish(folder, paths.CANDIDATES)
        stage.figures({"candidates": written.rows, "rows per second": written.rows_per_second})
        stage.record({"examples_per_second": round(written.rows_per_second, 2)})


def search(stage: Stage, data: Prepared, params: Params, folder: Path) -> None:
    """Write features.arrow and neighbours.npy.

    The pool is the training texts (of the transfer set only where there are no labelled ones), or a file's, without the
    texts of the scored splits: no text that scores are chosen or reported on is retrieved. The rows of a transfer set
    have neighbours in it too.
    """
    section, tokenizer = params.retrieve, data.tokenizer()
    taught = [split for split in data.taught_splits if len(data.features(split))]
    queries = [retrieval.texts(data.examples(split)) for split in taught]
    from_training = section.pool == NO_FILE
    if from_training:
        texts = retrieval.unique(queries[0])
    else:
        texts = retrieval.read_pool(Path(section.pool), queries[0][0][1] is not None, bool(data.meta.get("strip_html")))
    scored = data.scored_splits
    pool = retrieval.without(texts, (text for split in scored for text in retrieval.texts(data.examples(split))))
    left_out = f"; {len(texts) - len(pool):,} of {' or '.join(scored)} left out" if len(pool) < len(texts) else ""
    stage.say("pool", f"{len(pool):,} different {'training ' if from_training else ''}texts{left_out}")
    with bar(sum(len(retrieval.unique(texts)) for texts in queries), "neighbours", unit="text") as progress:
        nearest = [retrieval.neighbours(texts, pool, section.candidates, progress.update) for texts in queries]
    parts = [(data.features(split), near) for split, near in zip(taught, nearest, strict=True)]
    if params.task == "qa":
        swap = retrieval.QuestionSwap(tokenizer, data.meta["max_length"], data.meta["doc_stride"] + 1)
        batches = itertools.chain.from_iterable(swap.candidates(features, pool, near) for features, near in parts)
        rows = retrieval.write(folder / "features.arrow", retrieval.schema(tokenizer), batches)
        neighbours = np.arange(rows, dtype=np.int32).reshape(-1, section.candidates)
    else:
        batches = retrieval.text_candidates(pool, tokenizer, data.meta["max_length"])
        retrieval.write(folder / "features.arrow", retrieval.schema(tokenizer), batches)
        neighbours = np.concatenate(
            [near[features.data.column("example_index").to_numpy()] for features, near in parts]
        )
    np.save(folder / "neighbours.npy", neighbours)


if __name__ == "__main__":
    run_stage(main)
