"""Stage predict_teacher: the teacher's logits over the training features, once for all. `python -m pipeline.predict`"""

from __future__ import annotations

from distill import checkpoints, config, models, prediction
from pipeline import common
from pipeline.inputs import open_data
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
        data, task = open_data(params)
        checkpoints.load_check(common.model("teacher"))
        model = models.from_pretrained(str(common.model("teacher")), task)
        stage.read(common.model("teacher"))
        weights = common.model("teacher") / "model.safetensors"
        written = prediction.write_logits(stage.scratch / "logits", model, weights, data, task, section, "predict")
        stage.publish(stage.scratch / "logits", common.PREDICTIONS)
        speed = written.rows_per_second
        stage.figures({"rows": written.rows, "entries": written.entries, "rows per second": speed})
        stage.record({"examples_per_second": round(speed, 2)})


if __name__ == "__main__":
    run_stage(main)
