"""Stage plan refuses, before anything trains, what a listed method could not do with the models that are named."""

import functools
import json
import re
import shutil
from pathlib import Path

import pytest
from transformers import AutoConfig

from distill import parameters
from distill.config import reading
from distill.errors import UserError
from distill.methods import registry, requirements
from distill.models import loading
from pipeline import plan
from pipeline.stage import origins
from pipeline.stage.definition import define
from tests.helpers import micro

HUB = {"someone/eight": (8, 4), "someone/six": (6, 4), "someone/six-2": (6, 2)}


@pytest.fixture
def hub(monkeypatch):
    """A hub of configurations; notes which are asked for."""
    asked = []

    def configuration(path, revision, fields=None, where=""):
        asked.append((where, path))
        layers, heads = HUB[path]
        return AutoConfig.for_model("bert", num_hidden_layers=layers, num_attention_heads=heads)

    monkeypatch.setattr(loading, "configuration", configuration)
    return asked


def named(student, teacher, methods, copies=(), **changes):
    """Parameters with checkpoints of the hub and these methods alone; `copies`: those that learn from copies too."""
    raw = reading.parse(micro.params(changes), "params.yaml")
    for role, path in (("student", student), ("teacher", teacher)):
        raw[role]["model"] = {"path": path, "revision": None, "config": {}}
    raw["student"]["init"] = "pretrained"
    raw["features"]["tokenizer"]["path"] = teacher
    raw["methods"], raw["augment"]["methods"] = list(methods), list(copies)
    return parameters.parse(raw, "params.yaml")


@pytest.mark.parametrize(
    ("copies", "method", "changes", "said"),
    [
        (False, "ted", {}, "filter_interval: the teacher has 3 filters .*, the student 8"),
        (False, "ted", {"ted.mask": False}, "filter_interval: the teacher has 3 filters"),
        (False, "rail", {}, "methods: rail draws .* the student has 8, the teacher 6"),
        (False, "lwd", {"lwd.mask": False}, "lwd.layer_map: 'uniform' .* student has 8, the teacher 6"),
        (True, "lwd", {}, "lwd.layer_map: 'uniform' .* student has 8, the teacher 6"),
        (True, "pkd", {}, "pkd.layer_map: 'uniform' .* student has 8, the teacher 6"),
        (True, "hidden", {}, "hidden.layer_map: 'uniform' .* student has 8, the teacher 6"),
        (True, "ckd", {}, "ckd.layer_groups: .* the student has 8, the teacher 6"),
        (True, "alp", {"alp.layers": "regular"}, "alp.layers: .* the student has 8, the teacher 6"),
        (False, "tinybert", {}, "tinybert.layer_map: 'uniform' .* student has 8, the teacher 6"),
        (True, "tinybert", {}, "tinybert.layer_map: 'uniform' .* student has 8, the teacher 6"),
    ],
)
def test_depths_that_only_checkpoints_of_the_hub_know(hub, copies, method, changes, said):
    methods = {"methods": [method], "copies": [method] if copies else []}
    with pytest.raises(UserError, match=said):
        plan.check_pairs(named("someone/eight", "someone/six", **methods, **changes))
    fitting = changes | {"teacher_filters.filter_interval": 1, "student_filters.filter_interval": 1}
    plan.check_pairs(named("someone/six-2", "someone/six", **methods, **fitting))


def test_heads_that_only_checkpoints_of_the_hub_know(hub):
    listed = ["tinybert"]
    with pytest.raises(UserError, match="tinybert.heads: 'match' .* student has 2 heads and the teacher 4"):
        plan.check_pairs(named("someone/six-2", "someone/six", listed, **{"tinybert.heads": "match"}))
    plan.check_pairs(named("someone/six", "someone/six", listed, **{"tinybert.heads": "match"}))


def test_widths_and_families_that_only_checkpoints_of_the_hub_know(hub, monkeypatch):
    named_so = functools.partial(named, "someone/six-2", "someone/six", ["relation"])
    plan.check_pairs(named_so(**{"relation.relation_heads": 48}))  # of a width of 768
    with pytest.raises(UserError, match="relation_heads: 36 does not divide 768, the width of the student's query"):
        plan.check_pairs(named_so(**{"relation.relation_heads": 36}))
    monkeypatch.setattr(loading, "configuration", lambda *_: AutoConfig.for_model("fnet", num_hidden_layers=6))
    with pytest.raises(UserError, match="methods: relation: the student is a fnet: its layers have no projections"):
        plan.check_pairs(named_so())


def test_a_chain_that_copies_more_layers_than_the_hubs_teacher_has(hub):
    model = {"path": None, "revision": None, "config": {}}
    link = {"model": model, "init": "teacher_layers", "layers": "uniform", "num_layers": 7}
    with pytest.raises(UserError, match="assistant.chain.0 takes 7 layers of the teacher, which has 6"):
        plan.check_pairs(named("someone/six", "someone/six", ["takd"], **{"assistant.chain": [link]}))
    link["num_layers"] = 6
    plan.check_pairs(named("someone/six", "someone/six", ["takd"], **{"assistant.chain": [link]}))


def test_no_checkpoint_is_asked_where_no_listed_method_needs_it(hub):
    every = {name: registry.load(name) for name in registry.available()}
    asking = {"cls", "hidden", "qkv"}
    plain = [name for name, kind in every.items() if not (kind.needs & asking or "assistant" in kind.artifacts)]
    params = named("someone/eight", "someone/six", plain, **{"teacher.snapshots": 2})
    plan.check_pairs(params)
    assert not any(plan.readers(params, plan.requests(params)).values()) and hub == []


def test_a_checkpoint_is_asked_once(hub):
    plan.check_pairs(named("someone/six", "someone/eight", ["lwd", "pkd", "rail"]))
    assert sorted(hub) == [("student", "someone/six"), ("teacher", "someone/eight")]


@pytest.fixture(scope="module")
def folders(base, tmp_path_factory):
    """Two tokenizers as checkpoints bring them; the words of the second are numbered otherwise."""
    made = tmp_path_factory.mktemp("tokenizers")
    own, other = (shutil.copytree(base / "data/prepared/tokenizer", made / name) for name in ("own", "other"))
    content = json.loads((other / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    last, before = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[last], vocabulary[before] = vocabulary[before], vocabulary[last]
    (other / "tokenizer.json").write_text(json.dumps(content))
    for folder in (own, other):  # of a checkpoint, plan reads no more
        AutoConfig.for_model("bert", num_hidden_layers=1, hidden_size=16, num_attention_heads=2).save_pretrained(folder)
    return own, other


def with_checkpoint(field, path, tokenizer, methods, copies=()):
    """params.yaml with these methods, and a checkpoint for an assistant or the generator."""
    model = {"path": str(path), "revision": None, "config": {}}
    link = {"model": model, "init": "pretrained", "layers": "uniform", "num_layers": None}
    own = {"assistant.chain": [link]} if field == "assistant.chain.0" else {"generator.model": model}
    listed = {"methods": methods, "augment.methods": list(copies)}
    return micro.params(own | listed | {"features.tokenizer.path": str(tokenizer)})


CHECKPOINTS = [
    ("assistant.chain.0", "takd", []),
    ("generator", "mate", []),
    ("generator", "rail", ["rail"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("field", "method", "copies"), CHECKPOINTS)
def test_a_checkpoint_with_another_vocabulary_is_refused_by_the_plan(
    base, stages, folders, tmp_path, field, method, copies
):
    repo = shutil.copytree(base, tmp_path / "repo")
    own, other = folders
    (repo / "params.yaml").write_text(with_checkpoint(field, other, own, [method], copies))
    done = stages.run(repo, "plan", check=False)
    assert done.code == 2 and "Traceback" not in done.err
    assert f"params.yaml: {field}.model.path: '{other}' has a vocabulary" in done.err.replace("\n", " ")
    # Neither of them is looked at where no method needs it, and one that shares the vocabulary will do.
    (repo / "params.yaml").write_text(with_checkpoint(field, other, own, ["ft"]))
    stages.run(repo, "plan")
    (repo / "params.yaml").write_text(with_checkpoint(field, own, own, [method], copies))
    stages.run(repo, "plan")


def test_a_generator_for_copies_has_no_vocabulary_of_its_own_beside_a_new_one(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(micro.params({"generator.model.path": "someone/six"}))
    parameters.load(path)  # nobody needs it
    with pytest.raises(UserError, match="features.tokenizer.path is null .* generator.model.path is 'someone/six'"):
        parameters.load(path, {"methods": ["rail"], "augment.methods": ["rail"]})


SENTENCES = {"task": "classification", "data.embedded": "sentences", "evaluate.metric": "accuracy"}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("kd.standardize", True, "kd.standardize: true, but standardised logits of two classes"),
        ("kd.decoupled", True, "kd.decoupled: true, but of two classes the rest is a single one"),
        ("dist.row_alpha", 1.0, "dist.row_alpha: 1, but two probabilities"),
    ],
)
def test_what_means_nothing_for_two_classes_is_refused_where_only_the_data_have_them(
    tmp_path, monkeypatch, field, value, said
):
    """Before anything is trained; and a change of the setting runs the plan again."""
    method, _, name = field.partition(".")
    texts = [
        micro.params(SENTENCES | {"methods": [method], "dist.class_alpha": 2, field: chosen}) for chosen in (value, 0)
    ]
    params, without = (parameters.parse(reading.parse(text, "params.yaml"), "params.yaml") for text in texts)
    assert params.data.labels is None
    meta = tmp_path / "data/prepared/meta.json"
    meta.parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    meta.write_text(json.dumps({"splits": {}, "labels": ["a", "b", "c"]}))
    plan.check_classes(params)
    meta.write_text(json.dumps({"splits": {}, "labels": ["a", "b"]}))
    with pytest.raises(UserError, match=re.escape(said)):
        plan.check_classes(params)
    plan.check_classes(without)
    deciding = [requirements.deciding(method, one) for one in (params, without)]
    assert deciding[0] != deciding[1] and name in deciding[0]


@pytest.mark.slow
def test_the_stage_refuses_what_only_a_configuration_knows(base, stages, tmp_path):
    """Twelve layers are what the architecture has where nothing is said."""
    repo = shutil.copytree(base, tmp_path / "repo")
    shape = {"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    models = {"teacher.model.config": shape, "student.model.config": shape | {"num_hidden_layers": 13}}
    listed = {"methods": ["lwd"], "augment.methods": ["lwd"]}
    (repo / "params.yaml").write_text(micro.params(models | listed))
    before = {path.name: path.read_bytes() for path in (repo / "data/plan").iterdir()}
    done = stages.run(repo, "plan", check=False)
    assert done.code == 2 and "Traceback" not in done.err
    assert "lwd.layer_map: 'uniform' maps onto fewer layers: the student has 13, the teacher 12" in done.err
    assert before == {path.name: path.read_bytes() for path in (repo / "data/plan").iterdir()}
    models["student.model.config"] = shape | {"num_hidden_layers": 12}
    (repo / "params.yaml").write_text(micro.params(models | listed))
    stages.run(repo, "plan")


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_an_architecture_that_computes_with_padding_is_refused_before_anything_is_trained(role):
    raw = reading.parse(micro.params({"methods": ["ft", "kd"]}), "params.yaml")
    shape = {"model_type": "fnet", "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
    raw[role]["model"] = {"path": None, "revision": None, "config": shape}
    params = parameters.parse(raw, "params.yaml")
    with pytest.raises(UserError, match=f"params.yaml: {role}.model: padding .* this fnet by up to"):
        plan.check_architectures(params)


def test_a_student_of_the_teachers_layers_has_no_architecture_of_its_own(monkeypatch):
    asked = []
    monkeypatch.setattr("distill.models.architecture.check", lambda config, task, where, *_: asked.append(where))
    for changes, expected in (
        ({}, ["teacher", "student"]),
        ({"student.init": "teacher_layers", "student.num_layers": 1}, ["teacher"]),
        ({"methods": ["ft", "takd", "mate"]}, ["teacher", "student", "generator"]),
    ):
        asked.clear()
        plan.check_architectures(parameters.parse(reading.parse(micro.params(changes), "params.yaml"), "params.yaml"))
        assert asked == expected


def tiny(family, **fields):
    """A section `model` with a tiny shape of a family."""
    shape = {"model_type": family, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
    return {"path": None, "revision": None, "config": shape | {"num_attention_heads": 2} | fields}


LONGFORMER = tiny("longformer", attention_window=[8, 8], max_position_embeddings=140)


def of_texts(changes):
    """Micro parameters for classification."""
    return parameters.parse(
        reading.parse(micro.params({"task": "classification", "data.embedded": "sentences"} | changes), "params.yaml"),
        "params.yaml",
    )


def test_a_member_that_computes_with_padding_is_refused_before_any_member_is_trained():
    members = {"one": {"teacher": {"seed": 1}}, "two": {"teacher": {"model": tiny("fnet")}}}
    changes = {"methods": ["ft", "kd"], "teacher.source": "ensemble", "ensemble.members": ["one", "two"], **members}
    params = of_texts(changes)
    with pytest.raises(UserError, match="params.yaml: two.teacher.model: padding .* this fnet by up to"):
        plan.check_architectures(params)
    # The stage runs again where a member's model changes: its folder's content, or what only the parameters say.
    decides = requirements.deciding_models(params)
    assert decides["ensemble.members"]["two.teacher"]["config"]["model_type"] == "fnet"
    assert origins.MEMBERS in define("plan").deps and requirements.deciding_models(of_texts({})) == {}


def test_folders_of_members_count_among_those_that_the_plan_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    origins.MEMBERS.mkdir(parents=True)
    entry = {"two.teacher.model.path": {"name": "models/mine", "content": "3f2a"}}
    (origins.MEMBERS / "two.json").write_text(json.dumps(entry))
    (origins.MEMBERS / ".gitkeep").touch()
    assert origins.folders([origins.MEMBERS]) == {"two.teacher.model.path": (Path("models/mine"), "3f2a")}
    assert origins.folders([origins.MEMBERS / "one.json"]) == {}


@pytest.mark.parametrize(
    ("model", "method", "role", "said"),
    [
        (LONGFORMER, "tinybert", "teacher", "0 attention scores were seen for 2 layers"),
        (LONGFORMER, "tinybert", "student", "0 attention scores were seen for 2 layers"),
        (LONGFORMER, "freelb", "student", "other logits for word embeddings than for the words themselves"),
        (LONGFORMER, "adv", "student", "other logits for word embeddings"),
        (LONGFORMER, "mate", "teacher", "other logits for word embeddings"),
        (tiny("ibert"), "mate", "student", "other logits for word embeddings"),
        (LONGFORMER, "freelb", "teacher", ""),
        (LONGFORMER, "adv", "teacher", ""),
        (LONGFORMER, "lwd", "teacher", ""),
    ],
)
def test_what_an_architecture_cannot_give_a_method_is_refused_before_anything_is_trained(model, method, role, said):
    params = of_texts({"methods": ["ft", method], f"{role}.model": model})
    if not said:
        plan.check_architectures(params)
        return
    kind = model["config"]["model_type"]
    with pytest.raises(UserError, match=f"params.yaml: methods: {method}: the {role} is a {kind}: .*{said}"):
        plan.check_architectures(params)


def test_a_head_that_hides_the_question_by_its_words_gets_no_embeddings():
    """Of BigBird's embeddings it would not: the loss would be another one, and nothing would say so."""
    raw = reading.parse(micro.params({"methods": ["ft", "freelb"], "student.model": tiny("big_bird")}), "params.yaml")
    with pytest.raises(UserError, match="methods: freelb: the student is a big_bird: it gives other logits"):
        plan.check_architectures(parameters.parse(raw, "params.yaml"))
    plan.check_architectures(of_texts({"methods": ["ft", "freelb"], "student.model": tiny("big_bird")}))


def test_a_head_that_counts_separators_needs_a_tokenizer_that_puts_them(monkeypatch):
    changes = {"methods": ["ft", "kd"], "student.model": LONGFORMER}
    params = parameters.parse(reading.parse(micro.params(changes), "params.yaml"), "params.yaml")
    with pytest.raises(UserError, match="student.model: this longformer cannot be run .* tokenizer that it was made"):
        plan.check_architectures(params)
    monkeypatch.setattr(plan, "separators_of", lambda *_: 3)
    plan.check_architectures(params)


def test_a_precision_in_which_a_model_cannot_run_is_refused_before_anything_is_trained():
    shape = tiny("xmod", languages=["en_XX"], default_language="en_XX", max_position_embeddings=140)
    changes = {"methods": ["ft", "kd"], "student.model": shape}
    plan.check_architectures(of_texts(changes))
    for half in ({"training.precision": "bf16"}, {"distill.precision": "bf16"}):
        params = of_texts(changes | half)
        with pytest.raises(UserError, match="params.yaml: student: precision: bf16: a xmod does not run in it"):
            plan.check_architectures(params)
        assert "student" in requirements.deciding_models(params)["training.precision"]


COPIED = {"student.init": "teacher_layers", "student.num_layers": 1, "student.model": tiny("bert") | {"config": {}}}
LINK = {"model": COPIED["student.model"], "init": "teacher_layers", "layers": [9], "num_layers": None}


@pytest.mark.parametrize(
    ("teacher", "changes", "said"),
    [
        ("albert", COPIED, "params.yaml: student.init: albert has no numbered layers to copy"),
        ("albert", {"methods": ["ft", "takd"]}, "params.yaml: assistant.chain.0.init: albert has no numbered layers"),
        ("albert", {}, ""),
        ("bert", COPIED, ""),
        ("bert", COPIED | {"student.model": tiny("bert") | {"config": {"hidden_size": 8}}}, "the student needs"),
        ("bert", {"assistant.chain": [LINK], "methods": ["ft", "takd"]}, "assistant.chain.0.layers: layer 9 is not"),
        ("bert", {"methods": ["ft", "takd"]}, ""),
    ],
)
def test_layers_that_cannot_be_copied_are_refused_before_the_teacher_is_trained(teacher, changes, said):
    params = of_texts({"methods": ["ft", "kd"], "teacher.model": tiny(teacher)} | changes)
    if not said:
        plan.check_copies(params)
        return
    with pytest.raises(UserError, match=said):
        plan.check_copies(params)
