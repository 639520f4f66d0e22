"""What the training stages share: scores on the selection split, and how a finished training is handed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from distill.config.params import Params
from distill.config.schema import Training
from distill.data.loading.prepared import Prepared
from distill.models.predict import forward_of, predict_split
from distill.runtime import distributed
from distill.tasks.base import Predicted, Task
from distill.training import phases, trainer
from pipeline.process.hashes import dvc_md5
from pipeline.stage.stage import Stage

Forward = Callable[[dict[str, Tensor]], Tensor]


def run(
    stage: Stage,
    objective: nn.Module,
    data: Prepared,
    task: Task,
    section: Training,
    params: Params,
    seed: int,
    label: str,
    forward: Forward,
    score: Callable[[Predicted], dict[str, float]],
    features: Any = None,
    folder: Path | None = None,
    offset: int = 0,
) -> trainer.Result:
    """Train in the stage's scratch, with live curves and selection scores.

    Args:
        forward: batch → logits of the weights as they are.
        score: scores of the logits on the selection split.
        features: what to train on; None: the features of the training split.
        folder: of the checkpoints, in a stage with several trainings; None: the scratch itself.
        offset: updates of the trainings before this one in the stage, for its live curves.
    """

    def log(values: dict[str, float], step: int) -> None:
        stage.run.log(values, step + offset)

    def evaluate() -> dict[str, float]:
        device = next(objective.parameters()).device
        size = 2 * distributed.share_of(section.batch_size, section.gradient_accumulation)
        return score(
            predict_split(forward, data, "selection", size, device, section.precision, "selection", task.per_token)
        )

    return phases.train(
        objective,
        data.features("train") if features is None else features,
        data.tokenizer().pad_token_id,
        task.labels,
        section,
        params.runtime,
        seed,
        folder or stage.scratch,
        label,
        task.main_metric,
        evaluate,
        log,
    )


def run_model(
    stage: Stage,
    objective: nn.Module,
    model: PreTrainedModel,
    data: Prepared,
    task: Task,
    section: Training,
    params: Params,
    seed: int,
    label: str,
    **options: Any,
) -> trainer.Result:
    """`run` for an objective around `model`, which is scored by the task; `options` as of `run`."""

    def score(predicted: Predicted) -> dict[str, float]:
        return task.score(predicted, params.evaluate)

    forward = forward_of(model, task)
    return run(stage, objective, data, task, section, params, seed, label, forward, score, **options)


def finish(
    stage: Stage, result: trainer.Result, built: Path, artifact: Path, curves: Path, updates: int | None = None
) -> None:
    """Publish the artifact and its curves, link them in the run, note what it cost.

    Args:
        built: the finished folder in the scratch.
        artifact: where it goes.
        updates: of the model, where the trainer made further steps for something else; None: all were the model's.
    """
    stage.publish(built, artifact)
    draft = stage.scratch / "curves.csv"
    trainer.write_curves(result.history, draft)
    stage.publish(draft, curves)
    stage.run.log_final({f"selection_{name}": value for name, value in result.scores.items()})
    stage.run.tag("artifact.path", artifact.as_posix())
    stage.run.tag("artifact.md5", dvc_md5(artifact))
    stage.figures({"padded tokens": f"{result.padding:.1%}"})
    stage.record(
        {
            "updates": result.steps if updates is None else updates,
            "trainer_steps": result.steps,
            "resumed_from": result.resumed_from,
            "train_seconds": round(result.seconds, 2),
            "examples_per_second": round(result.examples_per_second, 2),
            "padding": round(result.padding, 4),
        }
    )
