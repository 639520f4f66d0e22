"""Stage prepare: read and check the data, carve out the selection split, tokenize. `python -m pipeline.prepare`"""

from __future__ import annotations

from pathlib import Path

from distill import config
from distill.data import preparation, sources, splits
from distill.data import tokenizer as tokenizers
from distill.errors import UserError
from distill.progress import bar
from pipeline import common
from pipeline.stage import Stage, run_stage


def main() -> None:
    """Everything is loaded and checked before anything is written."""
    params = common.params()
    data, features = params.data, params.features
    local = data.source != "hub"
    files = [Path(data.train), Path(data.validation)] if local else []
    if data.source == "embedded":
        files = [common.CORPUS / "train.json", common.CORPUS / "validation.json"]
    for field in ("train", "validation") if data.source == "files" else ():
        if not Path(getattr(data, field)).is_file():
            raise UserError(f"params.yaml: data.{field}: {getattr(data, field)}: no such file: name a SQuAD JSON file")
    with Stage(
        "prepare",
        params=config.pick(params, ["task", "data", "features"]),
        inputs=files,
        outputs=[common.PREPARED],
    ) as stage:
        train, validation = files if local else (Path(data.train), Path(data.validation))
        loaded = sources.load(
            data.source,
            str(train),
            str(validation),
            data.name,
            data.subset,
            data.revision,
            data.version_2_with_negative,
        )
        for split, rows in loaded.items():
            stage.read(data.name or (train if split == "train" else validation), f"{split}: {len(rows):,} questions")
        kept = loaded["train"]
        if data.max_train_context:
            kept = [row for row in kept if len(row["context"]) <= data.max_train_context]
            stage.say(
                "kept", f"{len(kept):,} training questions on paragraphs of {data.max_train_context} characters at most"
            )
        rows, selection = splits.carve(kept, data.selection_fraction, data.seed)
        parts = {
            "train": sources.limit(rows, data.max_train_questions, data.seed),
            "selection": sources.limit(selection, data.max_selection_questions, data.seed),
            "validation": sources.limit(loaded["validation"], data.max_validation_questions, data.seed),
        }
        if features.tokenizer.path:
            tokenizer = tokenizers.load(features.tokenizer.path, features.tokenizer.revision)
            # Each stage checks its own model again; here it costs nothing yet.
            for role in ("teacher", "student"):
                model = getattr(params, role).model
                if model.path:
                    tokenizers.check_same(model.path, model.revision, tokenizer, f"{role}.model.path")
        else:
            texts = dict.fromkeys(text for row in parts["train"] for text in (row["context"], row["question"]))
            tokenizer = tokenizers.train(texts, features.tokenizer.vocab_size, features.tokenizer.lowercase)
        try:
            with bar(sum(map(len, parts.values())), "tokenize", unit="question") as progress:
                meta = preparation.write(
                    stage.scratch / "prepared",
                    parts,
                    tokenizer,
                    features.max_length,
                    features.doc_stride,
                    {"task": params.task, "version_2": data.version_2_with_negative},
                    on_batch=lambda split, count: progress.update(count),
                )
        except UserError as error:  # of one question, by the name of its split
            source = data.name or (validation if str(error).startswith("validation") else train)
            raise UserError(f"{source}: {error}") from error
        stage.publish(stage.scratch / "prepared", common.PREPARED)
        shown = ("questions", "answerable", "articles", "features", "answers_in_no_window", "tokens_mean", "tokens_max")
        stage.figures({name: {key: counts[key] for key in shown} for name, counts in meta["splits"].items()})


if __name__ == "__main__":
    run_stage(main)
