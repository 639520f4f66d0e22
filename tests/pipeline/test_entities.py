"""Token classification through all stages, with texts of several windows: from the corpus to an exported tagger."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.inference import answer, classify, tag
from distill.inference.model import load
from distill.tasks import entities
from tests.helpers import micro

pytestmark = pytest.mark.slow

SETTINGS = {
    "task": "token_classification",
    "data.embedded": "entities",
    "data.text": "text",
    "data.label": "entities",
    "data.id": "id",
    "data.selection_fraction": 0.2,
    "atlas.text_train": 120,
    "atlas.text_validation": 30,
    "features.max_length": 24,
    "features.doc_stride": 8,
    "methods": ["ft", "kd", "knn", "mate"],
    "training.max_steps": 4,
    "teacher.max_steps": 60,
    "teacher.learning_rate": 0.01,
    "distill.class_weights": "balanced",
    "export.methods": ["kd"],
    "compare.resamples": 100,
    "cost.seconds": 0.01,
    "cost.batch_sizes": [1],
}


def read(repo: Path, name: str):
    return json.loads((repo / name).read_text())


@pytest.fixture(scope="module")
def ran(tmp_path_factory, stages) -> Path:
    """A repository in which everything has run; not to be changed."""
    repo = micro.repo(tmp_path_factory.mktemp("entities") / "repo", SETTINGS)
    students = [(script, method, "1") for script in ("distill", "evaluate") for method in SETTINGS["methods"]]
    scored = (("evaluate_teacher",), ("evaluate", "student"), *students, ("cost",), ("summarize",))
    stages.run_all(repo, (*micro.BASE, *scored, ("export", "kd", "1")))
    return repo


def test_a_trained_teacher_finds_entities_and_all_models_are_scored(ran):
    scores = {name: read(ran, f"metrics/runs/{name}.json") for name in ("teacher", "student", "kd-1", "knn-1")}
    assert scores["teacher"]["f1"] > 20, "it has learnt from nothing"
    assert all(0 <= part[name] <= 100 for part in scores.values() for name in ("f1", "default_f1", "accuracy", "ece"))
    summary = read(ran, "metrics/summary.json")
    assert list(summary) == ["teacher", "student", *SETTINGS["methods"]] and "f1_vs_ft_low" in summary["kd"]
    counts = read(ran, "data/prepared/meta.json")["splits"]["train"]
    assert counts["windowed_texts"] > 10 and counts["silent_words"] == 0


def test_scores_are_those_of_the_tags_in_the_prediction_files(ran):
    data = Prepared(ran / "data/prepared", ran / "data/reported")
    names, examples = data.meta["labels"], data.examples("validation")
    gold = [[names[tag] for tag in tags] for tags in examples["tags"]]
    written = read(ran, "data/predictions/teacher.json")
    said = [written[key]["tags"] for key in examples["id"]]
    found = entities.scores(gold, said, "IOB2")
    assert {name: read(ran, "metrics/runs/teacher.json")[name] for name in found} == found
    kinds = {part["type"]: part for part in read(ran, "metrics/analysis.json")["entities"]["types"]}
    for kind, values in entities.by_type(gold, said, "IOB2").items():
        shown = kinds[kind]["scores"]["teacher"]
        assert shown == {name: values[name] for name in ("precision", "recall", "f1")}
    spans = [e for key in written for e in written[key]["entities"]]
    assert spans and all(0 <= e["start"] < e["end"] for e in spans)


def test_the_report_has_a_section_on_types(ran):
    page = (ran / "metrics/report.html").read_text()
    assert 'id="section-entities"' in page and 'id="section-classes"' not in page
    assert re.search(r"TOWN: [0-9]+ of [0-9]+ entities", page) and "token classification" in page


def test_changed_texts_keep_their_entities(ran):
    """Neighbours are other texts; the generator changes words outside of entities alone."""
    for method, source in (("knn", "neighbours"), ("mate", "generator")):
        sample = read(ran, f"data/samples/{method}-1.json")
        assert sample and {entry["source"] for entry in sample} == {source}
        assert all("likeliest" in entry["original"]["student"] for entry in sample)
    kept = 0
    for entry in sample:
        before, after = (side["text"]["text"] for side in (entry["original"], entry["changed"][0]))
        inside = {word.partition(": ")[2].lower() for word in entry["gold"]} & set(before.split())
        # A changed token behind it may be decoded as its continuation.
        assert all(word in after for word in inside) and before != after, "an entity's word was changed, or nothing"
        kept += len(inside)
    assert kept > 10


@pytest.fixture(scope="module")
def models(ran) -> dict:
    """The exported student, its int8 model, and its checkpoint."""
    folder = str(ran / "data/export/kd/1")
    settings = {"max_length": 24, "doc_stride": 8, "temperature": 1.0, "scheme": "IOB2"}
    checkpoint = load(str(ran / "data/models/teacher"), overrides=settings)
    return {"onnx": load(folder), "int8": load(folder, int8=True), "teacher": checkpoint}


def test_an_exported_model_says_what_stage_evaluate_says(ran, models):
    examples = Prepared(ran / "data/prepared", ran / "data/reported").examples("validation")
    for model, label in (("onnx", "kd-1"), ("teacher", "teacher")):
        written = read(ran, f"data/predictions/{label}.json")
        found = tag.tag(models[model], examples["text"])
        for key, result in zip(examples["id"], found, strict=True):
            said = [(e["start"], e["end"], e["label"], e["text"]) for e in result["entities"]]
            assert said == [(e["start"], e["end"], e["type"], e["text"]) for e in written[key]["entities"]]
            assert all(0 < e["confidence"] <= 1 for e in result["entities"])
    assert any(result["entities"] for result in found)
    assert len(tag.tag(models["int8"], examples["text"][:2])) == 2


def test_the_command_prints_text_json_and_lines(ran, models, capsys, monkeypatch):
    folder = str(ran / "data/export/kd/1")
    text = "Greta Olsen was born in Upper Thornwick, where the river Arle bends. " * 4
    tag.main([text, "--model", folder, "--json"])
    assert set(json.loads(capsys.readouterr().out)) == {"entities"}
    tag.main(["A town.", "--model", str(ran / "data/models/teacher")])
    assert capsys.readouterr().out
    lines = [{"id": 7, "text": "Greta lives in North Oakford."}, {"text": ""}, {"text": 5}]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(json.dumps(line) + "\n" for line in lines)))
    with pytest.raises(UserError, match="2 of 3 lines have no answer, the first of them line 2: text: is empty"):
        tag.main(["-", "--model", folder])
    first, *bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["id"] == 7 and "entities" in first and all("error" in line for line in bad)


def test_each_command_names_the_right_one(models):
    with pytest.raises(UserError, match="distill.tag"):
        classify.classify(models["onnx"], [("a", None)])
    with pytest.raises(UserError, match="distill.tag"):
        answer.answer(models["onnx"], [("a", "b")])


def test_copies_change_no_word_of_an_entity(ran):
    """Stage augment, on the generator that mate has trained."""
    from distill.augmentation import word_replacement
    from distill.augmentation.masked_lm import MaskedLM
    from distill.models import loading

    data = Prepared(ran / "data/prepared", ran / "data/reported")
    model = loading.from_pretrained(str(ran / "data/models/generator"), MaskedLM()).eval()
    make = word_replacement.Augmenter(model, data.tokenizer(), 1.0, 3, 16, "fp32", 1)
    table = data.features("train").data.table.slice(0, 20)
    copies, replaced = make.copies(table, 0, 1)
    assert replaced > 20
    for name in ("labels", "words", "entity"):
        assert copies.column(name).to_pylist() == table.column(name).to_pylist()
    before, after, inside = (
        np.concatenate(part.to_pylist()) for part in
        (table.column("input_ids"), copies.column("input_ids"), table.column("entity"))
    )  # fmt: skip
    assert (before == after)[inside].all() and not (before == after).all()
