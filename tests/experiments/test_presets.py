"""Presets: reading, merging into params.yaml, and the same as overrides for `dvc exp run -S`."""

import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.config import reading
from distill.errors import UserError
from distill.experiments import presets

PARAMS = """\
# Parameters of the pipeline.
task: qa

teacher:                    # learnt from
  # where it comes from
  model:
    path:                   # hub id or folder
    revision:
    # shape
    config:
      model_type: deberta-v2
      hidden_size: 128      # width
  learning_rate: 0.001      # peak
  betas:
  - 0.9
  - 0.999
  fp16: false

# logit distillation
kd:
  kl_alpha: 10              # number or schedule
  temperature: 2.0

tinybert:
  heads: mean

methods:
- ft
- kd
seeds:
- 1
"""

PRESET = """\
# description: SQuAD v2.0 with DeBERTa-v3,
#   as in the paper
# published: teacher 85.5/88.4
#
# another line

# not the header any more
teacher:
  model: {path: microsoft/deberta-v3-base, revision: '8e10', config: {}}
  learning_rate: 3e-5
  betas: [0.9, 0.98]
kd:
  kl_alpha: {value: 5, schedule: cosine_v, warmup: 0.1}
methods: []
seeds: [1, 2]
"""

MERGED = """\
# Parameters of the pipeline.
task: qa

teacher:                    # learnt from
  # where it comes from
  model:
    path: microsoft/deberta-v3-base # hub id or folder
    revision: '8e10'
    # shape
    config: {}
  learning_rate: 3.0e-05    # peak
  betas:
  - 0.9
  - 0.98
  fp16: false

# logit distillation
kd:
  kl_alpha:                 # number or schedule
    value: 5
    schedule: cosine_v
    warmup: 0.1
  temperature: 2.0

tinybert:
  heads: mean

methods: []
seeds:
- 1
- 2
"""


def plainly_merged(params, preset):
    """What merging means, on plain values."""
    for key, value in preset.items():
        if isinstance(value, dict) and isinstance(params[key], dict) and key != "config":
            plainly_merged(params[key], value)
        else:
            params[key] = value
    return params


def through_dvc(folder: Path, text: str, overrides: list[str]):
    """The values that DVC leaves in a params file for these `-S` arguments."""
    from dvc.utils.hydra import apply_overrides

    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    apply_overrides(path, overrides)
    return reading.parse(path.read_text(encoding="utf-8"), path)


@pytest.fixture
def preset(tmp_path):
    (tmp_path / "squad.yaml").write_text(PRESET)
    return presets.load("squad", tmp_path)


def test_load_reads_names_and_paths(tmp_path, preset):
    assert preset["teacher"]["learning_rate"] == 3e-5
    assert preset == presets.load(tmp_path / "squad.yaml") == presets.load(f"{tmp_path}/squad.yaml")
    assert presets.names(tmp_path) == ["squad"]


def test_header_joins_lines(tmp_path, preset):
    assert presets.header("squad", tmp_path) == {
        "description": "SQuAD v2.0 with DeBERTa-v3, as in the paper",
        "published": "teacher 85.5/88.4 another line",
    }


def test_merge_keeps_comments_order_and_layout(preset):
    assert presets.merge(PARAMS, preset) == MERGED
    assert yaml.safe_load(MERGED) == plainly_merged(yaml.safe_load(PARAMS), preset)


def test_merging_twice_or_nothing_changes_nothing(preset):
    assert presets.merge(MERGED, preset) == MERGED
    assert presets.changes(MERGED, preset) == []
    assert presets.as_overrides(MERGED, preset) == []
    assert presets.merge(PARAMS, {}) == PARAMS
    assert presets.merge(PARAMS, {"kd": {"temperature": 2}}) == PARAMS  # 2 is 2.0


TRAINED = """\
training:
  batch_size: 32
  warmup: 0.1
  seed: 1
teacher:
  label_noise: 0.0
  warmup: 0.0               # a warm-up of its own
  learning_rate: 0.001

student:
  learning_rate: 0.003
  batch_size: 16

distill:
  learning_rate: 0.003
"""
SHARED = {"training": {"warmup": 0.2, "batch_size": 8}, "student": {"batch_size": 4}, "distill": {"warmup": 5}}
SHARED_IN = """\
training:
  batch_size: 8
  warmup: 0.2
  seed: 1
teacher:
  label_noise: 0.0
  learning_rate: 0.001

student:
  learning_rate: 0.003
  batch_size: 4

distill:
  warmup: 5
  learning_rate: 0.003
"""


def test_what_a_preset_gives_for_all_trainings_replaces_what_a_section_has(tmp_path):
    lines = [str(change) for change in presets.changes(TRAINED, SHARED)]
    assert lines == [
        "training.warmup: 0.1 -> 0.2",
        "training.batch_size: 32 -> 8",
        "student.batch_size: 16 -> 4",
        "distill.warmup: as in training -> 5",
        "teacher.warmup: 0.0 -> as in training",
    ]
    assert presets.merge(TRAINED, SHARED) == SHARED_IN
    overrides = presets.as_overrides(TRAINED, SHARED)
    assert overrides[-2:] == ["+distill.warmup=5", "~teacher.warmup"]
    assert through_dvc(tmp_path, TRAINED, overrides) == reading.parse(SHARED_IN, "merged")


def test_a_section_that_was_not_there_is_new():
    lines = [str(change) for change in presets.changes(TRAINED, {"kd-long": {"method": "kd", "temperature": 4}})]
    assert lines == ["kd-long: new: {method: kd, temperature: 4}"]


def test_the_same_holds_for_a_preset_that_extends_another(tmp_path):
    (tmp_path / "base.yaml").write_text("teacher: {warmup: 1, label_noise: 0.5}\nstudent: {warmup: 2}\n")
    (tmp_path / "mine.yaml").write_text("extends: base\ntraining: {warmup: 3}\nstudent: {warmup: 4}\n")
    assert presets.load("mine", tmp_path) == {
        "teacher": {"label_noise": 0.5},
        "student": {"warmup": 4},
        "training": {"warmup": 3},
    }


def test_only_what_trainings_share_may_be_new_in_a_section():
    with pytest.raises(UserError, match=r"distill\.seed: params\.yaml has no such parameter"):
        presets.changes(TRAINED, {"distill": {"seed": 1}})
    with pytest.raises(UserError, match=r"teacher\.epochs: params\.yaml has no such parameter"):
        presets.changes(TRAINED, {"teacher": {"epochs": 1}})


def test_true_is_not_one():
    assert [str(c) for c in presets.changes(PARAMS, {"kd": {"kl_alpha": True}})] == ["kd.kl_alpha: 10 -> true"]
    assert presets.changes(PARAMS, {"teacher": {"fp16": 0}}) != []


def test_changes_are_told_old_to_new(preset):
    lines = [str(change) for change in presets.changes(PARAMS, preset)]
    assert "teacher.learning_rate: 0.001 -> 3.0e-05" in lines
    assert "teacher.model.path: null -> microsoft/deberta-v3-base" in lines
    assert "teacher.model.config: {model_type: deberta-v2, hidden_size: 128} -> {}" in lines


def test_overrides_do_in_dvc_what_merge_does(preset, tmp_path):
    overrides = presets.as_overrides(PARAMS, preset)
    assert "teacher.learning_rate=3.0e-05" in overrides
    assert "seeds=[1, 2]" in overrides
    assert "teacher.model.revision='8e10'" in overrides
    at = overrides.index("~teacher.model.config")
    assert overrides[at + 1] == "+teacher.model.config={}"
    assert through_dvc(tmp_path, PARAMS, overrides) == reading.parse(MERGED, "merged")


WORDS = st.text(st.sampled_from("ab1 ,:=#'\"\\$@{}[]()%~+.-/é"), max_size=12)


@given(st.lists(WORDS, max_size=3), WORDS)
@settings(max_examples=60, deadline=None)
def test_odd_text_survives_hydra(tmp_path_factory, words, word):
    text = "a:\n  l: []\n  s: old\n"
    values = {"a": {"l": words, "s": word}}
    folder = tmp_path_factory.mktemp("hydra")
    assert through_dvc(folder, text, presets.as_overrides(text, values)) == values
    assert reading.parse(presets.merge(text, values), "merged") == values


@pytest.mark.parametrize("value", [1e-5, 1e20, -3, 0.1, True, None, "1e-5", "null", "", "x y", []])
def test_every_kind_of_value_arrives_as_itself(value, tmp_path):
    text = "a:\n  v: old\n"
    values = {"a": {"v": value}}
    assert through_dvc(tmp_path, text, presets.as_overrides(text, values)) == values
    merged = presets.merge(text, values)
    assert reading.parse(merged, "merged") == values == yaml.safe_load(merged)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"teacher": {"learing_rate": 1}},
            r"^p\.yaml: teacher\.learing_rate: .*did you mean teacher\.learning_rate\?$",
        ),
        ({"techer": {}}, r"^p\.yaml: techer: .*did you mean teacher\?$"),
        ({"kd": {"zzz": 1}}, r"kd\.zzz: .*known are kd\.kl_alpha, kd\.temperature$"),
        ({"kd": 3}, r"^p\.yaml: kd: 3 stands where params\.yaml has a section: .*kl_alpha$"),
        ({"kd": None}, r"^p\.yaml: kd: None stands where"),
    ],
)
def test_what_params_does_not_have_is_refused(values, message):
    for action in (presets.merge, presets.as_overrides, presets.changes):
        with pytest.raises(UserError, match=message):
            action(PARAMS, copy.deepcopy(values), "p.yaml")


def test_a_shared_value_is_not_edited_by_halves():
    text = "a: &x {v: 1}\nb: *x\n"
    with pytest.raises(UserError, match="anchor"):
        presets.merge(text, {"b": {"v": 2}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", "not valid YAML"),
        ("- 1\n", "expected sections"),
        ("1: 2\n", "key 1 is no name"),
        ("a: {revision: 2024-01-01}\n", r"a\.revision: .*a date cannot be a parameter"),
        ("a: .inf\n", "a: inf: a float cannot be a parameter"),
    ],
)
def test_load_refuses_what_is_no_preset(text, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        presets.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_name_gets_the_nearest(tmp_path, preset):
    with pytest.raises(UserError, match="no preset 'squat': did you mean squad?"):
        presets.load("squat", tmp_path)
    with pytest.raises(UserError, match="no such preset file"):
        presets.load(tmp_path / "none.yaml")


def test_a_preset_extends_another_by_the_rules_of_merging(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/deep.yaml").write_text("a: {x: 1, config: {k: 1, l: 2}, list: [1, 2]}\nb: {y: 1}\n")
    (tmp_path / "shared/base.yaml").write_text("extends: deep\na: {z: 2}\n")
    (tmp_path / "mine.yaml").write_text("extends: shared/base\na: {x: 3, config: {k: 5}, list: [9]}\n")
    assert presets.load("mine", tmp_path) == {"a": {"x": 3, "config": {"k": 5}, "list": [9], "z": 2}, "b": {"y": 1}}
    assert presets.names(tmp_path) == ["mine"]  # what is shared is no preset


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: none\n", r"mine\.yaml: extends: none: .*none\.yaml: no such file: name another preset"),
        ("extends: mine\n", "mine: it extends itself"),
        ("extends: other\n", "mine: it extends itself"),
        ("extends: [a]\n", "no such file"),
    ],
)
def test_what_cannot_be_extended_is_refused(text, message, tmp_path):
    (tmp_path / "other.yaml").write_text("extends: mine\n")
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        presets.load("mine", tmp_path)


def test_several_presets_are_one_each_on_top_of_those_before(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "table.yaml").write_text("task: a\ntraining: {warmup: 1}\nteacher: {warmup: 2, config: {k: 1}}\n")
    (tmp_path / "tasks/other.yaml").write_text("task: b\nteacher: {config: {l: 2}}\n")
    assert presets.load_all(["table", "tasks/other"], tmp_path) == {
        "task": "b",
        "training": {"warmup": 1},
        "teacher": {"warmup": 2, "config": {"l": 2}},
    }
    assert presets.load_all(["table"], tmp_path) == presets.load("table", tmp_path)
    assert presets.names(tmp_path) == ["table"]
    with pytest.raises(UserError, match="tasks/none: no such preset file"):
        presets.load_all(["table", "tasks/none"], tmp_path)
