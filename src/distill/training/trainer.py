"""The one trainer: fine-tuning, filters and every distillation method run through it.

transformers.Trainer owns the loop, mixed precision, accumulation, distribution and resuming. Added in
`distill.training.hf_trainer`: loss terms by name, an order of batches that depends on seed and epoch alone, a stop at
the first loss that is not finite. Added here: checkpoints that are only trusted when complete, and evaluations on the
selection split.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainingArguments, set_seed

from distill.data.loading.batches import Collator, Rows
from distill.data.loading.groups import GroupedRows
from distill.data.loading.mixing import sampler
from distill.errors import UserError
from distill.losses.terms import TEACHER_WEIGHT
from distill.models import acceleration
from distill.runtime import allocator, checkpoints, distributed, json_text
from distill.runtime.files import publish
from distill.runtime.progress import bar
from distill.training import snapshots
from distill.training.early_stopping import waited
from distill.training.hf_trainer import ObjectiveTrainer
from distill.training.run import Result, TrainingRun
from distill.training.weights import load_weights, save_weights

# The warning announces that checkpoints are sorted by number, as they should be.
logging.getLogger("transformers.trainer_utils").addFilter(lambda record: "mtime may not" not in record.getMessage())

# Columns of the log that depend on time or machine; everything else is reproducible.
NOT_REPRODUCIBLE = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"}


class _Hooks(TrainerCallback):
    """Progress bar, sealed checkpoints, selection scores, live tracking."""

    def __init__(self, run: TrainingRun):
        self.run = run
        self.trainer: ObjectiveTrainer | None = None
        self.bar = None
        self.best: float | None = None
        self.scoring_seconds = 0.0

    def on_train_begin(self, args, state, control, **_):
        self.bar = bar(state.max_steps, self.run.label, initial=state.global_step, shown=distributed.is_first())
        self.evaluate_at = self.run.evaluation_steps(state.max_steps)
        self.snapshot_at = snapshots.steps(self.run.snapshots, state.max_steps)

    def on_step_end(self, args, state, control, **_):
        self.bar.update()
        if state.global_step in self.snapshot_at and distributed.is_first():
            snapshots.keep(self.run.folder, self.snapshot_at[state.global_step], self.trainer.model)
        if state.global_step in self.evaluate_at:
            check_weights(self.trainer.model, state.global_step)
            began = time.monotonic()
            scores = distributed.from_first(self.run.evaluate)
            self.scoring_seconds += time.monotonic() - began
            # Evaluation must leave the training unchanged; logging clears the flag.
            self.trainer.model.train()
            due = control.should_log
            self.trainer.log({f"selection_{name}": value for name, value in scores.items()})
            control.should_log = due
            self._keep(scores)
            patience = self.run.settings.patience
            if patience is not None and waited(state.log_history, self.run.main_metric) >= patience:
                control.should_training_stop = control.should_log = True  # the curve ends here too
        if state.global_step == state.max_steps or control.should_training_stop:
            control.should_save = False  # the caller writes the result at once; nothing resumes from the end

    def _keep(self, scores: dict[str, float]) -> None:
        if self.run.settings.keep == "best" and distributed.is_first():
            best = read_best(self.run.folder)
            if best is None or scores[self.run.main_metric] > best[0]["score"]:
                write_best(self.run.folder, self.trainer.model, scores, scores[self.run.main_metric])

    def on_save(self, args, state, control, **_):
        check_weights(self.trainer.model, state.global_step)
        distributed.wait()  # until each has written the state of its random numbers
        if distributed.is_first():
            checkpoints.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_log(self, args, state, control, logs=None, **_):
        shown = {k: v for k, v in (logs or {}).items() if k not in NOT_REPRODUCIBLE and k != "epoch"}
        if "loss" in shown:
            self.bar.set_postfix(loss=f"{shown['loss']:.3f}", refresh=False)
        if shown and self.run.on_log and distributed.is_first():
            self.run.on_log(shown, state.global_step)


def train(run: TrainingRun) -> Result:
    """Train `run.objective` in place, resuming from the last complete checkpoint in `run.folder` if there is one.

    Of several processes (`distill.runtime.distributed`) all call this with the same run; the first one evaluates, logs
    and writes. At the end all of them have the same weights and the same result.

    Raises:
        UserError: the loss or a weight is not finite; the batch cannot be divided among the processes.
    """
    objective, settings, seed = run.objective, run.settings, run.seed
    distributed.share_of(settings.batch_size, settings.gradient_accumulation)
    allocator.keep_freed()
    acceleration.use_threads(run.runtime)
    set_seed(seed)
    resume = distributed.from_first(lambda: _begin_from(run))
    extra = tuple(objective.columns)
    numbers = (*run.labels, TEACHER_WEIGHT)
    kind = GroupedRows if run.grouped else Rows
    rows = kind(run.features, ("input_ids", "token_type_ids", *numbers, *extra))
    hooks = _Hooks(run)
    done = int(resume.name.split("-")[-1]) if resume else 0
    began, before = time.monotonic(), objective.passes()
    # Before Trainer sets the seed: replacing a part of a model may draw random weights.
    with acceleration.settings(objective, objective.companions(), run.runtime, int(rows.lengths.max())):
        trainer = ObjectiveTrainer(
            objective,
            _arguments(run),
            data_collator=Collator(run.pad_token_id, numbers, extra),
            train_dataset=rows,
            callbacks=[hooks],
            sampler_seed=seed,
            group=settings.group_by_length,
            mix=run.mix,
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
    if settings.keep == "best" and (best := read_best(run.folder)):
        load_weights(objective, best[1])
        scores = best[0]["scores"]
    steps = trainer.state.global_step
    examples = (steps - done) * settings.batch_size * rows.rows_each
    parts = settings.gradient_accumulation
    order = list(sampler(rows.lengths, settings.batch_size, settings.group_by_length, seed, run.mix, parts))
    padded = rows.padding(order, settings.batch_size // parts).share
    speed, counts = examples / seconds if seconds else 0.0, objective.passes()
    # Processes have as many rows, but of the labelled ones in a mixed batch one has another number than another.
    shares = distributed.mean([float(count - before[name]) for name, count in counts.items()])
    passes = {name: round(share * distributed.count()) for name, share in zip(counts, shares, strict=True)}
    return Result(
        history,
        scores,
        steps,
        seconds,
        speed,
        done,
        padded,
        passes,
        planned=trainer.state.max_steps,
        updates=steps,
        scoring_seconds=hooks.scoring_seconds,
    )


def _arguments(run: TrainingRun) -> TrainingArguments:
    training, runtime = run.settings, run.runtime
    # Sums of the log are not part of a checkpoint, so checkpoints are written where they are empty.
    every = -(-runtime.checkpoint_steps // training.log_every) * training.log_every
    arguments = TrainingArguments(
        output_dir=str(run.folder / "checkpoints"),
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
        seed=run.seed,
        data_seed=run.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_num_workers=runtime.workers,  # new in every epoch: kept ones would draw other random numbers
    )
    if arguments.n_gpu > 1:
        # Without a launcher Trainer would wrap the objective in DataParallel, which scatters its terms.
        arguments._n_gpu = 1
    return arguments


def _begin_from(run: TrainingRun) -> Path | None:
    """The checkpoint to resume from, or None; unusable ones are removed."""
    resume = checkpoints.last_complete(run.folder / "checkpoints")
    if resume and (what := _lost(run, resume)):
        print(f"{what} cannot be used: starting from the beginning", flush=True)
        shutil.rmtree(run.folder / "checkpoints")
        resume = None
    return resume


def _lost(run: TrainingRun, resume: Path) -> str:
    """What a training that resumes from this checkpoint would lack; empty: nothing."""
    state = json_text.parse((resume / "trainer_state.json").read_text(encoding="utf-8"))
    if run.settings.keep == "best" and _best_is_lost(run.folder, state["log_history"], run.main_metric):
        return "the best weights so far"
    planned = snapshots.steps(run.snapshots, state["max_steps"])
    return "a snapshot" if snapshots.lost(run.folder, state["global_step"], planned) else ""


def check_weights(model: nn.Module, step: int) -> None:
    """Raise a UserError where an update has made weights NaN or infinite: the loss before it does not show it."""
    for name, weight in model.named_parameters():
        if weight.requires_grad and not weight.isfinite().all():
            raise UserError(
                f"training: step {step}: the weights are not finite after this update (first of them: {name}): lower"
                " learning_rate, or set max_grad_norm; the last good checkpoint is kept"
            )


def _best_is_lost(folder: Path, history: Sequence[Mapping[str, Any]], metric: str) -> bool:
    """Whether `best` lacks the best weights that training scored before a checkpoint.

    Args:
        history: the checkpoint's log entries.
    """
    scores = [entry[f"selection_{metric}"] for entry in history if f"selection_{metric}" in entry]
    best = read_best(folder)
    return bool(scores) and (best is None or best[0]["score"] < max(scores))


def read_best(folder: Path) -> tuple[dict, Path] | None:
    """The best weights so far: ({score, scores}, weights file), or None."""
    sealed = folder / "best"
    if not checkpoints.is_complete(sealed):
        return None
    return json_text.parse((sealed / "scores.json").read_text(encoding="utf-8")), sealed / "weights.safetensors"


def write_best(folder: Path, model: nn.Module, scores: dict[str, float], score: float) -> None:
    """Replace the best weights by the model's present ones, never half-way."""
    draft = folder / "best.draft"
    draft.mkdir(parents=True, exist_ok=True)
    save_weights(model, draft / "weights.safetensors")
    (draft / "scores.json").write_text(json.dumps({"score": score, "scores": scores}), encoding="utf-8")
    checkpoints.seal(draft)
    publish(draft, folder / "best")
