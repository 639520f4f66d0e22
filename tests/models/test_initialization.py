"""The four ways a student starts."""

import json

import pytest
import torch

from distill.config.schema import Model, Student
from distill.errors import UserError
from distill.models import loading
from distill.models.forward import forward_pass
from distill.models.initialization import from_layers, initial_student, teacher_layers
from distill.models.shape import num_layers
from distill.tasks.registry import load_task
from tests.helpers import families, tiny

TASK = load_task("qa")
CLASSES = load_task("classification", labels=("a", "b", "c"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A teacher of 4 layers, a fine-tuned student of 2, and an encoder without a head, in half precision."""
    base = tmp_path_factory.mktemp("models")
    loading.save(tiny.model("bert", layers=4, seed=1), tiny.tokenizer(), base / "teacher")
    loading.save(tiny.model("bert", layers=2, width=4, seed=2), tiny.tokenizer(), base / "student")
    tiny.model("bert", layers=3, seed=3).bert.half().save_pretrained(base / "encoder")
    return base


def section(path=None, layers="uniform", num_layers=None, init="teacher_layers", **config):
    values = tiny.training().model_dump() | {"layers": layers, "num_layers": num_layers, "init": init, "seed": 1}
    values |= {"label_noise": 0.0, "tokenizer": dict.fromkeys(("path", "revision", "vocab_size", "lowercase"))}
    return Student.model_validate(values | {"model": {"path": path, "revision": None, "config": config}})


def initial(init, given, folders, student=True, seed=0):
    finetuned = folders / "student" if student else None
    return initial_student(init, given, TASK, tiny.tokenizer(), seed, folders / "teacher", finetuned)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def stored(folder):
    return loading.from_pretrained(str(folder), TASK)


def test_finetuned_is_the_model_that_was_fine_tuned(folders):
    found = initial("finetuned", section(init="random", **tiny.shape("bert", 1, 8)), folders)
    assert same(found, stored(folders / "student"))


def test_finetuned_checks_the_folder_first(folders, tmp_path):
    with pytest.raises(UserError, match="no such model folder"):
        initial_student("finetuned", section(num_layers=1), TASK, None, 0, folders / "teacher", tmp_path / "none")


def test_pretrained_takes_the_encoder_and_draws_a_head_from_the_seed(folders):
    given = section(path=str(folders / "encoder"), init="pretrained")
    one, again, other = (initial("pretrained", given, folders, seed=seed) for seed in (1, 1, 2))
    assert same(one, again) and not same(one, other)
    assert same(one.bert, other.bert)
    assert {p.dtype for p in one.parameters()} == {torch.float32}


def test_teacher_layers_follow_the_map(folders):
    teacher = stored(folders / "teacher")
    for layers, expected in (("uniform", [2, 4]), ("last", [3, 4]), ("skip", [2, 4]), ([1, 3], [1, 3])):
        count = None if isinstance(layers, list) else 2
        found = initial("teacher_layers", section(layers=layers, num_layers=count), folders)
        assert len(found.bert.encoder.layer) == 2
        for own, number in zip(found.bert.encoder.layer, expected, strict=True):
            assert same(own, teacher.bert.encoder.layer[number - 1])
        assert same(found.qa_outputs, teacher.qa_outputs) and same(found.bert.embeddings, teacher.bert.embeddings)


def test_random_has_the_shape_of_the_fine_tuned_student_and_of_none_of_its_weights(folders):
    given = section(init="random", **tiny.shape("bert", 1, 8))
    one, again, other = (initial("random", given, folders, seed=seed) for seed in (1, 1, 2))
    finetuned = stored(folders / "student")
    assert [p.shape for p in one.parameters()] == [p.shape for p in finetuned.parameters()]
    assert same(one, again) and not same(one, other) and not same(one, finetuned)


def test_random_before_fine_tuning_has_the_shape_of_the_parameters(folders):
    found = initial("random", section(init="random", **tiny.shape("bert", 1, 8)), folders, student=False)
    assert (num_layers(found.config), found.config.hidden_size) == (1, 8)


def test_random_with_a_checkpoint_takes_its_shape_in_float32(folders):
    given = section(path=str(folders / "encoder"), init="random", hidden_dropout_prob=0.25)
    found = initial("random", given, folders, student=False)
    assert (num_layers(found.config), found.config.hidden_dropout_prob) == (3, 0.25)
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    assert not same(found.bert, stored(folders / "encoder").bert)


@pytest.mark.parametrize("kind", ["bert", "evilnet"])
def test_random_with_a_checkpoint_runs_no_code_that_came_with_it(tmp_path, kind, monkeypatch):
    folder, trace = tmp_path / "checkpoint", tmp_path / "trace"
    tiny.model("bert").save_pretrained(folder)
    (folder / "code.py").write_text(f"open({str(trace)!r}, 'w').close()\nfrom transformers import BertConfig as C\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": kind, "auto_map": {"AutoConfig": "code.C"}}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks on the terminal where it was not told
    arguments = ("random", section(path=str(folder), init="random"), TASK, tiny.tokenizer(), 0, tmp_path)
    if kind == "bert":
        initial_student(*arguments)
    else:
        with pytest.raises(UserError, match="params.yaml: student.model.path: cannot load"):
            initial_student(*arguments)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("layers", "num_layers", "config", "expected"),
    [
        ("uniform", 3, {}, [4, 8, 12]),
        ("uniform", None, {"num_hidden_layers": 2}, [6, 12]),
        ("last", 2, {"num_hidden_layers": 2}, [11, 12]),
        ([2, 4, 6], None, {}, [2, 4, 6]),
        ([2, 4, 6], 3, {"num_hidden_layers": 3}, [2, 4, 6]),
    ],
)
def test_which_layers_are_copied(layers, num_layers, config, expected):
    given = section(layers=layers, num_layers=num_layers, **{"model_type": "bert"} | config)
    assert teacher_layers(given, 12) == expected


@pytest.mark.parametrize(
    ("layers", "num_layers", "config", "parts"),
    [
        ("uniform", None, {}, ["student.num_layers", "null", "how many"]),
        ([2, 4], 3, {}, ["student.num_layers is 3", "student.layers is 2"]),
        ([2, 4], None, {"num_hidden_layers": 3}, ["num_hidden_layers is 3", "student.layers is 2"]),
        ("last", 2, {"num_hidden_layers": 3}, ["student.num_layers is 2", "num_hidden_layers is 3"]),
        ("uniform", 13, {}, ["student.layers", "13", "12"]),
        ([2, 13], None, {}, ["student.layers", "layer 13", "1…12"]),
    ],
)
def test_contradictions_are_named_on_one_line(layers, num_layers, config, parts):
    given = section(layers=layers, num_layers=num_layers, **{"model_type": "bert"} | config)
    with pytest.raises(UserError) as caught:
        teacher_layers(given, 12)
    message = str(caught.value)
    assert message.startswith("params.yaml: student") and "\n" not in message
    for part in parts:
        assert part in message


def logits_of(model):
    with torch.no_grad():
        return forward_pass(model.eval(), CLASSES, tiny.batch()).logits


@pytest.mark.parametrize(
    "family",
    ["modernbert", "longformer", "fnet", "xlnet", "mobilebert", "eurobert", "nomic_bert", "big_bird", "rembert"],
)
def test_layers_of_any_family_are_copied_with_their_own_kinds(family, tmp_path):
    """A student of all layers is the teacher; one of fewer has the first of them and is another function."""
    layers = {"longformer": {"attention_window": [8, 4, 16, 8]}}.get(family, {})
    layers = layers | ({"n_layer": 4} if family == "xlnet" else {"num_hidden_layers": 4})
    teacher = families.model(family, CLASSES, **layers)
    model = Model(path=None, revision=None, config={})
    same = from_layers(model, teacher, [1, 2, 3, 4], CLASSES, seed=0)
    assert torch.equal(logits_of(same), logits_of(teacher))
    student = from_layers(model, teacher, [1, 3], CLASSES, seed=0)
    assert num_layers(student.config) == 2
    assert not torch.allclose(logits_of(student), logits_of(teacher))
    for name in ("layer_types", "attention_window"):
        if isinstance(values := getattr(teacher.config, name, None), list):
            assert getattr(student.config, name) == [values[0], values[2]]
    student.save_pretrained(tmp_path)
    again = loading.from_pretrained(str(tmp_path), CLASSES)
    assert torch.equal(logits_of(again), logits_of(student))


@pytest.mark.parametrize(
    ("family", "layers", "parts"),
    [
        ("funnel", [2], ["student.init: teacher_layers: a funnel of 1 of the teacher's 3 layers cannot be built"]),
        ("albert", [2], ["student.init: albert has no numbered layers to copy"]),
        ("xlm", [2], ["student.init: xlm has no numbered layers to copy"]),
        # The first layer of a ModernBERT has no norm before its attention.
        ("modernbert", [2, 1], ["student.layers: [2, 1]: the teacher's layer 1 has no attn_norm.weight", "first"]),
    ],
)
def test_layers_that_cannot_be_copied_give_one_line(family, layers, parts):
    with pytest.raises(UserError) as caught:
        from_layers(Model(path=None, revision=None, config={}), families.model(family, CLASSES), layers, CLASSES, 0)
    message = str(caught.value)
    assert message.startswith("params.yaml: student.") and "\n" not in message
    assert all(part in message for part in parts), message
