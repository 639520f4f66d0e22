"""torchdistill at the gate: `python -m benchmarks.peer_torchdistill <project> <rows.npz> <batch size> [--length N]`.

Set up as its own GLUE example (examples/hf_transformers/general_language_understanding.py with
configs/sample/glue/*/kd/bert_base_uncased_from_bert_large_uncased.yaml), which is what it has for texts: a random
order, batches padded to their longest row by transformers' DataCollatorWithPadding, KDLoss on the outputs of the last
linear layer of both models (found by forward hooks), AdamW, clipping at 1, a linear schedule, full precision. Its
KDLoss takes the softmax over axis 1, which for (B, L, 2) is the sequence: what question answering needs. With
`--length`, rows are padded to a fixed length instead.

Two things differ from the example, neither in speed. The task loss of the model counts too (`model_term`), as in ours.
And it runs without an Accelerator, as torchdistill's examples for pictures do: with one, torchdistill 1.1.5 reads
`AcceleratorState.use_fp16`, which Accelerate 1.15 does not have. So it has no mixed precision here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks import peer_data
from benchmarks.gate import Gate, GatedLoader


def settings(batch_size: int) -> dict[str, Any]:
    """The `train` section of its YAML file."""
    model = {"forward_proc": "forward_batch_as_kwargs", "adaptations": None, "sequential": [], "wrapper": None}
    model |= {"frozen_modules": [], "forward_hook": {"input": [], "output": ["qa_outputs"]}}
    kd = {"student_module_path": "qa_outputs", "student_module_io": "output", "reduction": "batchmean"}
    kd |= {"teacher_module_path": "qa_outputs", "teacher_module_io": "output", "temperature": 2.0, "alpha": 0.5}
    return {
        "log_freq": 500,
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "squad/train",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler, "kwargs": None},
            "kwargs": {
                "batch_size": batch_size,
                "num_workers": 0,
                "pin_memory": torch.cuda.is_available(),
                "drop_last": False,
            },
            "collate_fn": "collate",
            "requires_supp": False,
            "cache_output": None,
        },
        "teacher": model | {"requires_grad": False},
        "student": model | {"requires_grad": True},
        "optimizer": {
            "key": "AdamW",
            "kwargs": {"lr": 1.0e-4, "weight_decay": 0.0},
            "filters_params": True,  # the example's own optimizer only exempts some weights from a decay of 0
            "max_grad_norm": 1.0,
            "grad_accum_step": 1,
        },
        "scheduler": {
            "key": "get_linear_schedule_with_warmup",
            "kwargs": {"num_warmup_steps": 0, "num_training_steps": 1_000_000},
            "scheduling_step": 1,
        },
        "criterion": {
            "key": "WeightedSumLoss",
            "func2extract_model_loss": "extract_transformers_loss",
            "kwargs": {
                "model_term": {"weight": 1.0},
                "sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": kd}, "weight": 1.0}},
            },
        },
    }


def main() -> None:
    """Run until the gate is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("project", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("batch_size", type=int)
    parser.add_argument("--length", type=int)
    options = parser.parse_args()
    gate = Gate.from_environment()
    peer_data.import_torchvision()

    from torchdistill.core.distillation import get_distillation_box
    from torchdistill.core.interfaces.registry import register_forward_proc_func
    from torchdistill.datasets.registry import register_collate_func
    from torchdistill.losses.registry import register_func2extract_model_output
    from torchdistill.misc.log import MetricLogger, SmoothedValue
    from torchdistill.optim.registry import register_scheduler
    from transformers import AutoTokenizer, DataCollatorWithPadding, get_linear_schedule_with_warmup

    teacher, student = peer_data.models(options.project)
    device = next(student.parameters()).device
    tokenizer = AutoTokenizer.from_pretrained(options.project / "data/prepared/tokenizer")
    padding = "max_length" if options.length else True
    pad = DataCollatorWithPadding(tokenizer, padding=padding, max_length=options.length)

    def forward_batch_as_kwargs(model: Any, sample_batch: Any, targets: Any = None, supp_dict: Any = None) -> Any:
        return model(**sample_batch)

    def extract_transformers_loss(student_outputs: Any, targets: Any, **_: Any) -> dict[str, torch.Tensor]:
        return {"loss": student_outputs.loss}

    def collate(rows: list[dict[str, Any]]) -> Any:
        return pad(rows).to(device)

    register_forward_proc_func(forward_batch_as_kwargs)
    register_func2extract_model_output(extract_transformers_loss)
    register_collate_func(collate)
    register_scheduler(get_linear_schedule_with_warmup)
    data = {"squad/train": peer_data.rows(options.rows)}
    box = get_distillation_box(teacher, student, data, settings(options.batch_size), device, None, False, 1)
    box.train_data_loader = GatedLoader(box.train_data_loader, gate, lambda batch: batch["attention_mask"])
    logger = MetricLogger(delimiter="  ")
    logger.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
    box.pre_epoch_process(epoch=0)
    for batch in logger.log_every(box.train_data_loader, 500, "Epoch: [0]"):
        loss = box.forward_process(batch, targets=None, supp_dict=None)
        box.post_forward_process(loss=loss)
        logger.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])


if __name__ == "__main__":
    main()
