"""Stage train_generator: a masked language model that changes words of texts. `python -m pipeline.generator`"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline import common, needs
from pipeline.stage import Stage, record_file, run_stage

if TYPE_CHECKING:
    from distill.config import Params

NAME = "train_generator"
CURVES = common.METRICS / "curves" / "generator.csv"


def main() -> None:
    """Nothing but a note where no listed method needs a generator."""
    if not needs.needed("generator"):
        needs.leave_empty(NAME, "generator", common.GENERATOR, [CURVES])
        return
    # Imported before the stage begins, whose scratch belongs to the code that is loaded.
    from distill import config, generators, models, phases, trainer  # noqa: F401
    from distill.data import prepared, tokenizer  # noqa: F401
    from pipeline import training  # noqa: F401

    params = common.params()
    with Stage(
        NAME,
        params=config.pick(params, ["generator"]),
        inputs=[needs.file("generator"), common.PREPARED],
        outputs=[common.GENERATOR, CURVES, record_file(NAME)],
        experiment=params.tracking.experiment,
        tags={"method": "masked_lm", "role": "generator", "seed": params.generator.seed},
    ) as stage:
        build(stage, params)


def build(stage: Stage, params: Params) -> None:
    """Train the generator on the texts of the training split, or take the checkpoint as it is; publish it."""
    from distill import generators, models, phases
    from distill.data import tokenizer as tokenizers
    from distill.data.prepared import Prepared
    from distill.trainer import Result
    from pipeline import training

    data, section = Prepared(common.PREPARED), params.generator
    tokenizer, spec = data.tokenizer(), section.model
    generators.mask_id(tokenizer)
    if spec.path:
        tokenizers.check_same(spec.path, spec.revision, tokenizer, "generator.model.path")
    model = generators.build(spec, tokenizer, section.seed, section.train)
    longest = max(split["tokens_max"] for split in data.meta["splits"].values())
    models.check_window(model, generators.MaskedLM(), longest, tokenizer.cls_token_id, "generator")
    result = Result([], {}, 0, 0.0, 0.0, 0, 0.0)
    if section.train:
        stage.read(common.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
        result = phases.train(
            generators.MaskedLanguageModelling(model, tokenizer, section.mask_probability),
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
    models.save(model, tokenizer, folder)
    training.finish(stage, result, folder, common.GENERATOR, CURVES)
    losses = [entry["loss"] for entry in result.history if "loss" in entry]
    stage.figures({"updates": result.steps, **({"first loss": losses[0], "last loss": losses[-1]} if losses else {})})


if __name__ == "__main__":
    run_stage(main)
