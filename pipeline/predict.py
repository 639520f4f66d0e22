"""Stage predict_teacher: the teacher's logits over the training features, once for all. `python -m pipeline.predict`"""

from __future__ import annotations

import time

from distill import checkpoints, config, models, registry
from distill.cache import LogitWriter
from distill.data.prepared import Prepared
from distill.evaluation import forward_of, predict
from pipeline import common
from pipeline.stage import Stage, record_file, run_stage


def main() -> None:
    """Batch by batch, in constant memory; goes on where a killed run had come to."""
    params = common.params()
    name, section = "predict_teacher", params.predict
    with Stage(
        name,
        params=config.pick(params, ["task", "predict"]),
        inputs=[common.PREPARED, common.model("teacher")],
        outputs=[common.PREDICTIONS, record_file(name)],
        experiment=params.tracking.experiment,
        tags={"role": "teacher"},
    ) as stage:
        data, task = Prepared(common.PREPARED), registry.load_task(params.task)
        checkpoints.load_check(common.model("teacher"))
        model = models.freeze(models.from_pretrained(str(common.model("teacher")), task)).to(models.device())
        features, rows = data.features("train"), data.ragged("train")
        stage.read(common.model("teacher"))
        writer = LogitWriter(stage.scratch / "logits", rows.offsets, 2)
        began, marked, first = time.monotonic(), time.monotonic(), writer.done
        batches = predict(
            forward_of(model, task),
            features,
            data.tokenizer().pad_token_id,
            section.batch_size,
            models.device(),
            section.precision,
            "predict",
            start=writer.done,
        )
        for done, indices, logits in batches:
            writer.write(indices, logits)
            if time.monotonic() - marked > 10:
                writer.mark(done)
                marked = time.monotonic()
        seconds = time.monotonic() - began
        left = len(rows.lengths) - first * section.batch_size
        writer.finish(
            {
                "task": task.name,
                "data": checkpoints.tree_hash(common.PREPARED / "train" / "features.arrow"),
                "tokenizer": data.meta["tokenizer"]["fingerprint"],
                "teacher": checkpoints.tree_hash(common.model("teacher") / "model.safetensors"),
                "rows": len(rows.lengths),
                "tokens": int(rows.offsets[-1]),
                "dtype": "float32",
            }
        )
        stage.publish(stage.scratch / "logits", common.PREDICTIONS)
        speed = left / seconds if seconds else 0.0
        stage.figures({"rows": len(rows.lengths), "tokens": int(rows.offsets[-1]), "rows per second": speed})
        stage.record({"examples_per_second": round(speed, 2)})


if __name__ == "__main__":
    run_stage(main)
