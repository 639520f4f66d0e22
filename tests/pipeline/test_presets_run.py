"""Every preset through the stages in seconds: tiny random models of its architectures, the embedded corpus of its task.

Loss weights, schedules, phases, layer maps, layers to copy, starts and methods are the preset's own. Sizes are not: few
updates, small batches, narrow filters, and checkpoints of width 16 or 24 (for 64 relation heads 64) in place of those
that it names.

tests/experiments/test_presets_published.py has what stage plan says of every preset. A student is trained where
something of it that decides the code it goes through - its task, how it starts, an architecture, what it learns from,
what is made for it - is in no student before it. `make test-all` trains each further combination of those with methods
and their sections, but for numbers (learning rates, loss weights, epochs).
"""

import copy
import csv
import functools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from distill import parameters
from distill.config import reading, training
from distill.config.params import Params
from distill.data.loading import tokenizer as tokenizers
from distill.experiments import presets
from distill.methods import registry, requirements
from distill.tasks.registry import load_task
from pipeline.stage.definition import define
from tests.helpers import micro, tiny

pytestmark = [pytest.mark.slow, pytest.mark.integration]


class Shape(NamedTuple):
    """Stands for a checkpoint of the hub."""

    kind: str
    layers: int
    width: int
    masked_lm: bool = True  # whether it comes with a masked-LM head


# As many layers as the checkpoint has wherever a preset says something about layers.
CHECKPOINTS = {
    "microsoft/deberta-v3-base": Shape("deberta-v2", 12, 24),
    "microsoft/deberta-v3-xsmall": Shape("deberta-v2", 4, 16),
    "google-bert/bert-base-uncased": Shape("bert", 12, 16),
    "google-bert/bert-large-uncased": Shape("bert", 4, 24),
    "google/bert_uncased_L-8_H-512_A-8": Shape("bert", 3, 16),
    "google/bert_uncased_L-4_H-512_A-8": Shape("bert", 2, 16),
    "distilbert/distilbert-base-uncased": Shape("distilbert", 6, 16),
    "FacebookAI/roberta-large": Shape("roberta", 4, 24),
    "FacebookAI/roberta-base": Shape("roberta", 3, 16),
    "distilbert/distilroberta-base": Shape("roberta", 2, 16),
    "sentence-transformers/all-MiniLM-L6-v2": Shape("bert", 6, 16, masked_lm=False),
    "answerdotai/ModernBERT-base": Shape("modernbert", 4, 64),
    "jhu-clsp/ettin-encoder-32m": Shape("modernbert", 2, 64),
}
TRAININGS = ("teacher", "student", "assistant", "teacher_filters", "student_filters", "generator", "distill")
# Artifact to the stages that make it.
ARTIFACTS = {
    "filters": (("train_filters", "teacher"), ("train_filters", "student")),
    "assistant": (("train_assistants",),),
    "generator": (("train_generator",),),
    "candidates": (("retrieve",),),
    "augmented": (("augment",),),
}
# What sections of trainings have besides the settings that all trainings have.
UNLIKE_OTHERS = {"model", "tokenizer", "init", "layers", "num_layers", "chain", "nonlinear", "filter_interval"}
# The embedded corpus in place of the data that a preset names, and the longest text.
COLUMNS = {
    "questions": ("sentence", None, "label", 128),
    "sentences": ("sentence", None, "label", 48),
    "pairs": ("sentence1", "sentence2", "label", 48),
    "similarity": ("sentence1", "sentence2", "score", 48),
    "topics": ("text", None, "labels", 96),
    "entities": ("text", None, "entities", 48),
    "passages": ("query", "passage", "label", 64),
}
# Task to the embedded corpus for it; texts with one label have two.
KINDS = {
    "qa": "questions",
    "regression": "similarity",
    "ranking": "passages",
    "token_classification": "entities",
    "multi_label": "topics",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, stages) -> Path:
    """A repository with the embedded corpora, small."""
    folder = micro.repo(
        tmp_path_factory.mktemp("presets") / "repo", {"atlas.text_train": 160, "atlas.text_validation": 24}
    )
    stages.run_all(folder, (("inputs",), ("corpus",)))
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory, corpus) -> dict[str, str]:
    """Hub ids to folders: tiny checkpoints with one tokenizer for all."""
    import transformers

    raw = corpus / "data/raw/atlas"
    texts = [path.read_text() for name in COLUMNS for path in sorted(raw.glob(f"{name}/train.*"))]
    articles = json.loads((raw / "train.json").read_text())["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    texts += [p["context"] for p in paragraphs] + [qa["question"] for p in paragraphs for qa in p["qas"]]
    tokenizer = tokenizers.train(texts, 600, lowercase=True)
    folder, found = tmp_path_factory.mktemp("hub"), {}
    for name, (kind, layers, width, masked_lm) in CHECKPOINTS.items():
        fields = tiny.shape(kind, layers, width) | {"vocab_size": len(tokenizer), "pad_token_id": 0}
        fields["max_position_embeddings"] = 136
        transformers.set_seed(len(found))
        config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
        auto = transformers.AutoModelForMaskedLM if masked_lm else transformers.AutoModel
        found[name] = str(folder / name.replace("/", "-"))
        auto.from_config(config).save_pretrained(found[name])
        tokenizer.save_pretrained(found[name])
    return found


@pytest.fixture(scope="module")
def prepared(corpus, stages, tmp_path_factory):
    """Repositories with data prepared for parameters; those of equal data are made once."""
    made: dict[str, Path] = {}

    def prepare(values: dict[str, Any]) -> Path:
        read = [values[name] for name in ("task", "data", "features")]
        key = json.dumps([*read, *(values[role]["tokenizer"] for role in ("teacher", "student"))])
        if key not in made:
            made[key] = shutil.copytree(corpus, tmp_path_factory.mktemp("prepared") / "repo")
            write(made[key], values)
            stages.run_all(made[key], (("prepare",),))
        return made[key]

    return prepare


@pytest.fixture(scope="module")
def small(hub) -> Callable[[str], dict[str, Any]]:
    """Gives the parameters with a preset, in sizes for a test."""
    return functools.cache(lambda name: in_small(name, hub))


@functools.cache
def merged(name: str) -> str:
    """params.yaml with a preset."""
    return presets.merge(micro.params(), presets.load(name))


def write(repo: Path, values: dict[str, Any]) -> None:
    """A params.yaml without comments, and without what it takes to keep them; JSON is YAML."""
    (repo / "params.yaml").write_text(json.dumps(values, indent=1))


def in_small(name: str, hub: dict[str, str]) -> dict[str, Any]:
    found = reading.parse(merged(name), name)
    values = training.complete(found)
    changes: dict[str, Any] = {"predict.batch_size": 32, "evaluate.batch_size": 32}
    for section in TRAININGS:
        evaluations = min(values[section]["evaluations"], 1)
        sizes = {"max_steps": 3, "batch_size": 8, "log_every": 1, "evaluations": evaluations}
        changes |= {f"{section}.{key}": value for key, value in sizes.items()}
    changes |= {f"{role}_filters.filter_output_dim": 8 for role in ("teacher", "student")}
    changes |= {f"{method}.evaluations": 1 for method in ("annealing", "combined")}
    changes |= embedded(values, hub) | models(values, hub)
    for path, value in changes.items():
        *sections, field = path.split(".")
        functools.reduce(dict.__getitem__, sections, found)[field] = value
    return found


def embedded(values: dict[str, Any], hub: dict[str, str]) -> dict[str, Any]:
    """The embedded corpus of the preset's task in place of its data."""
    data = values["data"]
    kind = data["embedded"]
    if data["source"] != "embedded":
        pair = "pairs" if data["text_pair"] else "sentences"
        kind = {"classification": pair, **KINDS}[values["task"]]
    names = ("data.text", "data.text_pair", "data.label", "features.max_length")
    changes = dict(zip(names, COLUMNS[kind], strict=True))
    changes |= {"data.source": "embedded", "data.embedded": kind, "data.mismatched": "data/none"}
    if data["transfer"] != "data/none":  # a preset of the embedded corpus, which is read as files then
        return changes | {"data.source": "files", "data.max_train_examples": 40, "data.id": data["id"]}
    changes |= {"data.mismatched_split": None, "data.name": None, "data.subset": None, "data.id": None}
    # Unread with this source; equal for all, so that equal data are prepared once.
    changes |= {"data.train": "data/none", "data.validation": "data/none"}
    changes |= {"data.train_split": "train", "data.validation_split": "validation"}
    changes |= {"data.group": None, "data.strip_html": False, "data.selection_fraction": 0.1, "features.doc_stride": 32}
    if values["features"]["tokenizer"]["path"]:
        changes["features.tokenizer.path"] = hub["google-bert/bert-base-uncased"]
    return changes


def models(values: dict[str, Any], hub: dict[str, str]) -> dict[str, Any]:
    """Tiny checkpoints in place of the preset's, and narrow models where it gives a shape."""
    changes: dict[str, Any] = {}
    for role in ("teacher", "student", "generator"):
        path, shape = (values[role]["model"][key] for key in ("path", "config"))
        if path:
            changes[f"{role}.model.path"] = hub[path]
        elif shape.get("hidden_size", 0) >= 64:
            narrow = {"hidden_size": shape["hidden_size"] // 4, "num_attention_heads": 2, "intermediate_size": 32}
            changes[f"{role}.model.config"] = shape | narrow
    if values["student"]["model"]["path"] == "microsoft/deberta-v3-xsmall":
        # As many layers as this student has here, so that the filters on all layers pair off as they do in full size.
        changes["teacher.model.config"] = values["teacher"]["model"]["config"] | {"num_hidden_layers": 4}
    if values["student"]["init"] == "teacher_layers" and values["teacher"]["model"]["path"] is None:
        # As many layers as the embedded teacher has in full size, for the student to choose among.
        changes["teacher.model.config"] = changes.get("teacher.model.config", values["teacher"]["model"]["config"]) | {
            "num_hidden_layers": 4
        }
    chain = values["assistant"]["chain"]
    for link in chain:
        link["model"]["path"] = hub.get(link["model"]["path"])
    return changes | {"assistant.chain": chain}


def coarse(value: Any, sizes: bool = False) -> Any:
    """A value of params.yaml without its numbers: whether it is zero stays, and sizes, where they are asked for."""
    if isinstance(value, dict):
        return {key: coarse(item, sizes) for key, item in value.items() if not (sizes and isinstance(item, float))}
    if isinstance(value, (list, tuple)):  # of layers
        return [coarse(item, True) for item in value]
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and not sizes):
        return "zero" if value == 0 else "number"
    return value


def kind(params: Params, method: str) -> dict[str, Any]:
    """What sets a student apart from others of its method by more than a number: task, models, start, own section.

    Settings of a training (`keep`, say) are no part of it: they are the same code for every preset.
    """
    words = [("finetune", "teacher"), ("finetune", "student"), ("distill", method, "1")]
    words += [stage for artifact in requirements.artifacts(method, params) for stage in ARTIFACTS[artifact]]
    values = {name: value for stage in words for name, value in define(*stage).values(params).items()}
    base = params.method_of(method)
    if base == "ft":
        values["evaluate.metric"] = params.evaluate.metric  # one student for each metric is enough
    for section in {*TRAININGS, "training"} & values.keys():
        values[section] = {key: item for key, item in values[section].items() if key in UNLIKE_OTHERS}
    return {name: coarse(value, name != base) for name, value in values.items()}


def form(value: Any) -> Any:
    """A value without numbers, of models the architecture alone, and of a list of layers only that it is one."""
    if isinstance(value, dict) and {"path", "config"} <= value.keys():
        shapes = {name.replace("/", "-"): shape.kind for name, shape in CHECKPOINTS.items()}
        return shapes[Path(value["path"]).name] if value["path"] else value["config"].get("model_type")
    if isinstance(value, dict):
        return {key: form(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return "numbers" if all(isinstance(item, int) for item in value) else [form(item) for item in value]
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else value


# Of which architecture, besides teacher and student: `family_table` tries all of them with the methods that need them.
FURTHER = {"assistant", "generator"}


def parts(params: Params, method: str) -> set[str]:
    """What decides the code that a student goes through, each by itself, without its method's terms.

    Its task; both architectures; how it starts before fine-tuning and before distillation; whose outputs it learns
    from; what other stages make for it, and how. Every method learns every task that it can in
    tests/models/test_families.py, and tests/methods has the values that a method's own section may have.
    """
    values = {name: value for name, value in kind(params, method).items() if not name.startswith("evaluate.")}
    values.pop(params.method_of(method))
    student, start = values.pop("student"), values.pop("distill")["init"]
    copied, layers = "teacher_layers", form([student["layers"], student["num_layers"]])
    own = {
        "task": values.pop("task"),
        "taught by": [params.teacher.source, params.data.has_transfer] if learns(params, method) else "labels",
        "architecture": form((values["teacher"] if student["init"] == copied else student)["model"]),
        "fine-tuned": [student["init"], student["init"] == copied and layers],
        "distilled": [start, start == copied and layers],
        "tokenizer": form(student["tokenizer"]),
    }
    own |= {name: True if name in FURTHER else form(value) for name, value in values.items() if "student." not in name}
    return {json.dumps(part) for part in own.items()}


def learns(params: Params, method: str) -> bool:
    """Whether it learns from a model's outputs."""
    return bool(registry.load(params.method_of(method)).needs)


def chosen(params: Params, known: set[str]) -> list[str]:
    """Methods of a preset that together have all its parts that are not known yet; those are known then."""
    methods, new = [], {method: parts(params, method) for method in params.methods}
    while any(its - known for its in new.values()):
        methods.append(max(new, key=lambda name: (len(new[name] - known), learns(params, name))))
        known |= new[methods[-1]]
    return methods


@pytest.fixture(scope="module")
def students(small) -> dict[str, tuple[list[str], list[str]]]:
    """Preset to its methods of which some part is new, and to the others that are new as a whole.

    Presets with most that is new come first.
    """
    checked = {name: checked_params(small(name), name) for name in presets.names()}
    new = {name: set().union(*(parts(params, m) for m in params.methods)) for name, params in checked.items()}
    known: set[str] = set()
    found: dict[str, tuple[list[str], list[str]]] = {}
    while new:
        name = max(new, key=lambda name: len(new[name] - known))
        del new[name]
        found[name] = (chosen(checked[name], known), [])
    kinds = {name: {m: json.dumps(kind(params, m)) for m in params.methods} for name, params in checked.items()}
    trained = {kinds[name][method] for name, (usual, _) in found.items() for method in usual}
    for name, of_method in kinds.items():
        for method, its in of_method.items():
            if its not in trained:
                found[name][1].append(method)
                trained.add(its)
    return found


def checked_params(values: dict[str, Any], name: str) -> Params:
    return parameters.parse(copy.deepcopy(values), Path(name))


@pytest.fixture
def run(small, prepared, stages, tmp_path) -> Callable[[str, list[str]], None]:
    """Trains some methods of a preset."""

    def train_some(name: str, methods: list[str]) -> None:
        train(shutil.copytree(prepared(small(name)), tmp_path / name), name, small(name), methods, stages)

    return train_some


CHECKED = (("inputs",), ("plan",))


def train(repo: Path, name: str, params: dict[str, Any], methods: list[str], stages) -> None:
    """Train students of a preset, and score the last of them."""
    seed, ensemble = str(params["seeds"][0]), params["ensemble"]["members"]
    copies = [method for method in params["augment"]["methods"] if method in methods]
    write(repo, params | {"methods": methods, "augment": params["augment"] | {"methods": copies}})
    trained = (("finetune", "teacher"), ("finetune", "student"))
    members = [(f"{stage}_member", member) for member in ensemble for stage in ("finetune", "predict")]
    taught = (*CHECKED, *trained, *members, ("predict",), *micro.OPTIONAL, ("signals",))
    distilled = [("distill", method, seed) for method in methods]
    stages.run_all(repo, (*taught, *distilled, ("evaluate", methods[-1], seed)))
    for method in methods:
        rows = list(csv.DictReader((repo / f"metrics/curves/{method}-{seed}.csv").read_text().splitlines()))
        losses = [float(row["loss"]) for row in rows if row["loss"]]
        assert losses and all(math.isfinite(loss) for loss in losses), (method, losses)
        shape = json.loads((repo / f"data/models/distill/{method}/{seed}/config.json").read_text())
        assert (shape["model_type"], shape.get("num_hidden_layers", shape.get("n_layers"))) == expected(name)
    scores = json.loads((repo / f"metrics/runs/{methods[-1]}-{seed}.json").read_text())
    labels = json.loads((repo / "data/prepared/meta.json").read_text()).get("labels") or ()
    assert math.isfinite(scores[load_task(params["task"], params["evaluate"]["metric"], labels).main_metric])


def test_presets_run(students, run, subtests):
    trained = {name: usual for name, (usual, _) in students.items() if usual}
    assert len(trained) > 5
    for name, methods in trained.items():
        with subtests.test(name):
            run(name, methods)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", presets.names())
def test_a_preset_runs_with_all_its_methods(name, small, students, prepared, run, stages):
    """Where no student of it is unlike all others: its stage plan."""
    if others := students[name][1]:
        run(name, others)
    else:
        repo = prepared(small(name))
        write(repo, small(name))
        stages.run_all(repo, CHECKED)


def expected(name: str) -> tuple[str, int]:
    """Architecture and number of layers of a preset's student."""
    params = reading.parse(merged(name), name)
    model, teacher = params["student"]["model"], params["teacher"]["model"]
    layers = params["student"]["layers"]
    if params["distill"]["init"] == "teacher_layers" or params["student"]["init"] == "teacher_layers":
        kind = CHECKPOINTS[teacher["path"]].kind if teacher["path"] else teacher["config"]["model_type"]
        return kind, len(layers) if isinstance(layers, list) else params["student"]["num_layers"]
    if model["path"] is None:
        return model["config"]["model_type"], model["config"]["num_hidden_layers"]
    shape = CHECKPOINTS[model["path"]]
    return shape.kind, model["config"].get("num_hidden_layers", shape.layers)
