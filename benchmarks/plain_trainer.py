"""What most people write, at the gate: a `Trainer` whose `compute_loss` runs both models, and rows of a fixed length.

    python -m benchmarks.plain_trainer <project> <rows.npz> <batch size> <length> [kd | ted] [--bf16]

`ted` also compares hidden states through linear filters of the project, over all positions, padding included.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, default_data_collator

from benchmarks import peer_data
from benchmarks.gate import Gate, gate_trainer

TEMPERATURE = 2.0


class Rows(Dataset):
    """Rows that were padded when they were made."""

    def __init__(self, columns: dict[str, torch.Tensor]):
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["input_ids"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


def distillation(teacher: Any, filters: list[tuple[int, int, Any, Any]]) -> type[Trainer]:
    """A trainer class for a teacher; filters: layer of the teacher, of the student, and the two filters."""

    class Distiller(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            hidden = bool(filters)
            with torch.no_grad():
                taught = teacher(**inputs, output_hidden_states=hidden)
            own = model(**inputs, output_hidden_states=hidden)
            loss = own.loss
            for name in ("start_logits", "end_logits"):
                soft = functional.log_softmax(own[name] / TEMPERATURE, -1)
                target = functional.softmax(taught[name] / TEMPERATURE, -1)
                loss = loss + 5 * TEMPERATURE**2 * functional.kl_div(soft, target, reduction="batchmean")
            for high, low, of_teacher, of_student in filters:
                with torch.no_grad():
                    target = of_teacher(taught.hidden_states[high])
                loss = loss + functional.mse_loss(of_student(own.hidden_states[low]), target)
            return (loss, own) if return_outputs else loss

    return Distiller


def main() -> None:
    """Run until the gate is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("project", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("batch_size", type=int)
    parser.add_argument("length", type=int)
    parser.add_argument("form", nargs="?", choices=("kd", "ted"), default="kd")
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    gate_trainer(Gate.from_environment())
    teacher, student = peer_data.models(options.project)
    filters = []
    if options.form == "ted":
        from distill.methods.shared.filters import FilterBank

        high, low = (
            FilterBank.load(options.project / "data/models/filters" / role).to(student.device)
            for role in ("teacher", "student")
        )
        student.filters = low  # trained with the student
        filters = list(zip(high.layers, low.layers, high.filters, low.filters, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=options.batch_size,
            learning_rate=1e-4,
            max_steps=1_000_000,
            bf16=options.bf16,
            use_cpu=not torch.cuda.is_available(),  # a CPU does bf16 only if this says so
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        rows = Rows(peer_data.padded(options.rows, options.length))
        trainer = distillation(teacher, filters)(
            student, arguments, train_dataset=rows, data_collator=default_data_collator
        )
        trainer.train()


if __name__ == "__main__":
    main()
