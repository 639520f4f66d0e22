"""The one trainer: fine-tuning, filters and every distillation method run through it.

A thin subclass of transformers.Trainer, which owns the loop, mixed precision, accumulation, distribution and resuming.
Added here: loss terms by name, an order of batches that depends on seed and epoch alone, checkpoints that are only
trusted when complete, a stop at the first loss that is not finite, and evaluations on the selection split.
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
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from distill import checkpoints
from distill.batching import Collator, EpochSampler, Rows
from distill.errors import UserError
from distill.progress import bar
from distill.sections import Runtime, Training

# Checkpoints then go by number, which is what is wanted anyway.
logging.getLogger("transformers.trainer_utils").addFilter(lambda record: "mtime may not" not in record.getMessage())

# Columns of the log that depend on time or machine; everything else is reproducible.
NOT_REPRODUCIBLE = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"}


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        step: steps done, before this one.
        steps: all steps.
        epoch: passes over the data that are complete.
    """

    step: int
    steps: int
    epoch: int

    @property
    def share(self) -> float:
        """How far the training is: 0 in its first step, 1 in its last, so that schedules reach both their ends."""
        return self.step / (self.steps - 1) if self.steps > 1 else 1.0


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
    """

    history: list[dict[str, float]]
    scores: dict[str, float]
    steps: int
    seconds: float
    examples_per_second: float
    resumed_from: int


class ObjectiveTrainer(Trainer):
    """Trains a module whose forward takes a batch and returns `loss` and named terms (all scalars)."""

    def __init__(self, *args: Any, sampler_seed: int, group: bool, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._sampler_seed, self._group = sampler_seed, group
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        # The objective's forward takes **batch, which Trainer would take for "scales its own loss".
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Rows | None = None) -> EpochSampler:
        rows = train_dataset or self.train_dataset
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return EpochSampler(rows.lengths, size, self._group, self._sampler_seed)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], return_outputs=False, **_: Any):
        """The objective's loss; every term is checked and added up for the log.

        Raises:
            UserError: the loss is NaN or infinite; the last complete checkpoint stays.
        """
        objective = self.accelerator.unwrap_model(model)
        # Trainer counts epochs as a fraction; a tiny bit more, so that 0.9999… is the epoch that begins.
        epoch = int((self.state.epoch or 0.0) + 1e-6)
        objective.set_progress(Progress(self.state.global_step, self.state.max_steps, epoch))
        terms = model(**inputs)
        values = torch.stack([term.detach().float() for term in terms.values()])
        if not values.isfinite().all():
            weights = objective.weights() if hasattr(objective, "weights") else {}
            raise UserError(
                f"training: step {self.state.global_step + 1}: the loss is not finite: {_blame(terms, weights)}: lower"
                " learning_rate or the term's weight, or use precision fp32; the last good checkpoint is kept"
            )
        for name, value in zip(terms, values, strict=True):
            if name != "loss":
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        return (terms["loss"], terms) if return_outputs else terms["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the terms' means since the last entry."""
        if "loss" in logs and self._counts:
            logs |= {name: (value / self._counts[name]).item() for name, value in self._sums.items()}
            self._sums, self._counts = {}, {}
        super().log(logs, start_time)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Parameters that the objective gives a learning rate of their own become groups of their own."""
        optimizer = super().create_optimizer(*args, **kwargs)
        objective = self.accelerator.unwrap_model(self.model)
        rates = objective.learning_rates() if hasattr(objective, "learning_rates") else {}
        for prefix, rate in rates.items():
            own = {id(p) for name, p in objective.named_parameters() if name.startswith(prefix)}
            for group in list(optimizer.param_groups):
                mine = [p for p in group["params"] if id(p) in own]
                if mine and len(mine) < len(group["params"]):
                    group["params"] = [p for p in group["params"] if id(p) not in own]
                    optimizer.add_param_group({**group, "params": mine, "lr": rate})
                elif mine:
                    group["lr"] = rate
        return optimizer

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        # safetensors refuses tensors that share memory, as the tied embeddings of a masked-LM generator do.
        weights = self.model.state_dict() if state_dict is None else state_dict
        super()._save(output_dir, {name: value.clone() for name, value in weights.items()})


class _Hooks(TrainerCallback):
    """Progress bar, sealed checkpoints, selection scores, live tracking."""

    def __init__(self, plan: _Plan):
        self.plan = plan
        self.trainer: ObjectiveTrainer | None = None
        self.bar = None
        self.best: float | None = None

    def on_train_begin(self, args, state, control, **_):
        self.bar = bar(state.max_steps, self.plan.label, initial=state.global_step)
        self.evaluate_at = self.plan.evaluation_steps(state.max_steps)

    def on_step_end(self, args, state, control, **_):
        self.bar.update()
        if state.global_step in self.evaluate_at:
            check_weights(self.trainer.model, state.global_step)
            scores = self.plan.evaluate()
            # Everything that evaluating did must leave training as it was; logging clears the flag.
            self.trainer.model.train()
            due = control.should_log
            self.trainer.log({f"selection_{name}": value for name, value in scores.items()})
            control.should_log = due
            self._keep(scores)
        if state.global_step == state.max_steps:
            control.should_save = False  # the caller writes the result at once; nothing resumes from the end

    def _keep(self, scores: dict[str, float]) -> None:
        if self.plan.training.keep == "best":
            best = read_best(self.plan.folder)
            if best is None or scores[self.plan.main_metric] > best[0]["score"]:
                write_best(self.plan.folder, self.trainer.model, scores, scores[self.plan.main_metric])

    def on_save(self, args, state, control, **_):
        check_weights(self.trainer.model, state.global_step)
        checkpoints.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_log(self, args, state, control, logs=None, **_):
        shown = {k: v for k, v in (logs or {}).items() if k not in NOT_REPRODUCIBLE and k != "epoch"}
        if "loss" in shown:
            self.bar.set_postfix(loss=f"{shown['loss']:.3f}", refresh=False)
        if shown and self.plan.on_log:
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

    Args:
        objective: a module; forward(**batch) → {"loss": scalar, <term>: scalar…}, with `set_progress(Progress)` and,
            where the loss is not the plain mean or sum of its terms, `weights()` by the terms' names. Optional:
            `learning_rates()`, prefix of parameter names → rate; `columns`, ragged feature columns that batches need.
        features: the training features (`datasets.Dataset`).
        folder: scratch for checkpoints; belongs to this very training and nothing else.
        evaluate: scores the objective's present weights on the selection split.
        on_log: called with (values, step) at every log entry.

    Raises:
        UserError: the loss or a weight is not finite.
    """
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    set_seed(seed)
    resume = checkpoints.last_complete(folder / "checkpoints")
    if resume and training.keep == "best" and _best_is_lost(folder, resume, main_metric):
        print("the best weights so far cannot be used: starting from the beginning", flush=True)
        shutil.rmtree(folder / "checkpoints")
        resume = None
    extra = tuple(getattr(objective, "columns", ()))
    rows = Rows(features, ("input_ids", "token_type_ids", *labels, *extra))
    hooks = _Hooks(_Plan(training, folder, label, main_metric, evaluate, on_log))
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
    for unwanted in ("PrinterCallback", "ProgressCallback"):
        for callback in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == unwanted]:
            trainer.remove_callback(callback)
    done = int(resume.name.split("-")[-1]) if resume else 0
    began = time.monotonic()
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
    if training.keep == "best" and (best := read_best(folder)):
        load_weights(objective, best[1])
        scores = best[0]["scores"]
    steps = trainer.state.global_step
    examples = (steps - done) * training.batch_size
    return Result(history, scores, steps, seconds, examples / seconds if seconds else 0.0, done)


def _arguments(training: Training, runtime: Runtime, seed: int, folder: Path) -> TrainingArguments:
    # Sums of the log are not part of a checkpoint, so checkpoints are written where they are empty.
    every = -(-runtime.checkpoint_steps // training.log_every) * training.log_every
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=training.batch_size // training.gradient_accumulation,
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
    )
    if arguments.n_gpu > 1:
        # Without a launcher Trainer would wrap the objective in DataParallel, which scatters its terms.
        arguments._n_gpu = 1
    return arguments


def _blame(terms: dict[str, Tensor], weights: dict[str, float]) -> str:
    """The terms that are not finite; where all are, those that a weight makes so."""
    values = {name: term.detach().float() for name, term in terms.items() if name != "loss"}
    bad = [f"{name} = {value.item():g}" for name, value in values.items() if not value.isfinite()]
    large = {name: weights[name] * value for name, value in values.items() if name in weights}
    bad = bad or [
        f"{name} = {values[name].item():g}, {weights[name]:g} times" for name in large if not large[name].isfinite()
    ]
    return ", ".join(
        bad or [f"{name} = {value.item():g}, {weights.get(name, 1):g} times" for name, value in values.items()]
    )


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
    checkpoints.publish(draft, folder / "best")


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
