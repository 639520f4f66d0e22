"""Stage corpus: write the embedded corpus as SQuAD JSON. `python -m pipeline.corpus`"""

from __future__ import annotations

from distill import config
from distill.data import atlas
from pipeline import common
from pipeline.stage import Stage, run_stage


def main() -> None:
    """Generate, write, report."""
    params = common.params()
    with Stage("corpus", params=config.pick(params, ["atlas"]), outputs=[common.CORPUS]) as stage:
        corpus = atlas.generate(**params.atlas.model_dump())
        folder = stage.fresh("corpus")
        atlas.write(corpus, folder)
        stage.publish(folder, common.CORPUS)
        for split, squad in corpus.items():
            questions = [qa for article in squad["data"] for p in article["paragraphs"] for qa in p["qas"]]
            answerable = sum(not qa["is_impossible"] for qa in questions)
            stage.figures(
                {split: {"articles": len(squad["data"]), "questions": len(questions), "answerable": answerable}}
            )


if __name__ == "__main__":
    run_stage(main)
