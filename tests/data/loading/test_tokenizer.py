"""Training is deterministic and BERT's; saved tokenizers come back the same; broken ones are refused."""

import json
import os
import subprocess
import sys

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, BertConfig, DebertaV2Config, PreTrainedTokenizerFast

from distill.data.loading import tokenizer as tokenizers_module
from distill.data.loading.tokenizer import SPECIAL_TOKENS, fingerprint, load, train
from distill.errors import UserError

TEXTS = [
    "The river Limmat flows out of Lake Zürich and joins the Aare.",
    "Who founded the old bank in the harbour, and when was it founded?",
    "The bank was founded in 1863 by Ada Larsen; banks and rivers flow on.",
    "東京 and Zürich, naïve cafés.",
] * 3


def same_backend(a, b) -> bool:
    return json.loads(a.backend_tokenizer.to_str()) == json.loads(b.backend_tokenizer.to_str())


def test_special_tokens_come_first_and_pairs_follow_berts_template():
    trained = train(TEXTS, 300, lowercase=True)
    assert trained.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    encoded = trained("Who founded it?", "The bank.")
    tokens = trained.convert_ids_to_tokens(encoded["input_ids"])
    assert (tokens[0], tokens[-1], tokens.count("[SEP]")) == ("[CLS]", "[SEP]", 2)
    second = tokens.index("[SEP]") + 1
    assert encoded["token_type_ids"] == [0] * second + [1] * (len(tokens) - second)
    assert trained.pad_token_id == 0 and trained.mask_token_id == 4


def test_training_texts_have_no_unknown_and_frequent_words_are_whole():
    trained = train(TEXTS, 300, lowercase=True)
    for text in TEXTS:
        assert trained.unk_token_id not in trained(text)["input_ids"]
    assert trained.tokenize("the bank") == ["the", "bank"]
    assert trained.tokenize("\N{BLACK HEART SUIT}") == ["[UNK]"]
    assert len(trained) <= 300


def test_case_and_accents():
    assert train(TEXTS, 300, lowercase=True).tokenize("ZÜRICH") == train(TEXTS, 300, lowercase=True).tokenize("zurich")
    cased = train(TEXTS, 300, lowercase=False)
    assert cased.tokenize("Zürich") != cased.tokenize("zürich")
    assert "Z" in cased.get_vocab() and "z" not in train(["Z"], 10, lowercase=False).get_vocab()


def test_vocabulary_is_filled_to_its_size():
    assert len(train(TEXTS, 120, lowercase=True)) == 120


def test_another_process_trains_the_same_vocabulary():
    # The hash map that makes `tokenizers` alone differ from run to run is seeded per process.
    program = (
        "import sys, json; from distill.data.loading.tokenizer import train, fingerprint;"
        "print(fingerprint(train(json.load(sys.stdin), 150, True)))"
    )
    source = os.path.dirname(os.path.dirname(os.path.dirname(tokenizers_module.__file__)))
    found = {fingerprint(train(TEXTS, 150, lowercase=True))}
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONPATH": source, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, input=json.dumps(TEXTS), text=True, capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout.strip())
    assert len(found) == 1


def test_vocabulary_too_small_for_the_characters():
    with pytest.raises(UserError, match=r"features\.tokenizer\.vocab_size = 20 .*raise it to \d+"):
        train(TEXTS, 20, lowercase=True)


def test_no_text():
    with pytest.raises(UserError, match="2 texts hold no word"):
        train(["", " "], 100, lowercase=True)


@pytest.mark.parametrize("config", [None, BertConfig, DebertaV2Config])
def test_saved_tokenizer_comes_back_identical_beside_any_model(tmp_path, config):
    trained = train(TEXTS, 200, lowercase=False)
    trained.save_pretrained(tmp_path)
    if config:
        config().save_pretrained(tmp_path)
    back = AutoTokenizer.from_pretrained(tmp_path)
    assert back.is_fast
    assert same_backend(back, trained)
    assert back.get_vocab() == trained.get_vocab()
    assert back.model_input_names == trained.model_input_names == ["input_ids", "token_type_ids", "attention_mask"]
    assert dict(back("Who?", "The Bank.")) == dict(trained("Who?", "The Bank."))
    assert fingerprint(back) == fingerprint(trained)


@pytest.mark.parametrize("name", ["minilm-l6-h384", "deberta-v3-tokenizer"])
def test_pretrained_tokenizers_load_save_and_keep_their_fingerprint(shared, tmp_path, name):
    loaded = load(str(shared / "models" / name))
    loaded.save_pretrained(tmp_path)
    back = load(str(tmp_path))
    assert same_backend(back, loaded)
    assert fingerprint(back) == fingerprint(loaded)


def test_fingerprint_ignores_padding_and_truncation_and_sees_the_rest():
    trained = train(TEXTS, 120, lowercase=True)
    before = fingerprint(trained)
    trained("a b c d e f", truncation=True, max_length=4, padding="max_length")
    assert fingerprint(trained) == before
    assert fingerprint(train(TEXTS, 119, lowercase=True)) != before
    uncased, cased = train(["abc"], 20, lowercase=True), train(["abc"], 20, lowercase=False)
    assert uncased.get_vocab() == cased.get_vocab()
    assert fingerprint(uncased) != fingerprint(cased)


def test_tokenizer_that_cannot_be_loaded(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"cut off')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(UserError) as caught:
        load(str(tmp_path), "v1")
    message = str(caught.value)
    assert message.startswith(f"features.tokenizer.path = {tmp_path} (revision v1): cannot be loaded")
    assert len(message.splitlines()) == 1


def test_tokenizer_without_the_tokens_that_questions_need(tmp_path):
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no cls_token"):
        load(str(tmp_path))


def test_a_folder_without_its_vocabulary(tmp_path):
    # transformers makes a tokenizer of the special tokens alone, without a word.
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "DebertaV2Tokenizer"}')
    with pytest.raises(UserError, match="no vocabulary but special tokens"):
        load(str(tmp_path))
