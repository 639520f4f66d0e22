"""What works with every family of models, task by task and method by method, as docs/families.md shows it."""

from typing import Any

import pytest

from distill.errors import UserError
from distill.export import onnx
from distill.inference.model import onnx_run, onnx_session, torch_run
from distill.models import windows
from tests.helpers import families, family_batches, family_methods, family_page, family_table, micro


def like_another() -> set[str]:
    """Families that the program, their configuration and the page set apart from another one by nothing but the name.

    They have the same configuration, template of the tokenizer and rows of the page as a family before them,
    and no file of src/distill names them.
    """
    code = "".join(path.read_text(encoding="utf-8") for path in (micro.ROOT / "src/distill").rglob("*.py"))
    seen, found = set(), set()
    for family, fields in families.SHAPES.items():
        rows = tuple(row.removeprefix(f"| {family} |") for row in rows_of(family))
        described = (str(fields), families.TEMPLATES.get(family), rows)
        if described in seen and f'"{family.split()[0]}"' not in code:
            found.add(family)
        seen.add(described)
    return found


def rows_of(family: str) -> list[str]:
    """The page's."""
    return [row for row in family_page.PAGE.read_text().splitlines() if row.startswith(f"| {family} |")]


def every_family() -> list[Any]:
    """What another family shows too is exhaustive."""
    same = like_another()
    return [pytest.param(name, marks=pytest.mark.exhaustive) if name in same else name for name in families.SHAPES]


@pytest.mark.parametrize("family", every_family())
def test_every_cell_works_or_is_refused_in_one_line(family):
    result = family_table.result(family)
    reasons = [*result.tasks.values(), *result.shared.values(), result.half, result.layers]
    for reason in (*reasons, *(reason for found in result.methods.values() for reason in found.values())):
        assert "\n" not in reason
        if reason and reason != family_table.NO_HEAD:
            assert reason.startswith(("params.yaml: ", "features.tokenizer: ")) and ": " in reason
    assert rows_of(family) == [family_page.task_line(family, result), family_page.method_line(family, result)]


def test_the_page_has_every_family_and_the_words_of_the_program():
    """Rows are compared above, family by family; here all around them."""
    shown = family_page.PAGE.read_text()
    rows = [line for line in shown.splitlines() if line.startswith("| ") and not line.startswith("| family")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [*families.SHAPES, *families.SHAPES]
    without = "\n".join(line for line in shown.splitlines() if line not in rows)
    assert without.split() == family_page.page({}).split()


@pytest.mark.parametrize("name", family_batches.TASKS)
def test_every_method_runs_on_every_task_that_it_learns(name):
    """With a BERT; other families go by what methods do with a model, not by the method."""
    task = family_batches.TASKS[name]
    reasons = family_table.of_methods("bert", task, "bert", families.model("bert", task), None)
    assert not any(reasons.values()) and {*family_methods.SHOWN, "freelb", "rail"} <= reasons.keys()


# Layers are written one like the other, which takes seconds each; ModernBERT has two kinds.
EXPORTED = {"modernbert": 2, "albert": 1, "mpnet": 1, "longformer": 1}


# The program does nothing of its own for these. BERT, DistilBERT, DeBERTa and a refusal: tests/export/test_onnx.py.
@pytest.mark.exhaustive
@pytest.mark.parametrize("family", EXPORTED)
def test_onnx_gives_pytorchs_logits_or_is_refused(family, tmp_path):
    task, file = family_batches.TASKS["classification"], tmp_path / "model.onnx"
    fields = {"attention_window": [8]} if family == "longformer" else {}
    model = families.model(family, task, num_hidden_layers=EXPORTED[family], **fields)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    if family in family_table.NOT_EXPORTED:
        with pytest.raises(UserError, match=f"torch.onnx.export cannot export a {family}"):
            onnx.write(model, task.per_token, names, file)
        return
    onnx.write(model, task.per_token, names, file)
    for row in family_batches.rows(task, family):
        for width in (len(row["input_ids"]), family_batches.WIDTH):
            batch = {name: value.numpy() for name, value in windows.batch_of(row, width, 0).items()}
            exported, reference = (run(batch) for run in (onnx_run(onnx_session(file)), torch_run(model, task)))
            onnx.check_parity(exported, reference, file)
            assert abs(exported - reference).max() <= 1e-4 * reference.std()
