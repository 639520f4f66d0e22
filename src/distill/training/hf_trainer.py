"""The training loop: a thin subclass of transformers.Trainer for objectives, which give a loss and named terms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from distill.data.loading import sharding
from distill.data.loading.batches import EpochSampler, Rows
from distill.data.loading.mixing import Mix, sampler
from distill.errors import UserError
from distill.runtime import distributed
from distill.training.objective import Objective, Progress


class ObjectiveTrainer(Trainer):
    """Trains an `Objective`."""

    def __init__(self, *args: Any, sampler_seed: int, group: bool, mix: Mix | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._sampler_seed, self._group, self._mix = sampler_seed, group, mix
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        # The objective's forward takes **batch, which Trainer would take for "scales its own loss".
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Rows | None = None) -> EpochSampler:
        rows = train_dataset or self.train_dataset
        parts = self.args.gradient_accumulation_steps
        size = self.args.train_batch_size * parts * self.args.world_size
        return sampler(rows.lengths, size, self._group, self._sampler_seed, self._mix, parts)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Trainer's; with several processes, each gets its share of every batch."""
        if distributed.count() == 1:
            return super().get_train_dataloader()
        return sharding.loader(
            self.train_dataset,
            self._get_train_sampler(),
            self.data_collator,
            self.args.train_batch_size * distributed.count(),
            distributed.rank(),
            distributed.count(),
            device=self.args.device,
            num_workers=self.args.dataloader_num_workers,
            persistent_workers=self.args.dataloader_persistent_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], return_outputs=False, **_: Any):
        """The objective's loss; every term is checked and added up for the log.

        Raises:
            UserError: the loss is NaN or infinite; the last complete checkpoint stays.
        """
        objective: Objective = self.accelerator.unwrap_model(model)
        # Trainer counts epochs as a fraction; adding 1e-6 makes 0.9999… the epoch that begins.
        epoch = int((self.state.epoch or 0.0) + 1e-6)
        objective.set_progress(Progress(self.state.global_step, self.state.max_steps, epoch))
        weight = inputs.get("weight", 1.0)  # of this process's share of the batch
        terms = model(**{name: value for name, value in inputs.items() if name != "weight"})
        values = torch.stack([term.detach().float() for term in terms.values()])
        if not values.isfinite().all():
            raise UserError(
                f"training: step {self.state.global_step + 1}: the loss is not finite:"
                f" {_blame(terms, objective.weights())}: lower learning_rate or the term's weight, or use precision"
                " fp32; the last good checkpoint is kept"
            )
        for name, value in zip(terms, values, strict=True):
            if name != "loss":
                self._sums[name] = self._sums.get(name, 0.0) + value * weight
                self._counts[name] = self._counts.get(name, 0) + 1
        loss = terms["loss"] * weight if "weight" in inputs else terms["loss"]
        return (loss, terms) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the terms' means since the last entry."""
        if "loss" in logs and self._counts:
            means = [(value / self._counts[name]).item() for name, value in self._sums.items()]
            logs |= dict(zip(self._sums, distributed.mean(means), strict=True))
            self._sums, self._counts = {}, {}
        super().log(logs, start_time)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Parameters with their own learning rate (`Objective.learning_rates`) become separate groups."""
        optimizer = super().create_optimizer(*args, **kwargs)
        objective: Objective = self.accelerator.unwrap_model(self.model)
        for prefix, rate in objective.learning_rates().items():
            named = {id(p) for name, p in objective.named_parameters() if name.startswith(prefix)}
            for group in list(optimizer.param_groups):
                moved = [p for p in group["params"] if id(p) in named]
                if moved and len(moved) < len(group["params"]):
                    group["params"] = [p for p in group["params"] if id(p) not in named]
                    optimizer.add_param_group({**group, "params": moved, "lr": rate})
                elif moved:
                    group["lr"] = rate
        return optimizer

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        # safetensors refuses tensors that share memory, as the tied embeddings of a masked-LM generator do.
        weights = self.model.state_dict() if state_dict is None else state_dict
        super()._save(output_dir, {name: value.clone() for name, value in weights.items()})


def _blame(terms: dict[str, Tensor], weights: dict[str, float]) -> str:
    """The terms that are not finite; where all are finite, those that are not after weighting."""
    values = {name: term.detach().float() for name, term in terms.items() if name != "loss"}
    bad = [f"{name} = {value.item():g}" for name, value in values.items() if not value.isfinite()]
    large = {name: weights[name] * value for name, value in values.items() if name in weights}
    bad = bad or [
        f"{name} = {values[name].item():g}, {weights[name]:g} times" for name in large if not large[name].isfinite()
    ]
    return ", ".join(
        bad or [f"{name} = {value.item():g}, {weights.get(name, 1):g} times" for name, value in values.items()]
    )
