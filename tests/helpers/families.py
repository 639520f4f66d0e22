"""Tiny models of random weights of every family that docs/families.md names, and tokenizers as the families have."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers import models as vocabularies
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

from distill.tasks.base import Task

VOCAB = 40
WIDTH, LAYERS = 16, 2
_SHAPE = {
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "max_position_embeddings": 136,
}
_SHIFTED = {"max_position_embeddings": 140, "type_vocab_size": 1}  # positions begin behind the padding's
_RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
#: What a family's configuration has besides the common shape; None: in place of it.
SHAPES: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": _SHIFTED,
    "distilbert": {"n_layers": LAYERS, "dim": WIDTH, "hidden_dim": 32, "n_heads": 2, "max_position_embeddings": 136},
    "electra": {"embedding_size": 8},
    "albert": {"embedding_size": 8},
    "deberta": {**_RELATIVE, "type_vocab_size": 0},
    "deberta-v2": {**_RELATIVE, "type_vocab_size": 0, "conv_kernel_size": 3, "norm_rel_ebd": "layer_norm"},
    "deberta-v2 (v3)": {
        **_RELATIVE,
        "type_vocab_size": 0,
        "position_buckets": 8,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
    },
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "eurobert": {"num_key_value_heads": 2, "head_dim": 8},
    "nomic_bert": {},
    "gte": {},
    "jina_embeddings_v3": {"type_vocab_size": 1},
    "mpnet": {"max_position_embeddings": 140},
    "xlm-roberta": _SHIFTED,
    "xlm-roberta-xl": _SHIFTED,
    "xmod": {**_SHIFTED, "languages": ["en_XX"], "default_language": "en_XX"},
    "camembert": _SHIFTED,
    "data2vec-text": _SHIFTED,
    "roberta-prelayernorm": _SHIFTED,
    "ibert": _SHIFTED,
    "mobilebert": {
        "embedding_size": WIDTH,
        "true_hidden_size": WIDTH,
        "intra_bottleneck_size": WIDTH,
        "num_feedforward_networks": 2,
    },
    "squeezebert": {"embedding_size": WIDTH},
    "convbert": {"embedding_size": 8, "head_ratio": 1},
    "megatron-bert": {},
    "ernie": {},
    "roc_bert": {
        **{"enable_pronunciation": False, "enable_shape": False},
        **{"pronunciation_vocab_size": VOCAB, "shape_vocab_size": VOCAB},
    },
    "roformer": {"embedding_size": WIDTH},
    "rembert": {"input_embedding_size": 8, "output_embedding_size": 8},
    "big_bird": {"attention_type": "original_full"},
    "longformer": {"attention_window": [8] * LAYERS, "type_vocab_size": 1, "max_position_embeddings": 140},
    "luke": {**_SHIFTED, "entity_vocab_size": 10, "entity_emb_size": 8},
    "nystromformer": {},
    "yoso": {},
    "fnet": {"tpu_short_seq_length": 136},
    "funnel": {"block_sizes": [1, 2], "d_model": WIDTH, "n_head": 2, "d_head": 8, "d_inner": 32},
    "xlnet": {"n_layer": LAYERS, "d_model": WIDTH, "n_head": 2, "d_inner": 32},
    "flaubert": {"emb_dim": WIDTH, "n_layers": LAYERS, "n_heads": 2, "max_position_embeddings": 136},
    "xlm": {"emb_dim": WIDTH, "n_layers": LAYERS, "n_heads": 2, "max_position_embeddings": 136},
}
_OWN = {"distilbert", "funnel", "xlnet", "flaubert", "xlm"}

# Post-processors of the families' tokenizers, with the ids of `tokenizer`.
_BERT = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
_ROBERTA = "[CLS]:0 $A:0 [SEP]:0 [SEP]:0 $B:0 [SEP]:0"
TEMPLATES = {"funnel": "[CLS]:2 $A:0 [SEP]:0 $B:1 [SEP]:1", "xlnet": "$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2"}
_ROBERTAS = (
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "xmod", "camembert", "data2vec-text", "roberta-prelayernorm"),
    *("ibert", "mpnet", "longformer", "luke", "gte", "jina_embeddings_v3"),
)
TEMPLATES |= dict.fromkeys(_ROBERTAS, _ROBERTA)
_FNET = {"fnet": "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"}
TEMPLATES |= _FNET


def config(family: str, **fields: Any) -> Any:
    """The family's configuration in tiny sizes."""
    shape = SHAPES[family] if family in _OWN else _SHAPE | SHAPES[family]
    special = {"vocab_size": VOCAB, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}
    special |= {"bos_token_id": 2, "eos_token_id": 3, "mask_token_id": 4}
    return AutoConfig.for_model(family.split()[0], **{**special, **shape, **fields})


def model(family: str, task: Task, seed: int = 0, **fields: Any) -> PreTrainedModel:
    """A model in evaluation mode whose weights, the padding's too, are large enough to tell tokens apart."""
    described = config(family, **task.model_fields() | fields)
    torch.manual_seed(seed)
    built = task.auto_class().from_config(described, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return built


def tokenizer(family: str = "bert", pad: str = "[PAD]") -> PreTrainedTokenizerFast:
    """A tokenizer of whole words with the family's template, which lists no token types.

    Args:
        pad: the word that is its padding.
    """
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(VOCAB - 5))]
    backend = Tokenizer(vocabularies.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    pair = TEMPLATES.get(family, _BERT)
    single = "$A:0 [SEP]:0 [CLS]:2" if family == "xlnet" else f"{pair.split()[0]} $A:0 [SEP]:0"
    special = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
    names = {f"{name.lower()[1:-1]}_token": name for name in words[:5]} | {"pad_token": pad}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=["input_ids", "attention_mask"], **names)
