"""The model card: front matter that the hub reads, and no figure but those that went in."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from distill.config.data import Data
from distill.config.schema import Model
from distill.export import card
from distill.inference.model import Settings
from tests.helpers import tiny

DATA = {
    "source": "files",
    "embedded": "questions",
    "train": "/home/somebody/mine/train.json",
    "validation": "/home/somebody/mine/dev.json",
    "mismatched": "data/none",
    "selection": "data/none",
    "transfer": "data/none",
    "transfer_split": None,
    "max_transfer_examples": None,
    "extra": {},
    "name": None,
    "subset": None,
    "revision": None,
    "train_split": "train",
    "validation_split": "validation",
    "mismatched_split": None,
    "selection_split": None,
    "version_2_with_negative": True,
    "text": "text",
    "text_pair": None,
    "label": "label",
    "label_separator": "|",
    "labels": None,
    "id": None,
    "strip_html": False,
    "group": None,
    "selection_fraction": 0.05,
    "max_passages": 8,
    "max_train_context": None,
    "max_train_examples": None,
    "max_selection_examples": None,
    "max_validation_examples": None,
    "seed": 1,
}
COUNTS = {"examples": 4321, "answerable": 2987, "articles": 35, "features": 4567, "extra_windows": 246}
QA = {
    "task": "qa",
    "max_length": 384,
    "doc_stride": 128,
    "n_best": 20,
    "max_answer_length": 30,
    "threshold": -0.3127,
    "pairs": True,
    "temperature": 1.2,
    "labels": [],
}
FORMS = ("pytorch", "onnx", "int8")


def facts(**changes) -> card.Facts:
    """Of a distilled question-answering student on own files."""
    scores = {"em": 71.2345, "f1": 74.5678, "has_answer_f1": 70.125, "no_answer_f1": 78.375}
    exported = {
        "examples": 4321,
        "parity_max": 3.21e-06,
        "scores": {"pytorch": scores, "onnx": scores | {"f1": 74.5671}, "int8": scores | {"f1": 73.0123}},
        "machine": "cpu x86_64, 2 cores, Some CPU",
        "threads": 2,
        "batch_size": 64,
        "latency_ms": dict(zip(FORMS, (30.125, 11.375, 6.875), strict=True)),
        "throughput": dict(zip(FORMS, (51.25, 63.5, 117.75), strict=True)),
        "size_mb": dict(zip(FORMS, (45.125, 45.375, 11.625), strict=True)),
    }
    values = {
        "method": "ted",
        "seed": 3,
        "summary": "ted: task-aware layer-wise distillation.",
        "parameters": {"kl_alpha": 10.0, "mse_alpha": 5000.0},
        "training": tiny.training(max_steps=1234).model_copy(update={"init": "finetuned", "label_noise": 0.125}),
        "updates": 1234,
        "data": Data.model_validate(DATA),
        "meta": {"splits": {"train": COUNTS | {"examples": 81234}, "selection": COUNTS, "validation": COUNTS}},
        "teacher": Model(path="/home/somebody/big-model", revision=None, config={}),
        "start": Model(path="some/small-model", revision="abc", config={}),
        "config": {"model_type": "bert", "num_hidden_layers": 3, "hidden_size": 384},
        "weights": 17345678,
        "settings": Settings.model_validate(QA),
        "inputs": ["input_ids", "attention_mask", "token_type_ids"],
        "runs": {
            "teacher": scores | {"f1": 83.9},
            "student": scores | {"f1": 72.25},
            "ted-3": scores | {"tuned_f1": 75.0},
        },
        "shown": ("em", "f1", "has_answer_f1", "no_answer_f1", "tuned_em", "tuned_f1"),
        "exported": exported,
        "versions": {"torch": "9.8.7"},
        "commit": "0123abcd",
    }
    return card.Facts(**(values | changes))


def rows(text: str) -> dict[str, list[str]]:
    """The cells of all tables, by the first one."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in cells}


def test_the_whole_card_byte_for_byte():
    assert card.render(facts()).encode() == Path(__file__).with_name("card_of_ted.md").read_bytes()


def test_a_teacher_of_stored_predictions_is_named_by_its_file():
    text = card.render(facts(outputs="data/raw/mine/outputs.jsonl"))
    assert "| teacher | stored predictions: outputs.jsonl |" in text and "data/raw/mine" not in text


def test_the_front_matter_is_read_by_the_hub():
    data = ModelCard(card.render(facts())).data.to_dict()
    assert data["pipeline_tag"] == "question-answering" and data["metrics"] == ["exact_match", "f1"]
    assert data["base_model"] == "some/small-model" and {"onnx", "knowledge-distillation", "bert"} == set(data["tags"])
    assert not {"language", "license", "datasets", "model-index", "model_name"} & set(data)


def test_results_on_a_hub_data_set_are_in_the_front_matter():
    hub = Data.model_validate(DATA | {"source": "hub", "name": "some/squad", "revision": "r1"})
    data = ModelCard(card.render(facts(data=hub))).data
    assert data.datasets == ["some/squad"]
    found = {result.metric_type: result for result in data.eval_results}
    assert found["f1"].metric_value == 74.5671 and found["exact_match"].metric_value == 71.2345
    assert {(r.dataset_type, r.dataset_split, r.dataset_revision) for r in data.eval_results} == {
        ("some/squad", "validation", "r1")
    }


def test_tables_hold_the_figures_that_went_in():
    found = rows(card.render(facts()))
    assert found["teacher"] == ["71.23", "83.90", "70.12", "78.38", "–"]
    assert found["the student, fine-tuned without a teacher"][1] == "72.25"
    assert found["ted-3"][1] == "74.57" and found["ted-3"][-1] == "75.00"
    assert found["`model.int8.onnx`, int8"] == ["71.23", "73.01", "70.12", "78.38", "6.88", "117.8"]
    assert found["`model.onnx`"][-1] == "45.38" and found["`model.int8.onnx`"][-1] == "11.62"
    assert found["train"] == ["81,234", "2,987", "35", "4,567"]
    assert found["`ted.mse_alpha`"] == ["5000.0"] and found["`distill.max_steps`"] == ["1234"]
    assert found["`distill.label_noise`"] == ["0.125"]
    assert found["updates"] == ["1,234"] and found["student"] == [
        "bert with 3 layers of width 384, 17,345,678 parameters"
    ]


def test_the_text_names_files_and_models_without_paths():
    text = card.render(facts())
    assert "/home" not in text and "`train.json`" in text and "| big-model |" in text
    assert "-0.313" in text and "3.2e-06" in text and "0123abcd" in text and "torch 9.8.7" in text
    assert "all of them" in text and "{" not in text


def test_a_run_without_int8_or_commit():
    given = facts()
    exported = dict(given.exported)
    for name in ("scores", "latency_ms", "throughput", "size_mb"):
        exported[name] = {form: exported[name][form] for form in ("pytorch", "onnx")}
    exported["examples"] = 100
    text = card.render(replace(given, exported=exported, commit=None))
    assert "model.int8.onnx" not in text and "Commit" not in text and "the first 100 of them" in text


@pytest.mark.parametrize(
    ("task", "labels", "words", "metrics"),
    [
        ("classification", ["no", "yes"], "one of these classes: `no`, `yes`", ["accuracy", "matthews_correlation"]),
        ("multi_label", ["no", "yes"], "any number of these classes, or none: `no`, `yes`", ["f1"]),
        ("regression", [], "on the scale of the training labels", ["pearsonr", "spearmanr"]),
    ],
)
def test_texts(task, labels, words, metrics):
    names = ("accuracy", "mcc") if labels else ("pearson", "spearman")
    names = ("micro_f1", "macro_f1") if task == "multi_label" else names
    scores = dict.fromkeys(names, 50.5)
    other = dict.fromkeys(("doc_stride", "n_best", "max_answer_length", "threshold"))
    settings = Settings.model_validate(QA | other | {"task": task, "labels": labels})
    exported = facts().exported | {"scores": dict.fromkeys(FORMS, scores)}
    splits = {name: {"examples": 70, "features": 70} for name in ("train", "selection", "validation")}
    made = facts(settings=settings, shown=names, exported=exported, runs={"ted-3": scores}, meta={"splits": splits})
    text = card.render(made)
    data = ModelCard(text).data
    assert data.pipeline_tag == "text-classification" and data.metrics == metrics
    assert words in text and "distill.classify" in text and "`logits`, float32 (batch, classes)" in text
    assert "question" not in re.sub(r"---.*?---", "", text, count=1, flags=re.DOTALL)


def test_a_model_that_ranks_says_how_it_is_asked():
    other = dict.fromkeys(("doc_stride", "n_best", "max_answer_length", "threshold", "temperature"))
    settings = Settings.model_validate(QA | other | {"task": "ranking", "labels": []})
    scores = {"ndcg_10": 61.5, "mrr_10": 50.5}
    exported = facts().exported | {"scores": dict.fromkeys(FORMS, scores)}
    splits = {name: {"examples": 70, "features": 70, "groups": 9} for name in ("train", "selection", "validation")}
    runs = {"ted-3": scores}
    made = facts(settings=settings, shown=tuple(scores), exported=exported, runs=runs, meta={"splits": splits})
    text = card.render(made)
    data = ModelCard(text).data
    assert data.pipeline_tag == "text-ranking" and data.metrics == ["ndcg_at_10", "mrr_at_10"]
    assert 'python -m distill.rank "a query" "a passage"' in text and "nDCG@10" in text and "61.50" in text


def test_what_data_and_checkpoints_say_is_no_markup():
    evil = "x</script><img src=x onerror=alert(1)> [a](javascript:b) `c` | d\n# e"
    settings = Settings.model_validate(QA | {"task": "classification", "labels": ["no", evil]})
    data = Data.model_validate(DATA | {"train": f"/home/{evil.replace('/', '')}.json"})
    config = {"model_type": evil, "num_hidden_layers": "<b>", "hidden_size": 384}
    changes = {"settings": settings, "data": data, "config": config, "inputs": ["input_ids", evil]}
    changes |= {"teacher": Model(path=f"/home/{evil.replace('/', '')}", revision=None, config={})}
    changes |= {"parameters": {"x": evil}, "versions": {"torch": evil}}

    def kinds(text: str) -> list[str]:
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text.split("\n---\n", 1)[1])
        parts = [token.type for part in tokens for token in (part, *(part.children or []))]
        return [kind for kind in parts if kind not in ("text", "text_special", "code_inline", "softbreak")]

    plain = {"settings": settings.model_copy(update={"labels": ["no", "yes"]}), "parameters": {"x": 1}}
    assert kinds(card.render(facts(**changes))) == kinds(card.render(facts(**plain, inputs=["input_ids", "x"])))
    assert evil.replace("\n", " ") in card.render(facts(**changes))
