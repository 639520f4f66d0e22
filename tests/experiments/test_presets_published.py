"""The project's presets: each gives valid parameters, and those that were published."""

import copy
import functools
import re
import shlex
import string
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from distill import parameters
from distill.config import reading
from distill.config.params import Params
from distill.config.values import flatten
from distill.experiments import params_file, presets
from distill.losses import weights as schedules
from distill.methods import registry
from distill.models import loading
from pipeline import plan
from tests.experiments.test_presets import through_dvc
from tests.helpers import micro

TEXT = micro.shipped()


@functools.cache
def merged_values(name: str) -> dict[str, Any]:
    """The values of params.yaml with a preset."""
    return reading.parse(micro.shipped(name), name)


def merged_with(name: str) -> Params:
    return parameters.parse(copy.deepcopy(merged_values(name)), Path(name))


def overrides(name: str) -> list[str]:
    return presets.as_overrides(TEXT, presets.load(name))


def forms(name: str) -> set[tuple[str, str]]:
    """What sets overrides apart for DVC: a value is changed, added or removed, and how the value begins."""
    split = [override.partition("=") for override in overrides(name)]
    signs = ((path[0].strip(string.ascii_letters), value[:1].strip(string.ascii_letters)) for path, _, value in split)
    return {(sign, "0" if first.isdigit() else first) for sign, first in signs}


def test_dvc_leaves_the_values_of_a_preset(tmp_path):
    """For each form of an override in a preset."""
    seen: set[tuple[str, str]] = set()
    for name in presets.names():
        if new := forms(name) - seen:
            assert through_dvc(tmp_path, TEXT, overrides(name)) == merged_values(name)
            seen |= new
    assert len(seen) > 5


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", presets.names())
def test_dvc_leaves_the_values_of_every_preset(name, tmp_path):
    assert through_dvc(tmp_path, TEXT, overrides(name)) == merged_values(name)


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_of_the_project_gives_valid_parameters(name):
    merged_with(name)
    header = presets.header(name)
    assert header.keys() == {"description", "published"} and all(header.values())


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_can_follow_an_export_of_other_methods_and_seeds(name):
    text = params_file.replace(
        TEXT, {("seeds",): [1, 2], ("export", "methods"): ["ted", "kd"], ("export", "seeds"): [2]}
    )
    # What `merge` writes into the text, and compares with it.
    parameters.parse(presets._on_top(reading.parse(text, name), presets.load(name)), Path(name))


def test_the_deberta_preset_has_the_published_settings():
    params = merged_with("squad_v2-deberta_v3")
    trained = {name: getattr(params, name) for name in ("teacher", "student", "distill")}
    assert {name: section.learning_rate for name, section in trained.items()} == {
        "teacher": 3e-5,
        "student": 5e-5,
        "distill": 5e-5,
    }
    assert {name: section.batch_size for name, section in trained.items()} == {
        "teacher": 48,
        "student": 8,
        "distill": 8,
    }
    for section in (*trained.values(), params.teacher_filters, params.student_filters):
        assert (section.epochs, section.max_steps, section.weight_decay, section.warmup) == (3, None, 0, 0)
        assert section.lr_scheduler == "linear"
    assert (params.features.max_length, params.features.doc_stride, params.seeds) == (384, 128, [42])
    assert params.teacher_filters.learning_rate == 3e-5
    assert params.student_filters.learning_rate == 5e-5
    assert params.teacher_filters.filter_output_dim == params.student_filters.filter_output_dim == 768
    assert params.teacher_filters.filter_interval == params.student_filters.filter_interval == 1  # 12 layers each
    weights = {name: params.sections[name] for name in ("kd", "lwd", "ted")}
    assert {name: section.kl_alpha.value for name, section in weights.items()} == {"kd": 10, "lwd": 10, "ted": 10}
    assert (weights["lwd"].mse_alpha.value, weights["ted"].mse_alpha.value) == (100, 5000)


def test_the_reproduction_differs_in_batch_size_and_optimiser_alone():
    official, other = (flatten(merged_with(f"squad_v2-deberta_v3{suffix}")) for suffix in ("", "-reproduction"))
    changed = {name.rsplit(".", 1)[-1]: other[name] for name in official if official[name] != other[name]}
    assert official.keys() == other.keys()
    listed = changed.pop("methods")
    assert changed == {"batch_size": 48, "adam_beta2": 0.98, "adam_epsilon": 1e-6}
    assert listed == ["ft", "kd", "lwd", "ted"]  # its kd and lwd start from the fine-tuned student


def test_the_header_of_a_preset_ends_with_its_published_figures():
    assert presets.header("squad_v2-deberta_v3")["published"].endswith("ted 83.6/86.4 (its README: 83.0/85.9)")


# Task, texts, deciding score and validation splits of GLUE's tasks as nyu-mll/glue has them.
GLUE = {
    "mnli": ("classification", "premise", "hypothesis", "accuracy", "validation_matched", "validation_mismatched"),
    "qqp": ("classification", "question1", "question2", "f1", "validation", None),
    "qnli": ("classification", "question", "sentence", "accuracy", "validation", None),
    "sst2": ("classification", "sentence", None, "accuracy", "validation", None),
    "rte": ("classification", "sentence1", "sentence2", "accuracy", "validation", None),
    "cola": ("classification", "sentence", None, "mcc", "validation", None),
    "mrpc": ("classification", "sentence1", "sentence2", "f1", "validation", None),
    "stsb": ("regression", "sentence1", "sentence2", "spearman", "validation", None),
}
# The teacher's learning rate, epochs, batch and warm-up in the scripts of TED's repository.
TEACHERS = {
    "mnli": (2e-5, 3, 64, 1500),
    "qqp": (2e-5, 8, 64, 5000),
    "qnli": (1e-5, 3, 32, 500),
    "sst2": (2e-5, 6, 32, 0),
    "rte": (3e-5, 6, 16, 0),
    "cola": (2e-5, 6, 32, 100),
    "mrpc": (3e-5, 6, 32, 0),
    "stsb": (2e-5, 6, 16, 100),
}


@pytest.mark.parametrize("task", GLUE)
def test_glue_presets_read_the_columns_of_their_task(task):
    params = merged_with(f"glue-{task}-deberta_v3")
    data = params.data
    assert (data.source, data.name, data.subset, data.label) == ("hub", "nyu-mll/glue", task, "label")
    assert GLUE[task] == (
        params.task,
        data.text,
        data.text_pair,
        params.evaluate.metric,
        data.validation_split,
        data.mismatched_split,
    )
    # Rows of these share sentences or texts; in the others an equal text is rare.
    assert data.group == ("texts" if task in ("sst2", "mnli", "qnli", "qqp") else None)
    assert params.features.max_length == (128 if task == "stsb" else 256)
    assert params.methods == ["ft", "kd", "lwd", "ted", "kd-pretrained", "lwd-pretrained"]
    assert params.augment.methods == []
    for section in (params.teacher, params.teacher_filters):
        assert TEACHERS[task] == (section.learning_rate, section.epochs, section.batch_size, section.warmup)
    trained = (params.teacher, params.student, params.distill, params.teacher_filters, params.student_filters)
    assert {section.max_grad_norm for section in trained} == {0}
    # After every epoch the best weights are kept.
    assert {(section.keep, section.evaluations - section.epochs) for section in trained[:3]} == {("best", 0)}
    weights = {name: params.sections[name] for name in ("kd", "kd-pretrained", "lwd", "lwd-pretrained")}
    assert weights["kd"] == weights["kd-pretrained"] and weights["lwd"] == weights["lwd-pretrained"]
    starts = {name: params.resolved(name).distill.init for name in params.methods}
    assert starts == {name: "pretrained" if name.endswith("pretrained") else "finetuned" for name in params.methods}


DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "cls_dropout")


@pytest.mark.parametrize("task", GLUE)
def test_glue_presets_have_the_dropout_of_their_task(task):
    """RTE has none, and CoLA's student none before its classifier; filters' heads have what classifiers have."""
    params = merged_with(f"glue-{task}-deberta_v3")
    teacher, student = ([role.model.config.get(name) for name in DROPOUTS] for role in (params.teacher, params.student))
    none = [0.0] * 3 if task == "rte" else [None] * 3
    assert (teacher, student) == (none, [None, None, 0.0] if task == "cola" else none)
    heads = params.teacher_filters.head_dropout, params.student_filters.head_dropout
    assert heads == {"rte": (0.0, 0.0), "cola": (0.1, 0.0)}.get(task, (0.1, 0.1))
    model = AutoConfig.for_model("deberta-v2", **params.student.model.config)
    assert model.hidden_dropout_prob == (0.0 if task == "rte" else 0.1)
    assert getattr(model, "cls_dropout", None) == (0.0 if task in ("rte", "cola") else None)


def commands(text: str) -> list[list[str]]:
    """What a preset's comments offer: the `-S` arguments of each command, and each that stands alone."""
    comments = " ".join(line.lstrip("# ").rstrip("\\") for line in text.splitlines() if line.startswith("#"))
    argument = r"-S +(?:'[^']*'|[\w.]+=[\w.-]*\w)"
    found = [match[0] for match in re.finditer(rf"(?:{argument} *)+", comments)]
    return [[word for word in shlex.split(group) if word != "-S"] for group in found]


# Layers and attention heads of the checkpoints that presets name, as their configurations on the hub have them.
CHECKPOINTS = {
    "microsoft/deberta-v3-base": (12, 12),
    "microsoft/deberta-v3-xsmall": (12, 6),
    "google-bert/bert-base-uncased": (12, 12),
    "google-bert/bert-large-uncased": (24, 16),
    "google/bert_uncased_L-4_H-512_A-8": (4, 8),
    "distilbert/distilbert-base-uncased": (6, 12),
    "FacebookAI/roberta-large": (24, 16),
    "FacebookAI/roberta-base": (12, 12),
    "distilbert/distilroberta-base": (6, 12),
    "sentence-transformers/all-MiniLM-L6-v2": (6, 12),
    "answerdotai/ModernBERT-base": (22, 12),
    "jhu-clsp/ettin-encoder-17m": (7, 4),
    "jhu-clsp/ettin-encoder-32m": (10, 6),
    "jhu-clsp/ettin-encoder-68m": (19, 8),
}


@pytest.fixture
def planned(monkeypatch):
    """What stage plan makes of parameters, but for vocabularies."""

    def configuration(path, revision, fields=None, where=""):
        layers, heads = CHECKPOINTS[path]
        return AutoConfig.for_model("bert", num_hidden_layers=layers, num_attention_heads=heads)

    monkeypatch.setattr(loading, "configuration", configuration)

    def run(params):
        plan.check_pairs(params)
        return plan.readers(params, plan.requests(params))

    return run


@pytest.mark.parametrize("name", presets.names())
def test_the_models_of_every_preset_can_be_paired(name, planned):
    assert planned(merged_with(name))


@pytest.mark.parametrize("name", presets.names())
def test_what_a_preset_offers_on_the_command_line_is_accepted(name, root, planned, tmp_path):
    source = (root / f"presets/{name}.yaml").read_text(encoding="utf-8")
    text = micro.shipped(name)
    offered = commands(source)
    assert sum(map(len, offered)) == len(re.findall(r"-S '?[\w.]+=", source))  # none is overlooked
    for overrides in offered:
        planned(parameters.parse(through_dvc(tmp_path, text, overrides), Path(name)))


def test_random_students_of_the_half_depth_preset_read_what_students_made_of_layers_read():
    params, hidden = merged_with("sst2-deberta_v3-half"), registry.load("hidden")
    layers = [hidden.reads(params.resolved(name), 6, 12).cls for name in ("hidden", "hidden-random")]
    assert layers == [(2, 4, 6, 8, 10, 12)] * 2
    # The study's map: layer k of the student is compared with layer 2k of the teacher.
    assert hidden.reads(params.resolved("hidden-random-246"), 6, 12).cls == (4, 8, 12)


def test_the_half_depth_presets_have_the_settings_of_the_studys_code():
    sst2, imdb = (merged_with(f"{name}-deberta_v3-half") for name in ("sst2", "imdb"))
    for params in (sst2, imdb):
        assert params.student.layers == [1, 3, 5, 7, 9, 11] and params.features.max_length == 512
        for section in (params.student, params.distill):
            assert (section.learning_rate, section.batch_size, section.weight_decay) == (5e-5, 256, 0.01)
            assert (section.epochs, section.warmup, section.lr_scheduler) == (3, 0, "linear")
    for name in sst2.methods:
        init = sst2.resolved(name).distill.init
        assert init == ("random" if "-random" in name else "teacher_layers"), name
    settings = {name: sst2.sections[name] for name in sst2.methods if sst2.method_of(name) == "hidden"}
    schedules_of = {name: found.alpha.schedule for name, found in settings.items() if found.alpha.value == 1}
    assert {name.rsplit("-", 1)[1]: schedule.removeprefix("cosine_") for name, schedule in schedules_of.items()} == {
        name: name for name in ("descent", "growth", "v", "peak")
    }
    assert len(schedules_of) == 8 and {settings[name].alpha.warmup for name in schedules_of} == {0.1}
    assert {tuple(settings[name].layers) for name in schedules_of} == {(1, 2, 3)}
    fixed = {name: found.layers for name, found in settings.items() if name not in schedules_of}
    assert {settings[name].alpha.value for name in fixed} == {0.5}
    assert fixed == {
        "hidden": "all",
        "hidden-random": "all",
        **{f"hidden-random-{layers}": [int(digit) for digit in layers] for layers in ("456", "123", "246", "135")},
    }


@pytest.mark.parametrize("schedule", ["cosine_growth", "cosine_descent", "cosine_v", "cosine_peak"])
def test_the_four_schedules_of_the_half_depth_presets_leave_kd_the_rest(schedule):
    """kd's two weights in the header's lines add up to 1 at every moment."""
    text = presets.find("sst2-deberta_v3-half").read_text(encoding="utf-8")
    line = (
        next(line for line in text.splitlines() if line.startswith(f"#   … {schedule}:"))
        if schedule != "cosine_growth"
        else ""
    )
    other = line.split("kd.kl_alpha ")[1] if line else "cosine_descent"
    for step in range(101):
        total = schedules.factor(schedule, step / 100, 0.1) + schedules.factor(other, step / 100, 0.1)
        assert total == pytest.approx(1)


def test_the_tables_of_bert_roberta_and_distilbert_have_the_published_settings():
    four, two = (merged_with(f"glue-bert{layers}") for layers in (4, 2))
    assert [params.student.model.config["num_hidden_layers"] for params in (four, two)] == [4, 2]
    pkd = four.sections["pkd"]
    groups = {name: four.sections[name].layer_groups for name in ("ckd-no", "ckd-po")}
    mixes = {name: four.sections[name].layers for name in ("alp-no", "alp-po", "alp")}
    assert groups == {"ckd-no": "regular", "ckd-po": "overlap"}
    assert mixes == {"alp-no": "regular", "alp-po": "overlap", "alp": "all"}
    assert {two.sections[f"pkd-{layer}"].layer_map[0] == layer for layer in (1, 6, 12)} == {True}
    assert four.sections["rail"].pooling == "mean"
    assert (pkd.alpha.value, pkd.temperature, pkd.beta.value, four.features.max_length) == (0.7, 10, 500, 128)
    assert 1e-5 <= four.distill.learning_rate <= 5e-5 and four.distill.warmup == 0.1

    roberta = merged_with("glue-distilroberta")
    mate, combined, annealing = (roberta.sections[name] for name in ("mate", "combined-40", "annealing-7"))
    assert (mate.mask_probability, mate.gumbel_temperature, mate.generator_steps, mate.student_steps) == (
        0.3,
        1,
        10,
        100,
    )
    assert mate.generator_learning_rate == 5e-7 and not roberta.generator.train
    assert mate.task_weight == mate.kl_alpha == mate.adversarial_alpha
    assert (combined.tau_max, combined.phase1_share) == (10, 30 / 40)
    assert (annealing.tau_max, annealing.phase1_share) == (7, 14 / 20)
    assert roberta.sections["annealing-14"] == annealing.model_copy(update={"tau_max": 14})
    epochs = {name: roberta.resolved(name).distill.epochs for name in ("annealing-7", "annealing-14", "combined-40")}
    assert epochs == {"annealing-7": 20, "annealing-14": 20, "combined-40": 40}
    assert roberta.sections["freelb-alone"].kl_alpha.value == 0 < roberta.sections["freelb"].kl_alpha.value
    assert roberta.augment.methods == ["kd-augmented"]
    assert [link.model.path for link in roberta.assistant.chain] == ["FacebookAI/roberta-base"]
    assert (roberta.distill.learning_rate, roberta.distill.batch_size, roberta.distill.epochs) == (2e-5, 32, 30)
    assert (roberta.retrieve.candidates, roberta.sections["minimax_knn"].selected) == (8, 2)
    augment = roberta.augment
    assert (augment.copies, augment.probability, augment.candidates) == (30, 0.4, 15)  # TinyBERT's, for RTE

    nearest = merged_with("minimax_knn-distilroberta")
    knn, minimax = (nearest.sections[name] for name in ("knn", "minimax_knn"))
    assert (nearest.retrieve.candidates, knn.neighbours, minimax.selected) == (8, 8, 4)
    assert {knn.candidate_alpha.value, minimax.candidate_alpha.value} == {0.5}

    small = merged_with("glue-bert_small")
    assert [link.model.path for link in small.assistant.chain] == ["google-bert/bert-base-uncased"]
    assert [small.sections[f"annealing-{tau}"].tau_max for tau in (7, 14)] == [7, 14]
    assert (small.distill.learning_rate, small.distill.batch_size, small.distill.epochs) == (2e-5, 32, 14 + 6)

    distilbert = merged_with("squad_v1-distilbert")
    kd = distilbert.sections["kd"]
    assert (kd.task_weight.value, kd.kl_alpha.value, kd.temperature) == (0.5, 0.5, 2)
    assert (distilbert.distill.epochs, distilbert.distill.learning_rate) == (3, 5e-5)
    assert (distilbert.features.max_length, distilbert.features.doc_stride) == (384, 128)
    assert not distilbert.data.version_2_with_negative


def test_reverse_and_defective_are_configurations_of_kd(root):
    usual = parameters.load(root / "tests/params.yaml")
    reverse, defective = (merged_with(f"{name}-kd") for name in ("reverse", "defective"))
    assert reverse.teacher.model.config == usual.student.model.config
    assert reverse.student.model.config == usual.teacher.model.config
    assert defective.teacher.label_noise > 0 and defective.teacher.model == usual.teacher.model
    for params in (reverse, defective):
        assert "kd" in params.methods
