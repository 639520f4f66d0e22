"""Tiny models and padded batches, for tests that compare numbers with formulas written out in float64."""

import copy

import datasets
import torch
from transformers import AutoConfig, AutoModelForQuestionAnswering, PreTrainedTokenizerFast
from transformers.models.bert import BertTokenizer

from distill.config.machine import Runtime
from distill.config.schema import Training

VOCAB = 40

SHAPES = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "electra": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "embedding_size": 6},
    "roberta": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "type_vocab_size": 2},
    "modernbert": {
        "global_attn_every_n_layers": 2,
        "local_attention": 8,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
    },
    "deberta-v2": {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "relative_attention": True,
        "max_relative_positions": 8,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "type_vocab_size": 2,
    },
}


def shape(kind: str, layers: int, width: int) -> dict:
    """Fields of a transformers configuration, dropout off."""
    if kind == "distilbert":
        return {
            "model_type": kind,
            "n_layers": layers,
            "dim": width,
            "hidden_dim": 2 * width,
            "n_heads": 2,
            "max_position_embeddings": 64,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            "qa_dropout": 0.0,
        }
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        **SHAPES[kind],
    }


def model(kind: str = "bert", layers: int = 2, width: int = 8, seed: int = 0, **fields):
    """A question-answering model whose weights are large enough to tell tokens apart."""
    described = shape(kind, layers, width) | {"vocab_size": VOCAB, "pad_token_id": 0} | fields
    torch.manual_seed(seed)
    built = AutoModelForQuestionAnswering.from_config(AutoConfig.for_model(described.pop("model_type"), **described))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return built


def double(module: torch.nn.Module) -> torch.nn.Module:
    """A copy in float64."""
    return copy.deepcopy(module).double()


def tokenizer() -> PreTrainedTokenizerFast:
    """As many tokens as the models have embeddings."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(VOCAB - 5))]
    return BertTokenizer(vocab={word: i for i, word in enumerate(words)})


def features(count: int = 24, seed: int = 0, longest: int = 20) -> datasets.Dataset:
    """Feature rows of random tokens and of different lengths, with answers inside."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    rows = []
    for _ in range(count):
        length = draw(5, longest + 1)
        start = draw(0, length)
        rows.append(
            {
                "input_ids": [2, *(draw(5, VOCAB) for _ in range(length - 1))],
                "token_type_ids": [int(i > length // 3) for i in range(length)],
                "length": length,
                "start_positions": start,
                "end_positions": draw(start, length),
            }
        )
    return datasets.Dataset.from_list(rows)


def batch(lengths: tuple[int, ...] = (9, 5, 7), width: int = 12, seed: int = 0) -> dict[str, torch.Tensor]:
    """A padded batch; the padding has token ids of its own, so that a loss that looks at it is found out."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, VOCAB, (len(lengths), width), generator=generator)
    types = torch.randint(0, 2, (len(lengths), width), generator=generator)
    start = torch.tensor([length // 3 for length in lengths])
    return {
        "input_ids": torch.where(real, ids, 0),
        "token_type_ids": torch.where(real, types, 0),
        "attention_mask": real.long(),
        "start_positions": start,
        "end_positions": start + 1,
        "index": torch.arange(len(lengths)),
    }


def wider(given: dict[str, torch.Tensor], by: int) -> dict[str, torch.Tensor]:
    """The same batch with more padding."""
    return {
        name: torch.nn.functional.pad(value, (0, by)) if value.dim() == 2 else value for name, value in given.items()
    }


def training(**changes) -> Training:
    """Hyper-parameters of a short training without warm-up."""
    values = {
        "epochs": 1,
        "max_steps": 6,
        "learning_rate": 1e-2,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "weight_decay": 0.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
        "lr_scheduler": "linear",
        "warmup": 0.0,
        "precision": "fp32",
        "group_by_length": False,
        "log_every": 2,
        "evaluations": 0,
        "keep": "last",
        "patience": None,
        "class_weights": None,
    }
    return Training.model_validate(values | changes)


def runtime(checkpoint_steps: int = 2, **changes) -> Runtime:
    """Checkpoints often, two kept; nothing that makes a machine faster."""
    values = {
        "checkpoint_steps": checkpoint_steps,
        "checkpoints_kept": 2,
        "threads": None,
        "workers": 0,
        "compile": False,
        "gradient_checkpointing": False,
        "attention": "auto",
    }
    return Runtime.model_validate(values | changes)
