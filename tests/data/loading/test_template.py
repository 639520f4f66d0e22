"""What tokenizers put around texts; token types come from the template, whatever the tokenizer's class lists."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AlbertTokenizer,
    AutoTokenizer,
    DistilBertTokenizer,
    FunnelTokenizer,
    PreTrainedTokenizerFast,
    RemBertTokenizer,
    XLMRobertaTokenizer,
)

from distill.data.features import question_features, text_features
from distill.data.loading import template
from distill.data.loading.template import Template, with_token_types
from distill.data.loading.tokenizer import load
from distill.errors import UserError
from tests.helpers import text

WORDS = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
PIECES = [(word, -float(i)) for i, word in enumerate([*WORDS[:5], "▁a", "▁b"])]


def tokenizer(pair=None, single="[CLS] $A [SEP]", **options):
    """A tokenizer of whole words; None: without a post-processor."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if pair:
        special = [("[CLS]", 2), ("[SEP]", 3)]
        backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "<pad>", "unk_token": "<unk>"}
    names["model_input_names"] = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names | options)


BERT = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
ROBERTA = "[CLS] $A [SEP] [SEP] $B [SEP]"


def types(made, rows):
    encoded = list(text_features.encode(rows, made, 64, numeric=False))[0][0]
    return encoded.column("token_type_ids").to_pylist() if "token_type_ids" in encoded.schema.names else None


def test_a_template_is_read_from_the_post_processor():
    pair, single = Template(tokenizer(BERT), pair=True), Template(tokenizer(BERT), pair=False)
    assert (pair.ids.tolist(), pair.kinds.tolist(), pair.sizes.tolist()) == ([2, 3, 3], [0, 0, 1], [1, 1, 1])
    assert (pair.texts, pair.cls, pair.typed) == ((0, 1), 0, True)
    assert (single.ids.tolist(), single.sizes.tolist(), single.texts, single.typed) == ([2, 3], [1, 1], (0,), False)
    bare = Template(tokenizer(), pair=True)
    assert (bare.ids.tolist(), bare.sizes.tolist(), bare.cls) == ([], [0, 0, 0], None)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (AlbertTokenizer, {"vocab": PIECES}, [0, 0, 0, 1, 1]),
        (RemBertTokenizer, {"vocab": PIECES}, [0, 0, 0, 1, 1]),
        (FunnelTokenizer, {"vocab": {w: i for i, w in enumerate(["<pad>", "<unk>", "<cls>", "<sep>", "a", "b"])}},
         [2, 0, 0, 1, 1]),
        (DistilBertTokenizer, {"vocab": {w: i for i, w in enumerate(["[PAD]", "[UNK]", *WORDS[2:]])}},
         [0, 0, 0, 1, 1]),
        (XLMRobertaTokenizer, {"vocab": [("<s>", 0.0), *PIECES[:2], ("</s>", 0.0), ("▁a", -1.0), ("▁b", -2.0)]}, None),
    ],
    ids=["albert", "rembert", "funnel", "distilbert", "xlm-roberta"],
)  # fmt: skip
def test_token_types_are_made_where_the_template_has_them(kind, options, expected, tmp_path):
    """The classes of these tokenizers list no token types, though ALBERT and RemBERT learnt with two."""
    kind(**options).save_pretrained(tmp_path)
    loaded = load(str(tmp_path))
    pair = types(loaded, text.rows([("a", "b")], [0]))
    assert pair == (None if expected is None else [expected])
    questions = question_features.schema(loaded).names
    assert ("token_type_ids" in questions) == (expected is not None)


def test_the_setting_is_saved_only_for_a_model_that_reads_token_types(tmp_path):
    made = with_token_types(tokenizer(BERT))
    assert made.model_input_names == ["input_ids", "attention_mask", "token_type_ids"]
    for name, typed in (("read", True), ("ignored", False)):
        template.save(made, tmp_path / name, typed)
    tokenizer(BERT).save_pretrained(tmp_path / "plain")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "ignored" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    for name, expected in (("read", [0, 0, 0, 1, 1]), ("ignored", None)):
        plain = AutoTokenizer.from_pretrained(tmp_path / name)("a", "b")
        assert plain.get("token_type_ids") == expected
    assert made.model_input_names == ["input_ids", "attention_mask", "token_type_ids"]
    assert with_token_types(tokenizer(ROBERTA)).model_input_names == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("pair", [None, "$A [SEP] $B [SEP]", "$A [SEP] $B [SEP] [CLS]"])
def test_texts_without_a_cls_token_in_front_are_refused(pair):
    made = tokenizer(pair, single="$A [SEP]" if pair and "CLS" not in pair else "$A [SEP] [CLS]")
    for rows in (text.rows(["a"], [0]), text.rows([("a", "b")], [0])):
        with pytest.raises(UserError, match=r"puts no cls token \(\[CLS\]\) in front of a text") as caught:
            types(made, rows)
        assert "\n" not in str(caught.value) and "post_processor" in str(caught.value)


def test_pairs_without_a_separator_are_refused_and_single_texts_are_not():
    made = tokenizer("[CLS] $A $B [SEP]")
    with pytest.raises(UserError, match="puts no separator between two texts"):
        types(made, text.rows([("a", "b")], [0]))
    assert types(made, text.rows(["a"], [0])) is None


def test_questions_without_a_cls_token_are_refused():
    row = {"id": "1", "question": "a", "context": "b", "answers": {"text": [], "answer_start": []}}
    with pytest.raises(UserError, match="adds no cls token to a text"):
        list(question_features.encode([row], tokenizer(), 64, 8))
