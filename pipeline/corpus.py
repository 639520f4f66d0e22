"""Stage corpus: write the embedded corpus as SQuAD JSON and its siblings as TSV. `python -m pipeline.corpus`

What an annotator says of the sentences lies beside them: a teacher of stored predictions (preset embedded-predictions).
"""

from __future__ import annotations

from distill.data.synthetic import (
    annotator,
    atlas,
    atlas_entities,
    atlas_passages,
    atlas_texts,
    atlas_topics,
    json_rows,
)
from pipeline.launch.run import run_stage
from pipeline.stage import paths
from pipeline.stage.definition import define
from pipeline.stage.stage import Stage


def main() -> None:
    """Generate, write, report."""
    params = paths.params()
    with Stage(define("corpus"), params, tracked=False) as stage:
        sizes = params.atlas.model_dump()
        texts = {name: sizes.pop(name) for name in ("text_train", "text_validation")}
        corpus = atlas.generate(**sizes)
        siblings = atlas_texts.generate(**texts, seed=sizes["seed"], held_out=sizes["held_out"])
        topics = atlas_topics.generate(**texts, seed=sizes["seed"])
        entities = atlas_entities.generate(**texts, seed=sizes["seed"])
        passages = atlas_passages.generate(**texts, seed=sizes["seed"], held_out=sizes["held_out"])
        folder = stage.fresh("corpus")
        atlas.write(corpus, folder)
        atlas_texts.write(siblings, folder)
        json_rows.write(topics, folder, "topics")
        json_rows.write(entities, folder, "entities")
        json_rows.write(passages, folder, "passages")
        annotator.write(siblings["sentences"], sizes["seed"], folder)
        stage.publish(folder, paths.CORPUS)
        for split, squad in corpus.items():
            questions = [qa for article in squad["data"] for p in article["paragraphs"] for qa in p["qas"]]
            answerable = sum(not qa["is_impossible"] for qa in questions)
            stage.figures(
                {split: {"articles": len(squad["data"]), "questions": len(questions), "answerable": answerable}}
            )
        for split, rows in topics.items():
            none = sum(not row["labels"] for row in rows)
            stage.say("topics", f"{split}: {len(rows):,} paragraphs, {none:,} of no topic")
        for split, tagged in entities.items():
            stage.say(
                "entities", f"{split}: {sum(len(text['entities']) for text in tagged):,} in {len(tagged):,} texts"
            )
        for split, groups in passages.items():
            stage.say("passages", f"{split}: {len(groups):,} queries of {atlas_passages.PASSAGES} passages")
        for split in corpus:
            sizes = ", ".join(f"{len(rows[split]):,} {name}" for name, rows in siblings.items())
            stage.say("texts", f"{split}: {sizes}")


if __name__ == "__main__":
    run_stage(main)
