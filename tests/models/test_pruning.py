"""Students whose layers keep the most important feed-forward units and heads of the teacher's."""

import pytest
import torch

from distill.config.schema import Model
from distill.errors import UserError
from distill.models import pruning
from distill.models.forward import forward_pass
from distill.models.initialization import check_copy, from_layers
from distill.models.labelled_batches import labelled_batches
from distill.tasks.registry import load_task
from tests.helpers import families, family_batches, tiny

TASK = load_task("classification", labels=("a", "b", "c"))
WIDE = {"distilbert": "hidden_dim", "xlnet": "d_inner"}


def fewer(**fields):
    return Model(path=None, revision=None, config=fields)


def batches():
    yield family_batches.batch(TASK, "bert")


def logits(model):
    with torch.no_grad():
        return forward_pass(model.eval(), TASK, family_batches.batch(TASK, "bert")).logits


def silence(model, cuts):
    """Make every second unit of each cut worthless; what it puts out is multiplied by 0."""
    with torch.no_grad():
        for cut in cuts:
            weight = model.get_submodule(cut.output).weight
            weight[:, pruning.slices(torch.arange(1, cut.count, 2), weight.shape[1], cut.count)] = 0.0


@pytest.mark.parametrize(
    "family",
    [
        "bert",
        "distilbert",
        "electra",
        "deberta-v2 (v3)",
        "modernbert",
        "eurobert",
        "gte",
        "xlnet",
        "roberta-prelayernorm",
    ],
)
def test_units_that_say_nothing_are_left_out_and_a_plain_checkpoint_has_the_same_logits(family, tmp_path):
    teacher = families.model(family, TASK)
    field = {WIDE.get(family, "intermediate_size"): 16}
    cuts, _ = pruning.narrowed(teacher, field, [1, 2], "student")
    silence(teacher, cuts)
    student = from_layers(fewer(**field), teacher, [1, 2], TASK, 0, batches=batches)
    assert student.num_parameters() < teacher.num_parameters() - 2 * 2 * 16 * 15
    torch.testing.assert_close(logits(student), logits(teacher), rtol=1e-5, atol=1e-6)
    student.save_pretrained(tmp_path)
    plain = TASK.auto_class().from_pretrained(tmp_path)
    assert torch.equal(logits(plain), logits(student))
    planned = check_copy(section(**field), teacher.config, TASK, "student")
    assert all(getattr(planned, name) == getattr(plain.config, name) == 16 for name in field)


def section(**fields):
    """What `check_copy` reads of section student."""
    return type("Section", (), {"model": fewer(**fields), "layers": [1, 2], "num_layers": None})()


@pytest.mark.parametrize(("family", "own"), [("nomic_bert", {}), ("eurobert", {"num_key_value_heads": 2})])
def test_heads_that_say_nothing_are_left_out_where_a_configuration_can_say_so(family, own, tmp_path):
    shape = {"num_attention_heads": 4, "head_dim": 4}
    teacher = families.model(family, TASK, **(shape | own))
    cuts, fields = pruning.narrowed(teacher, {"num_attention_heads": 2}, [1, 2], "student")
    assert fields["head_dim"] == 4 and {cut.count for cut in cuts} == {own.get("num_key_value_heads", 4)}
    silence(teacher, cuts)
    said = []
    student = from_layers(fewer(num_attention_heads=2), teacher, [1, 2], TASK, 0, batches=batches, say=said.append)
    assert len(said) == 1 and said[0].startswith(
        f"student: each layer keeps the {cuts[0].keep} of {cuts[0].count} heads"
    )
    torch.testing.assert_close(logits(student), logits(teacher), rtol=1e-5, atol=1e-6)
    student.save_pretrained(tmp_path)
    plain = TASK.auto_class().from_pretrained(tmp_path)
    assert plain.config.num_attention_heads == 2 and torch.equal(logits(plain), logits(student))


@pytest.mark.parametrize(("family", "field"), [("bert", "intermediate_size"), ("nomic_bert", "num_attention_heads")])
def test_importance_is_the_slope_of_each_rows_loss_in_the_size_of_a_unit(family, field):
    """Central differences in float64, row by row and unit by unit; two batches, of two rows and of one."""
    model = families.model(family, TASK, intermediate_size=6).double()
    cuts, _ = pruning.narrowed(model, {field: 1}, [1, 2], "student")
    rows = family_batches.batch(TASK, "bert")
    one = [{name: value[i : i + 1] for name, value in rows.items()} for i in range(3)]
    two = {name: value[:2] for name, value in rows.items()}
    found = pruning.importance(model, TASK, cuts, [two, one[2]])
    for cut in cuts:
        weight = model.get_submodule(cut.output).weight
        for unit in range(cut.count):
            columns = pruning.slices(torch.tensor([unit]), weight.shape[1], cut.count)
            slopes = [slope(model, row, weight, columns) for row in one]
            expected = sum(abs(value) for value in slopes) / 3
            assert found[cut.output][unit].item() == pytest.approx(expected, rel=1e-4, abs=1e-8)  # losses are float32


def slope(model, row, weight, columns, step=1e-4):
    before, losses = weight.detach().clone(), []
    for factor in (1 + step, 1 - step):
        with torch.no_grad():
            weight[:, columns] = before[:, columns] * factor
            losses.append(
                torch.nn.functional.cross_entropy(forward_pass(model, TASK, row).logits, row["labels"]).item()
            )
            weight.copy_(before)
    return (losses[0] - losses[1]) / (2 * step)


def test_each_copied_layer_keeps_its_own_units():
    teacher = families.model("bert", TASK)
    cuts, _ = pruning.narrowed(teacher, {"intermediate_size": 4}, [2], "student")
    scores = pruning.importance(teacher, TASK, cuts, batches())["bert.encoder.layer.1.output.dense"]
    best = scores.topk(4).indices.sort().values
    student = from_layers(fewer(intermediate_size=4), teacher, [2], TASK, 0, batches=batches).bert.encoder.layer[0]
    layer = teacher.bert.encoder.layer[1]
    assert torch.equal(student.intermediate.dense.weight, layer.intermediate.dense.weight[best])
    assert torch.equal(student.intermediate.dense.bias, layer.intermediate.dense.bias[best])
    assert torch.equal(student.output.dense.weight, layer.output.dense.weight[:, best])
    assert torch.equal(student.output.dense.bias, layer.output.dense.bias)


@pytest.mark.parametrize(
    ("family", "own", "fields", "parts"),
    [
        ("bert", {}, {"num_attention_heads": 1}, ["heads: 1, but teacher_layers copies 2", "a bert of fewer heads"]),
        ("squeezebert", {}, {"intermediate_size": 8}, ["intermediate_size: 8", "a squeezebert", "cannot be told"]),
        ("mobilebert", {}, {"intermediate_size": 8}, ["intermediate_size: 8", "a mobilebert", "cannot be told"]),
        ("bert", {"intermediate_size": 16}, {"intermediate_size": 8}, ["a bert of width 16 with 16 of them"]),
        (
            "eurobert",
            {"num_attention_heads": 4, "head_dim": 4, "num_key_value_heads": 2},
            {"num_attention_heads": 1},
            ["in groups of 2: give a multiple of 2"],
        ),
        ("bert", {}, {"intermediate_size": 64}, ["copies bert.encoder.layer.0.intermediate.dense.weight"]),
    ],
)
def test_what_cannot_be_left_out_is_refused_in_one_line(family, own, fields, parts):
    with pytest.raises(UserError) as caught:
        check_copy(section(**fields), families.config(family, **TASK.model_fields() | own), TASK, "student")
    message = str(caught.value)
    assert message.startswith("params.yaml: student.model.config") and "\n" not in message
    assert all(part in message for part in parts), message


def test_the_rows_are_spread_over_the_training_data(monkeypatch):
    monkeypatch.setattr("distill.models.labelled_batches.ROWS", 6)
    monkeypatch.setattr("distill.models.labelled_batches.BATCH", 4)
    features, task = tiny.features(24), load_task("qa")
    data = type(
        "Data", (), {"has_labels": True, "features": lambda *_: features, "tokenizer": lambda _: tiny.tokenizer()}
    )()
    made = list(labelled_batches(data, task))
    assert [len(batch["index"]) for batch in made] == [4, 2]
    assert sorted(torch.cat([batch["index"] for batch in made]).tolist()) == [0, 4, 8, 12, 16, 20]
    assert {"start_positions", "end_positions", "attention_mask"} <= made[0].keys()
    data.has_labels = False
    with pytest.raises(UserError, match="student.model.config: which units .* data.train is data/none"):
        list(labelled_batches(data, task))
