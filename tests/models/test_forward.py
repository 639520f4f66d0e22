"""Token types reach a model only where it has them, and no others than it has."""

import pytest
import torch

from distill.models.forward import forward_pass, reads_token_types
from distill.models.loading import save
from distill.tasks.registry import load_task
from tests.helpers import families, tiny

TASK = load_task("qa")
CLASSES = load_task("classification", labels=("a", "b", "c"))


def logits(model, **changes):
    batch = tiny.batch() | changes
    task = TASK if hasattr(model, "qa_outputs") else CLASSES
    with torch.no_grad():
        return forward_pass(model, task, {name: value for name, value in batch.items() if value is not None}).logits


@pytest.mark.parametrize(
    ("family", "reads"),
    [
        ("bert", True), ("albert", True), ("big_bird", True), ("rembert", True), ("funnel", True), ("xlnet", True),
        ("roberta", False), ("xlm-roberta", False), ("camembert", False), ("data2vec-text", False),
        ("longformer", False), ("deberta-v2", False), ("distilbert", False), ("mpnet", False), ("modernbert", False),
    ],
)  # fmt: skip
def test_a_model_with_one_token_type_or_none_gets_none(family, reads):
    """BERT's tokenizer makes two; a table of one has no row for the second."""
    model = families.model(family, CLASSES)
    assert reads_token_types(model) is reads
    types = tiny.batch()["token_type_ids"]
    assert torch.equal(logits(model, token_type_ids=types), logits(model, token_type_ids=None)) is not reads


@pytest.mark.parametrize("count", [2, 3, 4])
def test_types_beyond_the_models_are_zero(count):
    """Funnel's and XLNet's tokenizers give the cls token the type 2."""
    model = families.model("bert", TASK, type_vocab_size=count)
    types = tiny.batch()["token_type_ids"].clone()
    types[:, 0] = 2
    expected = types.clone()
    expected[:, 0] = 2 if count > 2 else 0
    zero = types.clone()
    zero[:, 0] = 0
    assert torch.equal(logits(model, token_type_ids=types), logits(model, token_type_ids=expected))
    assert torch.equal(logits(model, token_type_ids=types), logits(model, token_type_ids=zero)) is (count == 2)


def test_a_student_is_saved_with_a_tokenizer_that_makes_what_it_learnt_with(tmp_path):
    """Plain transformers, which goes by the tokenizer's class, would feed an ALBERT zeros."""
    from transformers import AutoTokenizer

    from distill.data.loading.tokenizer import load

    families.tokenizer("albert").save_pretrained(tmp_path / "data")
    for family, types in (("albert", [0, 0, 0, 1, 1]), ("distilbert", None), ("roberta", None)):
        save(families.model(family, TASK), load(str(tmp_path / "data")), tmp_path / family)
        assert AutoTokenizer.from_pretrained(tmp_path / family)("w1", "w2").get("token_type_ids") == types
