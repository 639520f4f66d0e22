"""Trims a student's vocabulary to the tokens of its training data, and scores it again.

    python -m pipeline.commands.trim_vocabulary kd 1     # data/models/distill/kd/1 to data/trimmed/kd/1

On texts whose tokens all stay the logits are the same. Other texts are cut into smaller pieces: the scores of both on
the validation split stand side by side.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from distill.analysis import model_cost
from distill.config.params import Params
from distill.data.kinds.registry import KINDS
from distill.data.loading.prepared import Prepared
from distill.export import vocabulary
from distill.models import loading
from distill.models.forward import default_device, freeze
from distill.models.predict import forward_of, predict_split
from distill.runtime import checkpoints
from distill.runtime.files import publish
from distill.tasks.base import Task
from pipeline.process import command
from pipeline.process.records import to_json
from pipeline.stage import paths
from pipeline.stage.inputs import open_data

FOLDER = Path("data/trimmed")
#: Fields of meta.json that are of the tokens, and not of the rows.
_OF_TOKENS = ("splits", "tokenizer", "readers", "max_length", "doc_stride", "overlap")
_TEXTS = 200


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (2: something that the user can mend)."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.trim_vocabulary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", help="name from `methods`")
    parser.add_argument("seed")
    options = parser.parse_args(argv)
    params = paths.params()
    name, seed = paths.run_of(options.method, options.seed, params)
    target = FOLDER / name / str(seed)
    found = trim(paths.distilled(name, seed), target, params)
    print(to_json(found), end="")
    print(f"{target}: {found['tokens']:,} of {found['tokens_before']:,} tokens")
    return 0


def trim(source: Path, target: Path, params: Params) -> dict[str, Any]:
    """Trim a student and measure it.

    Args:
        source: folder of the student.
        target: folder of the trimmed one, a plain transformers checkpoint; replaced where it exists.

    Returns:
        tokens and checkpoint_mb, each with `_before`; covered: share of the validation rows (of questions: windows)
        whose tokens all stay, 0 to 1; latency_ms; scores and scores_before, by name.

    Raises:
        UserError: there is no such student, or its vocabulary cannot be trimmed.
    """
    data, task = open_data(params, reported=True)
    checkpoints.load_check(source)
    model = freeze(loading.from_pretrained(str(source), task))
    tokenizer = data.tokenizer()
    stay = vocabulary.staying(tokenizer, vocabulary.used(data))
    with TemporaryDirectory(dir=_made(target.parent)) as scratch:
        draft = Path(scratch) / "model"
        smaller = vocabulary.trim_tokenizer(tokenizer, stay, draft, _texts(data, params))
        trimmed = freeze(vocabulary.trim_model(model, task, stay))
        loading.save(trimmed, smaller, draft)
        rows = rewritten(data, smaller, params, Path(scratch) / "prepared")
        features, pad = rows.features("validation"), smaller.pad_token_id
        device = default_device()
        scores = _score(trimmed.to(device), rows, task, params, "trimmed")
        before = _score(model.to(device), data, task, params, "whole")
        single = params.cost.model_copy(update={"batch_sizes": [1]})
        speed = model_cost.speeds({"trimmed": trimmed}, task, features, pad, single)["trimmed"]
        publish(draft, target)
    return {
        "tokens": len(stay),
        "tokens_before": len(tokenizer),
        "checkpoint_mb": round(paths.weights(target).stat().st_size / 1e6, 3),
        "checkpoint_mb_before": round(paths.weights(source).stat().st_size / 1e6, 3),
        "covered": round(covered(data, stay), 4),
        "latency_ms": round(speed.latency_ms, 4),
        "scores": scores,
        "scores_before": before,
    }


def rewritten(data: Prepared, tokenizer: PreTrainedTokenizerFast, params: Params, folder: Path) -> Prepared:
    """The validation split in the tokens of another tokenizer, written to a folder."""
    parts = {"train": [], "validation": data.examples("validation").to_list()}
    if params.task == "multi_label":  # its writer warns of classes without a training row
        parts["train"] = data.examples("train").to_list()
    meta = {name: value for name, value in data.meta.items() if name not in _OF_TOKENS}
    KINDS[params.task].write(folder, parts, tokenizer, params, meta, lambda split, count: None, {})
    return Prepared(folder)


def covered(data: Prepared, stay: np.ndarray) -> float:
    """The share of the validation rows whose tokens all stay."""
    column = data.features("validation").data.column("input_ids")
    kept = [np.isin(row, stay).all() for chunk in column.chunks for row in chunk.to_numpy(zero_copy_only=False)]
    return float(np.mean(kept))


def _texts(data: Prepared, params: Params) -> Iterator[str]:
    """Some training texts."""
    examples = data.examples(data.main_split)
    for row in islice(examples, _TEXTS):
        yield from (row[name] for name in KINDS[params.task].texts if row.get(name))


def _score(model: Any, data: Prepared, task: Task, params: Params, label: str) -> dict[str, float]:
    size, precision = params.evaluate.batch_size, params.evaluate.precision
    forward = forward_of(model, task)
    predicted = predict_split(forward, data, "validation", size, model.device, precision, label, task.per_token)
    return task.score(predicted, params.evaluate)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(command.run(main))
