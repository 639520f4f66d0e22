"""TextBrewer at the gate: `python -m benchmarks.peer_textbrewer <project> <rows.npz> <batch size> <length> [form]`.

Set up as its own SQuAD example (examples/notebook_examples/sqaudv1.1.ipynb): every row padded to max_seq_length in the
preparation, a shuffled DataLoader over a TensorDataset, GeneralDistiller with the teacher running along, AdamW with a
linear schedule, no clipping, full precision (its mixed precision is Apex's, which is not part of torch). Forms:

- `logits` (the least work): soft targets and the task loss, no hidden states.
- `hidden`: also its example's matches of hidden states (mmd), for these layers.
- `cached`: soft targets from outputs that the user computed before and feeds with the batches ("Feed Cached Values" in
  its documentation; no example of it does, and the user writes the cache). Here they are random numbers in memory.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from benchmarks import peer_data
from benchmarks.gate import Gate, GatedLoader

FORMS = ("logits", "hidden", "cached")
COLUMNS = ("input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions")


def main() -> None:
    """Run until the gate is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("project", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("batch_size", type=int)
    parser.add_argument("length", type=int)
    parser.add_argument("form", nargs="?", choices=FORMS, default="logits")
    options = parser.parse_args()
    gate, hidden, cached = Gate.from_environment(), options.form == "hidden", options.form == "cached"
    peer_data.import_torchvision()

    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
    from transformers import get_linear_schedule_with_warmup

    teacher, student = peer_data.models(options.project, output_hidden_states=hidden)
    columns = peer_data.padded(options.rows, options.length)
    tensors = [columns[name] for name in COLUMNS]
    if cached:
        tensors += [torch.randn(len(tensors[0]), options.length) for _ in range(2)]
    dataset = TensorDataset(*tensors)
    loader = DataLoader(dataset, sampler=RandomSampler(dataset), batch_size=options.batch_size, drop_last=True)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)

    def to_models(batch: list[torch.Tensor]) -> dict[str, Any]:
        inputs = dict(zip(COLUMNS, batch, strict=False))
        if not cached:
            return inputs
        return {"teacher": inputs, "student": inputs, "teacher_cache": {"logits": tuple(batch[len(COLUMNS) :])}}

    def of_student(batch: dict[str, Any], outputs: Any) -> dict[str, Any]:
        found = {"logits": (outputs.start_logits, outputs.end_logits), "losses": outputs.loss}
        return found | ({"hidden": outputs.hidden_states} if hidden else {})

    def of_teacher(batch: dict[str, Any], outputs: Any) -> dict[str, Any]:
        if cached:
            return outputs
        found = {"logits": (outputs.start_logits, outputs.end_logits)}
        return found | ({"hidden": outputs.hidden_states} if hidden else {})

    depth, ratio = (
        student.config.num_hidden_layers,
        teacher.config.num_hidden_layers // student.config.num_hidden_layers,
    )
    matches = [
        {"layer_T": [ratio * i] * 2, "layer_S": [i] * 2, "feature": "hidden", "loss": "mmd", "weight": 1}
        for i in range(depth + 1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        distiller = GeneralDistiller(
            train_config=TrainingConfig(output_dir=folder, device=next(student.parameters()).device),
            distill_config=DistillationConfig(
                temperature=2, hard_label_weight=1, intermediate_matches=matches if hidden else None
            ),
            model_T=teacher,
            model_S=student,
            adaptor_T=of_teacher,
            adaptor_S=of_student,
        )
        with distiller:
            distiller.train(
                optimizer,
                GatedLoader(loader, gate, lambda batch: batch[1]),
                num_epochs=1,
                scheduler_class=get_linear_schedule_with_warmup,
                scheduler_args={"num_warmup_steps": 100, "num_training_steps": 1_000_000},
                batch_postprocessor=to_models,
                callback=None,
            )


if __name__ == "__main__":
    main()
