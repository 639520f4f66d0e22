"""The project's presets: each gives valid parameters, and those that were published."""

import copy
import re
import shlex
from pathlib import Path

import pytest
from transformers import AutoConfig

from distill import parameters
from distill.config import reading
from distill.config.values import flatten
from distill.experiments import params_file, presets
from distill.losses import weights as schedules
from distill.models import loading
from pipeline import plan
from pipeline.stage.definition import define
from tests.experiments.test_presets import through_dvc


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_of_the_project_gives_valid_parameters(name, root, tmp_path):
    text = (root / "params.yaml").read_text(encoding="utf-8")
    values = presets.load(name)
    merged = reading.parse(presets.merge(text, values), name)
    parameters.parse(copy.deepcopy(merged), Path(name))
    assert through_dvc(tmp_path, text, presets.as_overrides(text, values)) == merged
    header = presets.header(name)
    assert header.keys() == {"description", "published"} and all(header.values())


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_can_follow_an_export_of_other_methods_and_seeds(name, root):
    text = params_file.replace(
        (root / "params.yaml").read_text(encoding="utf-8"),
        {("seeds",): [1, 2], ("export", "methods"): ["ted", "kd"], ("export", "seeds"): [2]},
    )
    parameters.parse(reading.parse(presets.merge(text, presets.load(name)), name), Path(name))


def merged_with(root, name):
    return parameters.parse(
        reading.parse(presets.merge((root / "params.yaml").read_text(encoding="utf-8"), presets.load(name)), name),
        Path(name),
    )


def test_the_deberta_preset_has_the_published_settings(root):
    params = merged_with(root, "squad_v2-deberta_v3")
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


def test_the_reproduction_differs_in_batch_size_and_optimiser_alone(root):
    official, other = (flatten(merged_with(root, f"squad_v2-deberta_v3{suffix}")) for suffix in ("", "-reproduction"))
    changed = {name.rsplit(".", 1)[-1]: other[name] for name in official if official[name] != other[name]}
    assert official.keys() == other.keys()
    assert changed == {"batch_size": 48, "adam_beta2": 0.98, "adam_epsilon": 1e-6}


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
    "stsb": ("regression", "sentence1", "sentence2", "pearson", "validation", None),
}


@pytest.mark.parametrize("task", GLUE)
def test_glue_presets_read_the_columns_of_their_task(task, root):
    params = merged_with(root, f"glue-{task}-deberta_v3")
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
    assert params.methods == ["ft", "kd", "lwd", "ted"] and params.augment.methods == []
    dropout = {
        params.teacher.model.config.get("hidden_dropout_prob"),
        params.student.model.config.get("hidden_dropout_prob"),
    }
    assert dropout == ({0.0} if task == "rte" else {None})
    heads = {params.teacher_filters.head_dropout, params.student_filters.head_dropout}
    assert heads == ({0.0} if task == "rte" else {0.1})


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
    "google/bert_uncased_L-8_H-512_A-8": (8, 8),
    "google/bert_uncased_L-4_H-512_A-8": (4, 8),
    "distilbert/distilbert-base-uncased": (6, 12),
    "FacebookAI/roberta-large": (24, 16),
    "FacebookAI/roberta-base": (12, 12),
    "distilbert/distilroberta-base": (6, 12),
    "sentence-transformers/all-MiniLM-L6-v2": (6, 12),
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
        return plan.readers(params, plan.requests(params, define("plan").declared))

    return run


@pytest.mark.parametrize("name", presets.names())
def test_the_models_of_every_preset_can_be_paired(name, root, planned):
    assert planned(merged_with(root, name))


@pytest.mark.parametrize("name", [*presets.names(), "shared/glue-rte"])
def test_what_a_preset_offers_on_the_command_line_is_accepted(name, root, planned, tmp_path):
    source = (root / f"presets/{name}.yaml").read_text(encoding="utf-8")
    applied = "glue-bert4" if name.startswith("shared") else name
    text = presets.merge((root / "params.yaml").read_text(encoding="utf-8"), presets.load(applied))
    offered = commands(source)
    assert sum(map(len, offered)) == len(re.findall(r"-S '?[\w.]+=", source))  # none is overlooked
    for overrides in offered:
        planned(parameters.parse(through_dvc(tmp_path, text, overrides), Path(name)))


def test_random_students_of_the_half_depth_preset_read_what_students_made_of_layers_read(root, planned, tmp_path):
    text = presets.merge((root / "params.yaml").read_text(encoding="utf-8"), presets.load("sst2-deberta_v3-half"))
    found = [
        planned(parameters.parse(through_dvc(tmp_path, text, [f"distill.init={init}"]), Path("half")))["hidden"].cls
        for init in ("teacher_layers", "random")
    ]
    assert found == [(2, 4, 6, 8, 10, 12)] * 2


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


def test_the_tables_of_bert_roberta_and_distilbert_have_the_published_settings(root):
    four, two = (merged_with(root, f"glue-bert{layers}") for layers in (4, 2))
    assert [params.student.model.config["num_hidden_layers"] for params in (four, two)] == [4, 2]
    pkd = four.sections["pkd"]
    assert (pkd.alpha.value, pkd.temperature, pkd.beta.value, four.features.max_length) == (0.7, 10, 500, 128)
    assert 1e-5 <= four.distill.learning_rate <= 5e-5 and four.distill.warmup == 0.1

    roberta = merged_with(root, "glue-distilroberta")
    mate, combined, annealing = (roberta.sections[name] for name in ("mate", "combined", "annealing"))
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
    assert (roberta.distill.learning_rate, roberta.distill.batch_size, roberta.distill.epochs) == (2e-5, 32, 30)
    assert (roberta.retrieve.candidates, roberta.sections["minimax_knn"].selected) == (8, 2)
    augment = roberta.augment
    assert (augment.copies, augment.probability, augment.candidates) == (30, 0.4, 15)  # TinyBERT's, for RTE

    small = merged_with(root, "glue-bert_small")
    assert (small.distill.learning_rate, small.distill.batch_size, small.distill.epochs) == (2e-5, 32, 14 + 6)

    distilbert = merged_with(root, "squad_v1-distilbert")
    kd = distilbert.sections["kd"]
    assert (kd.task_weight.value, kd.kl_alpha.value, kd.temperature) == (0.5, 0.5, 2)
    assert (distilbert.distill.epochs, distilbert.distill.learning_rate) == (3, 5e-5)
    assert (distilbert.features.max_length, distilbert.features.doc_stride) == (384, 128)
    assert not distilbert.data.version_2_with_negative


def test_reverse_and_defective_are_configurations_of_kd(root):
    usual = parameters.load(root / "params.yaml")
    reverse, defective = (merged_with(root, f"{name}-kd") for name in ("reverse", "defective"))
    assert reverse.teacher.model.config == usual.student.model.config
    assert reverse.student.model.config == usual.teacher.model.config
    assert defective.teacher.label_noise > 0 and defective.teacher.model == usual.teacher.model
    for params in (reverse, defective):
        assert "kd" in params.methods
