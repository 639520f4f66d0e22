"""Stages predict_member: a member's outputs, once for all. `python -m pipeline predict_member second`

Those for students to learn from, and those over the splits that are scored; both are in data/members/<name>, for the
student's features.
"""

from __future__ import annotations

from distill.config import model_tokenizers
from distill.models.forward import default_device, freeze
from distill.signals import ensemble, other_tokens
from distill.signals.cache import complete
from pipeline import predict
from pipeline.launch.run import run_stage
from pipeline.stage import outputs, paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.scoring import of_split
from pipeline.stage.stage import Stage


def main(name: str) -> None:
    """As stage predict_teacher, without hidden states: nothing reads those of a member."""
    params = paths.params()
    reader = model_tokenizers.reader_of(params, paths.member_of(name, params))
    params = params.as_member(name)
    with Stage(define("predict_member", name), params, tags={"role": "teacher", "member": name}) as stage:
        data, task = open_data(params, reported=True)
        if params.teacher.source == "model":
            folder = paths.member(name)
            model = predict.read_model(stage, folder, task)
            written = predict.write_logits(stage, params, data, task, model, paths.weights(folder), reader)
            predict.report(stage, written, {})
            logits, own = stage.scratch / "logits", data.read_by(reader)
            model = freeze(model).to(default_device())
            splits = {split: of_split(model, own, task, params, split) for split in data.scored_splits}
            if own is not data:
                splits = {split: other_tokens.predicted(said, data, split) for split, said in splits.items()}
        else:
            stage.alone()
            logits = stage.fresh("logits")
            stored, _ = predict.from_files(stage, params, data, task, logits)
            splits = {split: stored.predicted(split) for split in data.scored_splits} if not stored.uncovered() else {}
            if not splits:
                stage.say("unscored", "its outputs lack rows of the splits that are scored")
        built = stage.fresh("member")
        complete(logits).rename(built / outputs.LOGITS)
        ensemble.save_scored(built / outputs.SCORED, splits)
        stage.publish(built, paths.MEMBERS / name)


if __name__ == "__main__":
    run_stage(main)
