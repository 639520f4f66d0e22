"""Every kind of mistake in params.yaml gives one line with file, field, value and fix."""

from pathlib import Path

import pytest
import yaml

from distill.config import reading
from distill.config.params import Params
from distill.config.schema import Section, Training
from distill.config.training import SECTIONS
from distill.config.values import flatten, pick
from distill.errors import UserError
from distill.methods import registry
from distill.parameters import load, parse
from tests.helpers import micro

FILE = Path("params.yaml")
MISSING = object()


@pytest.fixture(scope="module")
def text():
    return micro.params()


def read(text, changes):
    """The parameters with dotted names changed; MISSING takes one out."""
    raw = reading.parse(text, "params.yaml")
    for name, value in changes.items():
        *parents, leaf = name.split(".")
        node = raw
        for parent in parents:
            node = node[parent]
        if value is MISSING:
            del node[leaf]
        else:
            node[leaf] = value
    return parse(raw, FILE)


def message_of(text, changes):
    with pytest.raises(UserError) as caught:
        read(text, changes)
    message = str(caught.value)
    assert message.startswith("params.yaml: ") and "\n" not in message
    return message


def test_the_projects_own_file_is_read(root):
    params = load(root / "tests/params.yaml")
    assert params.methods == ["ft", "kd", "lwd", "ted"] and params.augment.methods == []
    assert set(params.sections) == set(registry.available())


def test_no_value_has_a_default():
    def check(schema):
        for name, field in schema.model_fields.items():
            assert field.is_required(), f"{schema.__name__}.{name}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                check(field.annotation)

    check(Params)
    for name in registry.available():
        check(registry.load(name).Config)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("teachr", "teacher"),
        ("tde", "ted"),
        ("teacher.learning_rte", "learning_rate"),
        ("student.num_layer", "num_layers"),
        ("ted.mse_alfa", "mse_alpha"),
        ("features.tokenizer.vocab", "vocab_size"),
        ("teacher.model.pth", "path"),
        ("runtime.checkpoint_step", "checkpoint_steps"),
        ("training.weight_dcay", "weight_decay"),
    ],
)
def test_unknown_names_are_told_with_the_nearest_known_one(text, name, nearest):
    assert message_of(text, {name: 1}) == f"params.yaml: {name}: unknown parameter: did you mean {nearest!r}?"


def test_unknown_names_like_no_other_are_told_with_all_known_ones(text):
    assert "rkd.foo: unknown parameter: known are alpha, temperature" in message_of(text, {"rkd.foo": 1})
    assert "sections: unknown section" in message_of(text, {"sections": {}})
    scheduled = {"value": 1, "schedule": "linear", "warmup": 0, "warm_up": 1}
    assert "kd.kl_alpha.warm_up: unknown parameter: did you mean 'warmup'" in message_of(
        text, {"kd.kl_alpha": scheduled}
    )


@pytest.mark.parametrize(
    "name",
    ["task", "teacher", "teacher.model", "training", "training.seed", "ted.temperature", "features.tokenizer.path"],
)
def test_missing_names_are_told(text, name):
    message = message_of(text, {name: MISSING} | ({"methods": ["ft"]} if name == "ted" else {}))
    assert f"params.yaml: {name}: missing: every parameter stands in the file" in message


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("teacher.batch_size", "eight", ["'eight'", "valid integer"]),
        ("teacher.batch_size", 1.5, ["1.5", "valid integer"]),
        ("teacher.batch_size", 0, ["0", "greater than or equal to 1"]),
        ("teacher.batch_size", None, ["None", "valid integer"]),
        ("teacher.batch_size", True, ["true"]),
        ("teacher.learning_rate", "fast", ["'fast'", "valid number"]),
        ("teacher.learning_rate", -1, ["-1", "greater than 0"]),
        ("teacher.learning_rate", float("nan"), ["nan", "finite"]),
        ("teacher.learning_rate", float("inf"), ["inf", "finite"]),
        ("teacher.learning_rate", False, ["false"]),
        ("teacher.lr_scheduler", "liner", ["'liner'", "'linear'"]),
        ("teacher.group_by_length", "maybe", ["'maybe'", "boolean"]),
        ("teacher", None, ["None", "names and values"]),
        ("teacher", 3, ["3", "names and values"]),
        ("teacher.model.config", "bert", ["'bert'", "names and values"]),
        ("kd", None, ["None", "names and values"]),
        ("kd.temperature", 0, ["0", "greater than 0"]),
        ("ft.label_smoothing", 1, ["1", "less than 1"]),
        ("ted.mask", 2, ["2", "boolean"]),
        ("student.layers", "unifrm", ["'unifrm'", "'uniform', 'last', 'skip', 'first' or 'reversed'"]),
        ("student.layers", 3, ["3", "'uniform', 'last', 'skip', 'first' or 'reversed'"]),
        ("lwd.layer_map", "x", ["'x'", "'uniform', 'last', 'skip', 'first' or 'reversed'"]),
        ("seeds", 1, ["1", "valid list"]),
        ("methods", "kd", ["'kd'", "valid list"]),
        ("methods", None, ["None", "valid list"]),
        ("augment.methods", "kd", ["'kd'", "valid list"]),
        ("training", None, ["None", "names and values"]),
        ("training.batch_size", 0, ["0", "greater than or equal to 1"]),
        ("training.learning_rate", 1, ["each training has its own", "teacher.learning_rate", "distill.learning_rate"]),
        ("training.epochs", 1, ["each training has its own", "teacher.epochs"]),
        ("data.train", None, ["None", "valid string"]),
        ("data.selection_fraction", 1, ["1", "less than 1"]),
        ("runtime.checkpoints_kept", 1, ["1", "greater than or equal to 2"]),
        ("tracking.experiment", 3, ["3", "valid string"]),
        ("tracking.experiment", "..", ["'..'", "does not begin with a dot"]),
        ("tracking.experiment", "", ["''", "1 to 250 characters"]),
        ("tracking.experiment", "../mine", ["'../mine'", "without slashes"]),
        ("tracking.experiment", "team/mine", ["'team/mine'", "without slashes"]),
        ("tracking.experiment", ".hidden", ["'.hidden'", "does not begin with a dot"]),
        ("tracking.experiment", "two\nlines", ["without slashes, backslashes, line breaks"]),
        ("tracking.registered_model", "a/b", ["'a/b'", "without slashes"]),
        ("task", "glue", ["'glue'", "'qa'"]),
    ],
)
def test_wrong_types_and_limits_are_told_with_the_value(text, name, value, parts):
    message = message_of(text, {name: value})
    assert message.startswith(f"params.yaml: {name}: "), message
    assert "; " not in message, "one mistake, one reason"
    for part in parts:
        assert part in message


@pytest.mark.parametrize("name", ["distill", "Größe 2", "a..b", "team: v1 (new)", "_x", "x" * 250])
def test_names_in_mlflow_may_be_any_plain_names(text, name):
    assert read(text, {"tracking.experiment": name}).tracking.experiment == name


@pytest.mark.parametrize(
    ("name", "value", "start"),
    [
        ("seeds", [1, "x"], "seeds.1: 'x'"),
        ("lwd.layer_map", [1, 0], "lwd.layer_map.1: 0: input should be greater than or equal to 1"),
        ("student.layers", ["a"], "student.layers.0: 'a'"),
        ("ted.mse_alpha", "abc", "ted.mse_alpha.value: 'abc'"),
        ("ted.mse_alpha", {"value": 1, "schedule": "sine", "warmup": 0}, "ted.mse_alpha.schedule: 'sine'"),
        ("ted.mse_alpha", {"value": 1, "schedule": "linear", "warmup": 1}, "ted.mse_alpha.warmup: 1"),
        ("methods", ["ft", 1], "methods.1: 1"),
    ],
)
def test_mistakes_inside_values_are_told_with_their_place(text, name, value, start):
    assert message_of(text, {name: value}).startswith(f"params.yaml: {start}")


def test_several_mistakes_share_the_line(text):
    message = message_of(text, {"teacher.batch_size": 0, "student.epochs": -1})
    assert "teacher.batch_size: 0" in message and "; student.epochs: -1" in message


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"data.source": "hub"}, ["source is 'hub'", "set data.name"]),
        ({"features.doc_stride": 128}, ["doc_stride 128", "max_length 128"]),
        ({"teacher.keep": "best", "teacher.evaluations": 0}, ["teacher: keep is 'best'", "evaluations is 0"]),
        ({"distill.gradient_accumulation": 3}, ["distill: gradient_accumulation 3", "batch_size 8", "divisor"]),
        ({"teacher.model.config": {}}, ["teacher: model.path is null", "no model_type"]),
        ({"student.init": "pretrained"}, ["student: init is 'pretrained'", "model.path is null"]),
        ({"student.init": "teacher_layers", "student.model.config": {}}, ["student: num_layers is null"]),
        ({"distill.init": "pretrained"}, ["distill.init is 'pretrained'", "student.model.path is null"]),
        (
            {
                "task": "regression",
                "data.embedded": "similarity",
                "data.text": "sentence1",
                "data.text_pair": "sentence2",
                "ft.label_smoothing": 0.1,
            },
            ["ft.label_smoothing is 0.1", "no classes", "set it to 0"],
        ),
        ({"distill.init": "random"}, ["distill.init is 'random'", "'ted'", "out of methods"]),
        (
            {"student.init": "teacher_layers", "student.model.path": "x", "features.tokenizer.path": "x"},
            ["student.model.path is 'x'", "'teacher_layers'", "null"],
        ),
        ({"teacher.model.path": "m"}, ["features.tokenizer.path is null", "'m'", "set features.tokenizer.path to"]),
        ({"student.model.path": "m"}, ["features.tokenizer.path is null", "student.model.path is 'm'"]),
        ({"methods": ["kd", "kd"]}, ["methods: 'kd' is listed twice", "each method once"]),
        ({"methods": ["kdd"]}, ["methods: no method 'kdd'", "did you mean 'kd'?"]),
        ({"kd": MISSING}, ["methods: 'kd' has no section of its own", "`kd:`"]),
        ({"augment.methods": ["kd", "kd"]}, ["augment.methods: 'kd' is listed twice"]),
        ({"augment.methods": ["tinybert"]}, ["augment.methods: 'tinybert' is not trained: add it to methods ['ft'"]),
        ({"augment.methods": ["ted"]}, ["augment.methods: 'ted' cannot learn from copies: take it out", "kd, lwd can"]),
        ({"seeds": []}, ["seeds: []", "at least one"]),
        ({"seeds": [1, 1]}, ["seeds: [1, 1]", "each once"]),
        (
            {"teacher_filters.filter_output_dim": 9},
            ["filter_output_dim", "teacher's filters give 9", "student's 8"],
        ),
        ({"export.methods": ["kd", "kd"]}, ["export.methods: ['kd', 'kd']", "each once"]),
        ({"export.methods": ["pkd"]}, ["export.methods: 'pkd' is not trained", "add it to methods ['ft'"]),
        ({"export.methods": ["kd"], "export.seeds": [4]}, ["export.seeds: 4", "[1]"]),
        (
            {"seeds": [1, 2], "compare.resamples": 100},
            ["compare.resamples: 100 are too few", "3 methods", "0.95", "set 120 or more"],
        ),
        ({"teacher_filters.filter_interval": 1}, ["filter_interval", "teacher has 2 filters", "student 1"]),
        ({"teacher_filters.filter_interval": 5}, ["teacher_filters.filter_interval: 5 selects none"]),
    ],
)
def test_impossible_combinations_are_told(text, changes, parts):
    message = message_of(text, changes)
    for part in parts:
        assert part in message


def test_a_method_that_is_not_listed_needs_no_section(text):
    assert "lwd" not in read(text, {"lwd": MISSING, "methods": ["ft", "kd"]}).sections


def test_numbers_that_pyyaml_reads_as_text_are_numbers(text):
    assert yaml.safe_load("x: 1e-05")["x"] == "1e-05"
    params = read(text, {"teacher.learning_rate": "1e-05", "ted.mse_alpha": "1e3", "teacher.batch_size": "16"})
    assert params.teacher.learning_rate == 1e-5 and isinstance(params.teacher.batch_size, int)
    assert params.sections["ted"].mse_alpha.at(0.5) == 1000


def test_load_reads_overrides_and_tells_of_files_that_are_no_parameters(tmp_path, text):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    assert load(file, {"teacher.seed": 9, "kd.temperature": 4}).teacher.seed == 9
    for content, part in (
        ("a: [", "not valid YAML"),
        ("- 1", "found a list"),
        ("", "found nothing"),
        ("a: 1\na: 2\n", "line 2: not valid YAML: found duplicate key"),
    ):
        file.write_text(content)
        with pytest.raises(UserError) as caught:
            load(file)
        assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)
        assert part in str(caught.value)
    with pytest.raises(UserError, match="no such file: run from the project's root"):
        load(tmp_path / "none.yaml")


GROUPED = {"logits": ["ft", "kd"], "hidden": ["lwd"], "filtered": ["ted"], "assisted": []}


def test_methods_in_lists_by_what_they_need_are_told_as_one_list(text):
    gone = "params.yaml: methods: lists by what a method needs are gone: write methods: "
    assert message_of(text, {"methods": GROUPED}) == f"{gone}[ft, kd, lwd, ted]"
    augmented = GROUPED | {"augmented": ["tinybert"]}
    told = message_of(text, {"methods": augmented})
    assert told == f"{gone}[ft, kd, lwd, ted, tinybert] and augment.methods: [tinybert]"


def test_a_section_takes_from_training_what_it_does_not_say(text):
    params = read(text, {"training.weight_decay": 0.5, "training.warmup": 7, "teacher.weight_decay": 0.25})
    trained = {name: getattr(params, name) for name in SECTIONS}
    assert {name: section.weight_decay for name, section in trained.items()} == dict.fromkeys(SECTIONS, 0.5) | {
        "teacher": 0.25
    }
    # The filters' section has a warm-up of its own.
    assert {name for name, section in trained.items() if section.warmup == 7} == {
        *("teacher", "student", "assistant", "generator", "distill", "quantization")
    }
    assert params.training.weight_decay == 0.5
    assert "seed" not in type(params.distill).model_fields and params.generator.seed == params.training.seed


def test_every_section_that_trains_is_known_to_training():
    trained = {name for name, field in Params.model_fields.items() if issubclass_of(field.annotation, Training)}
    assert trained == set(SECTIONS)
    for name in SECTIONS:
        assert SECTIONS[name] is Params.model_fields[name].annotation


def issubclass_of(annotation, schema):
    return isinstance(annotation, type) and issubclass(annotation, schema)


def test_every_training_has_its_own_epochs_and_learning_rate_in_the_file(root):
    """So that `-S student.learning_rate=…` is possible without a plus, and trains no other model."""
    raw = reading.parse((root / "tests/params.yaml").read_text(), "params.yaml")
    for name in SECTIONS:
        assert {"epochs", "learning_rate"} <= raw[name].keys()


def test_parameters_cannot_be_changed(text):
    with pytest.raises(ValueError, match="frozen"):
        read(text, {}).teacher.seed = 3


def test_pick_gives_what_a_stage_depends_on_as_plain_values(text):
    params = read(text, {})
    raw = reading.parse(text, "params.yaml")
    assert pick(params, ["training"]) == {"training": raw["training"]}
    picked = pick(params, ["task", "teacher", "evaluate.n_best", "student.model", "kd", "student.num_layers", "seeds"])
    assert (
        picked["task"] == "qa"
        and picked["teacher"] == {**raw["training"], **raw["teacher"]}
        and picked["seeds"] == raw["seeds"]
    )
    assert picked["evaluate.n_best"] == raw["evaluate"]["n_best"]
    assert picked["student.model"] == raw["student"]["model"] and picked["student.num_layers"] is None
    assert picked["kd"]["kl_alpha"] == 10.0
    assert pick(params, ["kd.temperature"]) == {"kd.temperature": 2.0}
    assert pick(params, ["student.model.config.model_type"]) == {"student.model.config.model_type": "bert"}


def test_flatten_gives_dotted_names(text):
    params = read(text, {})
    flat = flatten(pick(params, ["ted", "seeds", "student.model"]))
    assert flat["ted.mse_alpha"] == 1000 and flat["seeds"] == [1]
    assert flat["student.model.config.hidden_size"] == 16 and flat["student.model.path"] is None
    assert flatten({"a": {"b": {1: 2}}, "c": []}) == {"a.b.1": 2, "c": []}
    assert flatten(3, "x") == {"x": 3}


def test_classes_may_be_numbers_and_truths(text):
    """As YAML reads `labels: [false, true]` and `labels: [0, 1]`; data files have them as words."""
    for labels, names in (([False, True], ["false", "true"]), ([0, 1], ["0", "1"]), (["No", "yes"], ["No", "yes"])):
        sentences = {"task": "classification", "data.embedded": "sentences"}
        params = read(text, sentences | {"data.labels": labels})
        assert params.data.labels == names
