"""What works with every family of models, task by task and method by method, as docs/families.md shows it."""

import pytest

from distill.errors import UserError
from distill.export import onnx
from distill.inference.model import onnx_run, onnx_session, torch_run
from distill.models import windows
from tests.helpers import families, family_batches, family_methods, family_page, family_table


@pytest.mark.parametrize("family", families.SHAPES)
def test_every_cell_works_or_is_refused_in_one_line(family):
    result = family_table.result(family)
    reasons = [*result.tasks.values(), *result.shared.values(), result.half, result.layers]
    for reason in (*reasons, *(reason for found in result.methods.values() for reason in found.values())):
        assert "\n" not in reason
        if reason and reason != family_table.NO_HEAD:
            assert reason.startswith(("params.yaml: ", "features.tokenizer: ")) and ": " in reason
    lines = [row for row in family_page.PAGE.read_text().splitlines() if row.startswith(f"| {family} |")]
    assert lines == [family_page.task_line(family, result), family_page.method_line(family, result)]


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


@pytest.mark.slow  # an export takes seconds; tests/export/test_onnx.py has BERT, DistilBERT, RoBERTa and DeBERTa
@pytest.mark.parametrize("family", ["albert", "modernbert", "mpnet", "longformer"])
def test_onnx_gives_pytorchs_logits_or_is_refused(family, tmp_path):
    task, file = family_batches.TASKS["classification"], tmp_path / "model.onnx"
    model = families.model(family, task)
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
