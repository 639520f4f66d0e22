"""Students without the tokens that their texts never use: the same tokens and logits on texts that are covered."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.deberta_v2 import DebertaV2Tokenizer
from transformers.models.xlm_roberta import XLMRobertaTokenizer

from distill.data.loading import tokenizer as tokenizers
from distill.errors import UserError
from distill.export import vocabulary
from distill.tasks.registry import load_task

TASK = load_task("classification", labels=("a", "b"))
WORDS = [
    a + b + c for a in ("under", "re", "lo") for b in ("build", "found", "nam", "west") for c in ("ing", "ed", "er")
]
TEXTS = [" ".join(WORDS[(5 * i + 7 * k) % len(WORDS)] for k in range(6)) for i in range(36)]
COVERED, OTHER = [" ".join(WORDS[3 * i : 3 * i + 3]) for i in range(3)], "louesting relobuilder ¤"


def wordpiece():
    return tokenizers.train(TEXTS, 150, True)


def unigram(kind):
    """SentencePiece's pieces as XLM-R and DeBERTa have them."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(TEXTS, trainers.UnigramTrainer(vocab_size=90, unk_token="<x>", special_tokens=["<x>"]))
    pieces = [tuple(piece) for piece in json.loads(trained.to_str())["model"]["vocab"] if piece[0] != "<x>"]
    if kind == "xlm-roberta":
        special = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
        return XLMRobertaTokenizer(vocab=[*special, *pieces, ("<mask>", 0.0)])
    special = [(name, 0.0) for name in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    return DebertaV2Tokenizer(vocab=[*special, *pieces], unk_id=3)  # [MASK] is an added token behind the pieces


def byte_pairs():
    """Bytes and merges as RoBERTa has them."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos": "<s>", "cls": "<s>", "sep": "</s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{name}_token": token for name, token in names.items()}
    )


MADE = {
    "bert": wordpiece,
    "roberta": byte_pairs,
    "xlm-roberta": lambda: unigram("xlm-roberta"),
    "deberta-v2": lambda: unigram("deberta-v2"),
}


def model(kind, tokenizer):
    shape = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer) + 3, **shape, **special, **TASK.model_fields())
    torch.manual_seed(0)
    built = TASK.auto_class().from_config(config).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return built


def logits(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        return model(**batch).logits


@pytest.mark.parametrize("kind", MADE)
def test_covered_texts_have_the_same_tokens_and_logits(kind, tmp_path):
    whole = MADE[kind]()
    whole.save_pretrained(tmp_path / "whole")
    whole = tokenizers.load(str(tmp_path / "whole"))
    full = model(kind, whole)
    stay = vocabulary.staying(whole, {token for text in COVERED for token in whole.encode(text)})
    assert len(stay) < len(whole) - 10
    trimmed = vocabulary.trim_tokenizer(whole, stay, tmp_path / "student", TEXTS)
    small = vocabulary.trim_model(full, TASK, stay)
    small.save_pretrained(tmp_path / "student")
    # A plain transformers checkpoint.
    small = TASK.auto_class().from_pretrained(tmp_path / "student")
    plain = AutoTokenizer.from_pretrained(tmp_path / "student")
    assert (
        len(plain) == len(trimmed) == small.config.vocab_size == len(small.get_input_embeddings().weight) == len(stay)
    )
    for first, second in (*zip(COVERED, COVERED[1:], strict=False), (COVERED[0], None)):
        before = whole(first, second)["input_ids"]
        assert [int(stay[token]) for token in plain(first, second)["input_ids"]] == before
    # The order of the rows' padding is the same too: bit for bit.
    assert torch.equal(logits(small, plain, COVERED), logits(full, whole, COVERED))
    # Other texts are cut into smaller pieces; what was known is not unknown now.
    ids = plain.encode(OTHER)
    assert len(ids) > len(whole.encode(OTHER)) and ids.count(plain.unk_token_id) == whole.encode(OTHER).count(
        whole.unk_token_id
    )
    for name in ("pad", "cls", "sep", "mask", "unk"):
        assert int(stay[getattr(plain, f"{name}_token_id")]) == getattr(whole, f"{name}_token_id")


def test_the_piece_that_scores_unknown_characters_stays(tmp_path):
    """Without `low`, an unknown character costs less, and `b¤` would be cut otherwise."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("a", -2.0), ("low", -50.0)]
    pieces += [("b", -1.0), ("b¤", -45.0), ("<mask>", 0.0)]
    whole = XLMRobertaTokenizer(vocab=pieces)
    stay = vocabulary.staying(whole, whole.encode("b¤ a"))
    assert "low" in whole.convert_ids_to_tokens(stay.tolist())
    trimmed = vocabulary.trim_tokenizer(whole, stay, tmp_path, ["b¤ a"])
    assert trimmed.tokenize("b¤ a") == whole.tokenize("b¤ a") == ["▁", "b¤", "▁", "a"]


def test_other_kinds_of_vocabularies_are_refused():
    whole = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(UserError, match="cannot be trimmed: its vocabulary is a WordLevel, not one of WordPiece, BPE"):
        vocabulary.staying(whole, [0])


def test_used_tokens_are_those_of_all_that_models_learn_from():
    """Not those of the split that scores are reported on."""
    import datasets

    splits = {"train": [[2, 9], [2, 5]], "selection": [[7]], "transfer": [[30]], "validation": [[11]]}
    tables = {name: datasets.Dataset.from_dict({"input_ids": rows}) for name, rows in splits.items()}
    data = type("Data", (), {"meta": {"splits": splits}, "features": lambda _, split: tables[split]})()
    assert np.array_equal(vocabulary.used(data), [2, 5, 7, 9, 30])


def test_a_real_student_gives_the_same_logits_on_real_sentences(shared, tmp_path):
    """MiniLM with 30,522 tokens, of which 2,000 training phrases of SST-2 need a fraction."""
    folder = shared / "models/minilm-l6-h384"
    whole = tokenizers.load(str(folder))
    lines = (shared / "data/sst2/train.tsv").read_text().splitlines()[1:2001]
    texts = [line.split("\t")[0] for line in lines]
    stay = vocabulary.staying(whole, {token for row in whole(texts)["input_ids"] for token in row})
    assert len(stay) < 8_000
    trimmed = vocabulary.trim_tokenizer(whole, stay, tmp_path, texts)
    full = TASK.auto_class().from_pretrained(folder, dtype=torch.float32).eval()
    small = vocabulary.trim_model(full, TASK, stay)
    assert full.num_parameters() - small.num_parameters() == (len(whole) - len(stay)) * 384
    assert torch.equal(logits(small, trimmed, texts[:32]), logits(full, whole, texts[:32]))
