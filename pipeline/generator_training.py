"""What stage train_generator does where a method needs it: a masked language model of the training texts."""

from __future__ import annotations

from pathlib import Path

from distill.augmentation import masked_lm
from distill.config.values import pick
from distill.data.loading import tokenizer as tokenizers
from distill.data.loading.prepared import Prepared
from distill.models import loading
from distill.training import phases
from distill.training.trainer import Result
from pipeline.stage import artifacts, paths, training
from pipeline.stage.stage import Stage, record_file


def train(name: str, curves: Path) -> None:
    """Train the generator on the texts of the training split, or take the checkpoint as it is; publish it.

    Args:
        name: of the stage.
        curves: where the curves go.
    """
    params = paths.params()
    with Stage(
        name,
        params=pick(params, ["generator"]),
        inputs=[artifacts.file("generator"), paths.PREPARED],
        outputs=[paths.GENERATOR, curves, record_file(name)],
        experiment=params.tracking.experiment,
        tags={"method": "masked_lm", "role": "generator", "seed": params.generator.seed},
    ) as stage:
        data, section = Prepared(paths.PREPARED), params.generator
        tokenizer, spec = data.tokenizer(), section.model
        masked_lm.mask_id(tokenizer)
        if spec.path:
            tokenizers.check_same(spec.path, spec.revision, tokenizer, "generator.model.path")
        model = masked_lm.build(spec, tokenizer, section.seed, section.train)
        longest = max(split["tokens_max"] for split in data.meta["splits"].values())
        loading.check_window(model, masked_lm.MaskedLM(), longest, tokenizer.cls_token_id, "generator")
        result = Result([], {}, 0, 0.0, 0.0, 0, 0.0)
        if section.train:
            stage.read(paths.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
            result = phases.train(
                masked_lm.MaskedLanguageModelling(model, tokenizer, section.mask_probability),
                data.features("train"),
                tokenizer.pad_token_id,
                (),
                section,
                params.runtime,
                section.seed,
                stage.scratch,
                "train the generator",
                on_log=stage.run.log,
            )
        else:
            stage.say("taken", f"{spec.path} as it is (generator.train is false)")
        folder = stage.fresh("model")
        loading.save(model, tokenizer, folder)
        training.finish(stage, result, folder, paths.GENERATOR, curves)
        losses = [entry["loss"] for entry in result.history if "loss" in entry]
        stage.figures(
            {"updates": result.steps, **({"first loss": losses[0], "last loss": losses[-1]} if losses else {})}
        )
