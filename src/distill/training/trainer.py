"""The one trainer: fine-tuning, filters and every distillation method run through it.

transformers.Trainer owns the loop, mixed precision, accumulation, distribution and resuming. Added in
`distill.training.hf_trainer`: loss terms by name, an order of batches that depends on seed and epoch alone, a stop at
the first loss that is not finite. Added here: checkpoints that are only trusted when complete, and evaluations on the
selection split.
"""

from __future__ import annotations

import csv
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback, TrainingArguments, set_seed

from distill.config.schema import Runtime, Training
from distill.data.loading.batches import Collator, EpochSampler, Rows, padding
from distill.errors import UserError
from distill.models import acceleration
from distill.runtime import allocator, checkpoints, distributed
from distill.runtime.files import publish
from distill.runtime.progress import bar
from distill.training.hf_trainer import ObjectiveTrainer, Progress

__all__ = ["Progress", "Result", "train", "write_curves"]

# Checkpoints then go by number, which is what is wanted anyway.
logging.getLogger("transformers.trainer_utils").addFilter(lambda record: "mtime may not" not in record.getMessage())

# Columns of the log that depend on time or machine; everything else is reproducible.
NOT_REPRODUCIBLE = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"}


@dataclass
class Result:
    """What a training left behind.

    Attributes:
        history: one row per log entry: step, loss, terms, learning_rate, grad_norm, and selection scores.
        scores: the selection scores of the weights that were kept, empty without evaluations.
        steps: number of updates.
        seconds: wall time of this process's part (a resumed run counts from the resume).
        examples_per_second: over the same part.
        resumed_from: the step that training went on from, 0 for a fresh start.
        padding: share of padded positions in the batches of the first epoch, 0 to 1; as one process
            pads them.
    """

    history: list[dict[str, float]]
    scores: dict[str, float]
    steps: int
    seconds: float
    examples_per_second: float
    resumed_from: int
    padding: float


class _Hooks(TrainerCallback):
    """Progress bar, sealed checkpoints, selection scores, live tracking."""

    def __init__(self, plan: _Plan):
        self.plan = plan
        self.trainer: ObjectiveTrainer | None = None
        self.bar = None
        self.best: float | None = None

    def on_train_begin(self, args, state, control, **_):
        self.bar = bar(state.max_steps, self.plan.label, initial=state.global_step, shown=distributed.is_first())
        self.evaluate_at = self.plan.evaluation_steps(state.max_steps)

    def on_step_end(self, args, state, control, **_):
        self.bar.update()
        if state.global_step in self.evaluate_at:
            check_weights(self.trainer.model, state.global_step)
            scores = distributed.from_first(self.plan.evaluate)
            # Everything that evaluating did must leave training as it was; logging clears the flag.
            self.trainer.model.train()
            due = control.should_log
            self.trainer.log({f"selection_{name}": value for name, value in scores.items()})
            control.should_log = due
            self._keep(scores)
        if state.global_step == state.max_steps:
            control.should_save = False  # the caller writes the result at once; nothing resumes from the end

    def _keep(self, scores: dict[str, float]) -> None:
        if self.plan.training.keep == "best" and distributed.is_first():
            best = read_best(self.plan.folder)
            if best is None or scores[self.plan.main_metric] > best[0]["score"]:
                write_best(self.plan.folder, self.trainer.model, scores, scores[self.plan.main_metric])

    def on_save(self, args, state, control, **_):
        check_weights(self.trainer.model, state.global_step)
        distributed.wait()  # until each has written the state of its random numbers
        if distributed.is_first():
            checkpoints.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_log(self, args, state, control, logs=None, **_):
        shown = {k: v for k, v in (logs or {}).items() if k not in NOT_REPRODUCIBLE and k != "epoch"}
        if "loss" in shown:
            self.bar.set_postfix(loss=f"{shown['loss']:.3f}", refresh=False)
        if shown and self.plan.on_log and distributed.is_first():
            self.plan.on_log(shown, state.global_step)


@dataclass
class _Plan:
    training: Training
    folder: Path
    label: str
    main_metric: str
    evaluate: Callable[[], dict[str, float]] | None
    on_log: Callable[[dict[str, float], int], None] | None

    def evaluation_steps(self, total: int) -> set[int]:
        """Evenly spaced, the last one at the end."""
        count = self.training.evaluations if self.evaluate else 0
        return {max(1, round(total * i / count)) for i in range(1, count + 1)}


def train(
    objective: nn.Module,
    features: Any,
    pad_token_id: int,
    labels: tuple[str, ...],
    training: Training,
    runtime: Runtime,
    seed: int,
    folder: Path,
    label: str,
    main_metric: str = "",
    evaluate: Callable[[], dict[str, float]] | None = None,
    on_log: Callable[[dict[str, float], int], None] | None = None,
) -> Result:
    """Train `objective` in place, going on from the last complete checkpoint in `folder` if there is one.

    Of several processes (`distill.runtime.distributed`) all call this with the same arguments; the first one evaluates,
    logs and writes. At the end all of them have the same weights and the same result.

    Args:
        objective: a module; forward(**batch) → {"loss": scalar, <term>: scalar…}, with `set_progress(Progress)` and,
            where the loss is not the plain mean or sum of its terms, `weights()` by the terms' names. Optional:
            `learning_rates()`, prefix of parameter names → rate; `columns`, ragged feature columns that batches need;
            `companions()`, models that run along and are not trained.
        features: the training features (`datasets.Dataset`).
        folder: scratch for checkpoints; belongs to this very training and nothing else.
        evaluate: scores the objective's present weights on the selection split.
        on_log: called with (values, step) at every log entry.

    Raises:
        UserError: the loss or a weight is not finite; the batch cannot be dealt to the processes.
    """
    distributed.share_of(training.batch_size, training.gradient_accumulation)
    allocator.keep_freed()
    acceleration.use_threads(runtime)
    set_seed(seed)
    resume = distributed.from_first(lambda: _begin_from(folder, training, main_metric))
    extra = tuple(getattr(objective, "columns", ()))
    rows = Rows(features, ("input_ids", "token_type_ids", *labels, *extra))
    hooks = _Hooks(_Plan(training, folder, label, main_metric, evaluate, on_log))
    done = int(resume.name.split("-")[-1]) if resume else 0
    began = time.monotonic()
    # Before Trainer sets the seed: what replaces a part of a model may draw weights that nobody keeps.
    with acceleration.settings(objective, runtime, int(rows.lengths.max())):
        trainer = ObjectiveTrainer(
            objective,
            _arguments(training, runtime, seed, folder / "checkpoints"),
            data_collator=Collator(pad_token_id, labels, extra),
            train_dataset=rows,
            callbacks=[hooks],
            sampler_seed=seed,
            group=training.group_by_length,
        )
        hooks.trainer = trainer
        if distributed.rank():
            set_seed(seed + 104_729 * distributed.rank())  # dropout is drawn for every row, not once for all processes
        for unwanted in ("PrinterCallback", "ProgressCallback"):
            for callback in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == unwanted]:
                trainer.remove_callback(callback)
        try:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        finally:
            if hooks.bar is not None:
                hooks.bar.close()
    check_weights(trainer.model, trainer.state.global_step)
    seconds = time.monotonic() - began
    history = [
        {k: v for k, v in entry.items() if k not in NOT_REPRODUCIBLE and k != "epoch"}
        for entry in trainer.state.log_history
        if "train_runtime" not in entry
    ]
    scores = {}
    for entry in history:
        scores = {k.removeprefix("selection_"): v for k, v in entry.items() if k.startswith("selection_")} or scores
    distributed.wait()  # until the best weights are written
    if training.keep == "best" and (best := read_best(folder)):
        load_weights(objective, best[1])
        scores = best[0]["scores"]
    steps = trainer.state.global_step
    examples = (steps - done) * training.batch_size
    order = list(EpochSampler(rows.lengths, training.batch_size, training.group_by_length, seed))
    padded = padding(order, rows.lengths, training.batch_size // training.gradient_accumulation).share
    return Result(history, scores, steps, seconds, examples / seconds if seconds else 0.0, done, padded)


def _arguments(training: Training, runtime: Runtime, seed: int, folder: Path) -> TrainingArguments:
    # Sums of the log are not part of a checkpoint, so checkpoints are written where they are empty.
    every = -(-runtime.checkpoint_steps // training.log_every) * training.log_every
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=distributed.share_of(training.batch_size, training.gradient_accumulation),
        gradient_accumulation_steps=training.gradient_accumulation,
        num_train_epochs=training.epochs,
        max_steps=training.max_steps or -1,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        adam_beta1=training.adam_beta1,
        adam_beta2=training.adam_beta2,
        adam_epsilon=training.adam_epsilon,
        max_grad_norm=training.max_grad_norm,
        lr_scheduler_type=training.lr_scheduler,
        warmup_steps=training.warmup,  # below 1: a share of all updates
        use_cpu=not torch.cuda.is_available(),  # Trainer refuses bf16 on a CPU unless told so
        bf16=training.precision == "bf16",
        optim="adamw_torch_fused",
        logging_strategy="steps",
        logging_steps=training.log_every,
        logging_nan_inf_filter=False,  # compute_loss stops at the first such loss
        save_strategy="steps",
        save_steps=every,
        save_total_limit=runtime.checkpoints_kept,
        eval_strategy="no",
        remove_unused_columns=False,
        label_names=[],
        report_to=[],
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_num_workers=runtime.workers,  # new in every epoch: kept ones would draw other random numbers
    )
    if arguments.n_gpu > 1:
        # Without a launcher Trainer would wrap the objective in DataParallel, which scatters its terms.
        arguments._n_gpu = 1
    return arguments


def _begin_from(folder: Path, training: Training, metric: str) -> Path | None:
    """The checkpoint to go on from, or None; what cannot be used is removed."""
    resume = checkpoints.last_complete(folder / "checkpoints")
    if resume and training.keep == "best" and _best_is_lost(folder, resume, metric):
        print("the best weights so far cannot be used: starting from the beginning", flush=True)
        shutil.rmtree(folder / "checkpoints")
        resume = None
    return resume


def check_weights(model: nn.Module, step: int) -> None:
    """Raise a UserError where an update has made weights NaN or infinite: the loss before it cannot tell."""
    for name, weight in model.named_parameters():
        if weight.requires_grad and not weight.isfinite().all():
            raise UserError(
                f"training: step {step}: the weights are not finite after this update (first of them: {name}): lower"
                " learning_rate, or set max_grad_norm; the last good checkpoint is kept"
            )


def _best_is_lost(folder: Path, resume: Path, metric: str) -> bool:
    """Whether training scored weights before this checkpoint that are not, or not as good, in `best`."""
    history = json.loads((resume / "trainer_state.json").read_text())["log_history"]
    scores = [entry[f"selection_{metric}"] for entry in history if f"selection_{metric}" in entry]
    best = read_best(folder)
    return bool(scores) and (best is None or best[0]["score"] < max(scores))


def read_best(folder: Path) -> tuple[dict, Path] | None:
    """The best weights so far: ({score, scores}, weights file), or None."""
    sealed = folder / "best"
    if not checkpoints.is_complete(sealed):
        return None
    return json.loads((sealed / "scores.json").read_text()), sealed / "weights.safetensors"


def save_weights(model: nn.Module, path: Path) -> None:
    """All of the module's weights; those that share memory are written once each (safetensors refuses them else)."""
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    save_file({name: value.clone(memory_format=torch.contiguous_format) for name, value in weights.items()}, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """What `save_weights` wrote."""
    model.load_state_dict(load_file(path))


def write_best(folder: Path, model: nn.Module, scores: dict[str, float], score: float) -> None:
    """Replace the best weights by the model's present ones, never half-way."""
    draft = folder / "best.draft"
    draft.mkdir(parents=True, exist_ok=True)
    save_weights(model, draft / "weights.safetensors")
    (draft / "scores.json").write_text(json.dumps({"score": score, "scores": scores}))
    checkpoints.seal(draft)
    publish(draft, folder / "best")


def write_curves(history: list[dict[str, float]], path: Path) -> None:
    """One row per log entry with a loss, as CSV: step, loss, terms…; the same bytes for the same training."""
    losses = [entry for entry in history if "loss" in entry]
    names = ["step", *sorted({"loss", *(name for entry in losses for name in entry)} - {"step"})]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _short(entry.get(name, "")) for name in names} for entry in losses)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
