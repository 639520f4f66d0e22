"""Stage train_generator: the masked language model that changes words of training texts.

`python -m pipeline.train_generator`
"""

from __future__ import annotations

from distill.augmentation import masked_lm
from distill.data.loading import tokenizer as tokenizers
from distill.data.loading.prepared import Prepared
from distill.models import loading, windows
from distill.training import phases
from distill.training.run import Result, TrainingRun
from pipeline.launch.run import run_stage
from pipeline.stage import paths, training
from pipeline.stage.definition import define
from pipeline.stage.stage import Stage


def main() -> None:
    """Train the generator on the texts of the training split, or take the checkpoint as it is; publish it."""
    params, curves = paths.params(), paths.METRICS / "curves" / "generator.csv"
    tags = {"method": "masked_lm", "role": "generator", "seed": params.generator.seed}
    with Stage(define("train_generator"), params, tags=tags) as stage:
        data, section = Prepared(paths.PREPARED), params.generator
        tokenizer, spec = data.tokenizer(), section.model
        masked_lm.mask_id(tokenizer)
        if spec.path:
            tokenizers.check_same(spec.path, spec.revision, tokenizer, "generator.model.path")
        model = masked_lm.build(spec, tokenizer, section.seed, section.train)
        pad = tokenizer.pad_token_id
        for remark in windows.check(model, masked_lm.MaskedLM(), data, pad, section.precision, "generator"):
            stage.say("note", remark)
        result = Result.nothing()
        if section.train:
            stage.read(paths.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
            run = TrainingRun(
                objective=masked_lm.MaskedLanguageModelling(model, tokenizer, section.mask_probability),
                features=data.features(data.main_split),
                pad_token_id=tokenizer.pad_token_id,
                labels=(),
                settings=section,
                runtime=params.runtime,
                seed=section.seed,
                folder=stage.scratch,
                label="train the generator",
                on_log=stage.run.log,
            )
            result = phases.train(run)
        else:
            stage.say("taken", f"{spec.path} as it is (generator.train is false)")
        folder = stage.fresh("model")
        loading.save(model, tokenizer, folder)
        training.finish(stage, result, folder, paths.GENERATOR, curves)
        losses = [entry["loss"] for entry in result.history if "loss" in entry]
        stage.figures(
            {"updates": result.steps, **({"first loss": losses[0], "last loss": losses[-1]} if losses else {})}
        )


if __name__ == "__main__":
    run_stage(main)
