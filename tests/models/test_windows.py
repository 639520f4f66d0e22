"""A model is tried on the data's rows before training: its positions, its precision, and what padding does to it."""

import pytest
import torch

from distill.errors import UserError
from distill.models import windows
from distill.models.forward import autocast, forward_pass
from distill.tasks.registry import load_task
from tests.helpers import families, tiny

TASK = load_task("qa")
CLASSES = load_task("classification", labels=("a", "b", "c"))


def rows(*lengths):
    """Rows of different words between the special tokens of a RoBERTa."""
    made = []
    for length in lengths:
        words = [5 + (7 * place + length) % (tiny.VOCAB - 5) for place in range(length)]
        words[0], words[length // 3], words[length // 3 + 1], words[-1] = 2, 3, 3, 3
        made.append({"input_ids": words})
    return made


def check_window(model, *lengths, precision="fp32"):
    windows.check_window(model, TASK, rows(*lengths), 0, precision, "teacher")


def message(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_window_longer_than_the_positions_is_refused_before_training(kind):
    model = tiny.model(kind)
    check_window(model, 48)
    for lengths in ((65,), (65, 20)):
        with pytest.raises(UserError) as caught:
            check_window(model, *lengths)
        for part in ("features.max_length", "65 tokens", "teacher", "max_position_embeddings 64", "lower"):
            assert part in message(caught)
    assert model.training


def test_relative_positions_have_no_longest_window():
    check_window(tiny.model("deberta-v2"), 100)


def test_a_longformer_answers_questions_with_the_separators_of_its_tokenizer_and_is_refused_with_others():
    model = families.model("longformer", TASK)
    check_window(model, 40, 16)
    two = [{"input_ids": [2, 7, 3, *range(8, 20), 3]}]
    with pytest.raises(UserError) as caught:
        windows.check_window(model, TASK, two, 0, "fp32", "teacher")
    for part in ("params.yaml: teacher.model: this longformer cannot be run", "separator", "the tokenizer that it was"):
        assert part in message(caught)


def test_the_first_deberta_runs_in_bfloat16_and_trains():
    model = families.model("deberta", TASK)
    check_window(model, 40, precision="bf16")
    batch = tiny.batch()
    exact = forward_pass(model, TASK, batch).logits
    with autocast("cpu", "bf16"):
        logits = forward_pass(model, TASK, batch).logits
        TASK.loss(forward_pass(model.train(), TASK, batch).logits, batch).backward()
    real = batch["attention_mask"].bool()
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - exact)[real].abs().max() < 0.1 * exact[real].std()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) > 20 and all(gradient.isfinite().all() for gradient in gradients)


def test_a_model_that_does_not_run_in_bfloat16_is_refused_with_the_field():
    model = tiny.model("bert")
    model.bert.encoder.register_forward_pre_hook(refuse_bf16)
    check_window(model, 16)
    with pytest.raises(UserError) as caught:
        check_window(model, 16, precision="bf16")
    for part in ("params.yaml: teacher: precision: bf16: a bert does not run in it", "no bf16 here", "fp32"):
        assert part in message(caught)


def refuse_bf16(module, arguments):
    if torch.is_autocast_enabled("cpu"):
        raise RuntimeError("no bf16 here")


@pytest.mark.parametrize(
    ("family", "task"),
    [
        ("fnet", TASK), ("fnet", CLASSES), ("funnel", TASK), ("funnel", CLASSES), ("convbert", TASK),
        ("convbert", CLASSES), ("xlnet", CLASSES), ("yoso", CLASSES), ("mobilebert", TASK),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)  # fmt: skip
def test_models_that_compute_with_padding_are_refused(family, task):
    with pytest.raises(UserError) as caught:
        windows.check_padding(families.model(family, task), task, rows(40, 13, 16), 0, "student", 128)
    for part in ("params.yaml: student.model: padding a row to 128 tokens", f"of this {family} by up to"):
        assert part in message(caught)


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2", "modernbert", "xlnet"])
def test_weights_and_mode_are_the_same_after_the_check(family):
    model = families.model(family, TASK).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    windows.check_padding(model, TASK, rows(40, 13, 16), 0, "student")
    after = model.state_dict()
    assert set(before) == set(after) and model.training
    assert all(
        torch.equal(after[name], tensor) and after[name].dtype == tensor.dtype for name, tensor in before.items()
    )


def test_rows_that_fill_their_batches_are_never_padded():
    """Even an FNet is right then."""
    windows.check_padding(families.model("fnet", TASK), TASK, rows(16, 16), 0, "student")


def test_a_head_of_zeros_is_no_reason_to_refuse():
    model = families.model("bert", CLASSES)
    torch.nn.init.zeros_(model.classifier.weight)
    windows.check_padding(model, CLASSES, rows(40, 13, 16), 0, "student")


def test_longer_windows_that_change_a_models_attention_are_seen():
    """BigBird attends to all words in short batches and to blocks of them in long ones."""
    shape = {"max_position_embeddings": 256, "block_size": 4, "num_random_blocks": 1}
    sparse, full = (
        families.model("big_bird", TASK, **shape, attention_type=kind) for kind in ("block_sparse", "original_full")
    )
    windows.check_padding(full, TASK, rows(200, 16, 120), 0, "student")
    with pytest.raises(UserError, match="of this big_bird by up to"):
        windows.check_padding(sparse, TASK, rows(200, 120, 16), 0, "student")
