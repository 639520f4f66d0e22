"""A teacher with a tokenizer of its own, from stage prepare to the scores: it reads its own tokens, students theirs."""

import json
import shutil

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from distill import parameters
from distill.config import reading
from distill.data.features import question_features, text_features
from distill.data.loading import tokenizer as tokenizers
from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.experiments import params_file
from distill.models import loading
from distill.models.predict import forward_of, predict_split
from distill.signals import other_tokens, writer
from distill.signals.cache import Cache
from distill.tasks.registry import load_task
from pipeline import plan
from tests.helpers import micro

SMALL = {
    "training.max_steps": 4,
    "atlas.train_questions": 80,
    "atlas.validation_questions": 24,
    "atlas.text_train": 80,
    "atlas.text_validation": 24,
    "student.model.config.num_hidden_layers": 2,
    "teacher.tokenizer.vocab_size": 250,
    "teacher.tokenizer.lowercase": False,
    "cost.seconds": 0.01,
    "cost.batch_sizes": [1],
}
TEXTS = {
    "task": "classification",
    "data.embedded": "sentences",
    "features.max_length": 48,
    "data.selection_fraction": 0.2,
}
QUESTIONS = {"data.selection_fraction": 0.2}
# Methods that learn from such a teacher.
METHODS = {"classification": ["ft", "kd", "pkd"], "qa": ["ft", "kd"]}


def run_all(task, folder, stages):
    """(task, repository, printed lines by stage): all up to the signals, each method's student, scores and cost."""
    methods = METHODS[task]
    changes = SMALL | (TEXTS if task == "classification" else QUESTIONS) | {"methods": methods}
    repo = micro.repo(folder / "repo", changes)
    last = (("evaluate_teacher",), ("evaluate", methods[-1], "1"), ("cost",))
    return task, repo, stages.run_all(repo, (*micro.BASE, *(("distill", name, "1") for name in methods[1:]), *last))


@pytest.fixture(scope="module")
def texts(tmp_path_factory, stages):
    return run_all("classification", tmp_path_factory.mktemp("texts"), stages)


@pytest.fixture(scope="module")
def windows(tmp_path_factory, stages):
    return run_all("qa", tmp_path_factory.mktemp("questions"), stages)


@pytest.fixture(params=["texts", "windows"])
def made(request):
    return request.getfixturevalue(request.param)


@pytest.mark.slow
def test_each_model_is_saved_with_the_tokenizer_that_it_reads_by(made):
    task, repo, printed = made
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    own = {role: data.read_by(role).tokenizer() for role in ("teacher", "student")}
    assert len(own["teacher"]) == 250 != len(own["student"]) and not own["teacher"].do_lower_case
    for folder, role in {
        "teacher": "teacher",
        "student": "student",
        f"distill/{METHODS[task][-1]}/1": "student",
    }.items():
        saved = AutoTokenizer.from_pretrained(repo / "data/models" / folder)
        assert tokenizers.fingerprint(saved) == tokenizers.fingerprint(own[role])
        model = loading.from_pretrained(str(repo / "data/models" / folder), load_task(task, labels=data.meta["labels"]))
        assert model.get_input_embeddings().num_embeddings == len(own[role])
    assert "250 in that of teacher" in printed[("prepare",)] and "train, teacher" in printed[("prepare",)]


@pytest.mark.slow
def test_the_cache_has_what_the_teacher_says_of_its_own_tokens_under_the_students_rows(made):
    task, repo, printed = made
    data, kind = (
        Prepared(repo / "data/prepared", repo / "data/reported"),
        load_task(task, labels=Prepared(repo / "data/prepared", repo / "data/reported").meta["labels"]),
    )
    own = data.read_by("teacher")
    model = loading.from_pretrained(str(repo / "data/models/teacher"), kind).eval()
    theirs = predict_split(forward_of(model, kind), own, "train", 8, model.device, "fp32", "", kind.per_token)
    expected = other_tokens.predicted(theirs, data, "train")
    cache = Cache.open(repo / "data/teacher", writer.identity(data, repo / "data/models/teacher/model.safetensors"))
    assert cache.offsets.tolist() == data.ragged("train").offsets.tolist()
    for number in range(len(expected.features)):
        begin, end = expected.offsets[number : number + 2]
        found = cache.rows("logits", [number], int(end - begin))
        np.testing.assert_allclose(found.reshape(end - begin, -1), expected.logits[begin:end], atol=1e-4)
    assert ("moved" in printed[("predict",)]) == (task == "qa")


@pytest.mark.slow
def test_states_of_the_first_token_are_the_teachers(texts, windows):
    _, repo, _ = texts
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    kind = load_task("classification", labels=data.meta["labels"])
    model = loading.from_pretrained(str(repo / "data/models/teacher"), kind).eval()
    row = data.read_by("teacher").features("train")[3]
    with torch.no_grad():
        states = model(torch.tensor([row["input_ids"]]), output_hidden_states=True).hidden_states
    stored = Cache.open(repo / "data/states", writer.identity(data, repo / "data/models/teacher/model.safetensors"))
    assert "cls-1" in stored.arrays
    np.testing.assert_allclose(stored.rows("cls-1", [3], 0)[0], states[1][0, 0].numpy(), atol=2e-3)
    assert json.loads((windows[1] / "data/states/meta.json").read_text())["arrays"] == {}


@pytest.mark.slow
def test_the_teacher_is_scored_and_measured_on_its_own_tokens(made):
    task, repo, printed = made
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    scores = json.loads((repo / "metrics/runs/teacher.json").read_text())
    kind = load_task(task, labels=data.meta["labels"])
    model = loading.from_pretrained(str(repo / "data/models/teacher"), kind).eval()
    params = parameters.load(repo / "params.yaml")
    own = data.read_by("teacher")
    theirs = predict_split(forward_of(model, kind), own, "validation", 8, model.device, "fp32", "", kind.per_token)
    again = kind.score(theirs, params.evaluate)
    assert scores[kind.main_metric] == pytest.approx(again[kind.main_metric])
    lengths = {role: float(data.read_by(role).ragged("validation").lengths.mean()) for role in ("teacher", "student")}
    for role, length in lengths.items():
        assert f"rows of {length:.1f} tokens on average, in the {role}'s tokens" in printed[("cost",)]
    assert json.loads((repo / "metrics/cost.json").read_text())["length"] == round(lengths["student"], 2)


@pytest.mark.slow
def test_too_little_room_for_states_is_said_before_the_teacher_runs(texts, stages, tmp_path):
    repo = shutil.copytree(texts[1], tmp_path / "repo")
    file = repo / "params.yaml"
    file.write_text(params_file.replace(file.read_text(), {("cache", "max_gb"): 0}))
    refused = stages.run(repo, "predict", check=False)
    assert refused.code == 2 and refused.err.count("\n") == 1
    assert "cache.max_gb: 0: the states that pkd read do not fit" in refused.err
    assert "cannot run along" in refused.err and "set it to 0.01 or more" in refused.err


# --- stage plan ------------------------------------------------------------------------------------------------------


def load(changes):
    return parameters.parse(reading.parse(micro.params(changes), "params.yaml"), "params.yaml")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of tokenizers: two that are equal, and another."""
    folder, texts = tmp_path_factory.mktemp("tokenizers"), ["the tower of the town is green and old"]
    for name, size in {"one": 40, "same": 40, "other": 34}.items():
        tokenizers.train(texts, size, lowercase=True).save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("one", "same", "other")}


def test_plan_knows_whether_the_tokenizers_differ(saved):
    named = {"teacher.tokenizer.path": saved["one"], "student.tokenizer.path": saved["same"]}
    assert not plan.tokenizers_differ(load({})) and not plan.tokenizers_differ(load(named))
    assert plan.tokenizers_differ(load(named | {"student.tokenizer.path": saved["other"]}))
    assert plan.tokenizers_differ(load({"teacher.tokenizer.path": saved["one"]}))
    assert plan.tokenizers_differ(load({"student.tokenizer.vocab_size": 700}))
    assert not plan.tokenizers_differ(load({"student.tokenizer.vocab_size": 600}))
    stored = {"teacher.source": "predictions", "teacher.predictions": "mine.jsonl"}
    assert not plan.tokenizers_differ(load(stored | {"student.tokenizer.vocab_size": 700}))


def test_plan_refuses_before_anything_is_trained(tmp_path, stages):
    repo = micro.repo(tmp_path / "repo", SMALL | {"methods": ["ft", "kd", "lwd", "pkd"]})
    stages.run_all(repo, (("inputs",), ("corpus",), ("prepare",)))
    refused = stages.run(repo, "plan", check=False)
    assert refused.code == 2 and refused.err.count("\n") == 1
    assert (
        "'lwd' compares the states of all tokens" in refused.err and "'pkd' compares the first token's" in refused.err
    )
    assert "'kd'" not in refused.err and not (repo / "data/plan").exists()


def test_assistants_read_the_students_tokens(saved):
    link = {"init": "pretrained", "layers": "uniform", "num_layers": None}
    named = {"teacher.tokenizer.path": saved["other"], "student.tokenizer.path": saved["one"], "methods": ["takd"]}

    def check(path):
        model = {"path": path, "revision": None, "config": {}}
        plan.check_vocabularies(load(named | {"assistant.chain": [link | {"model": model}]}))

    check(saved["same"])
    with pytest.raises(UserError, match="assistant.chain.0.model.path: .* name one with the student's tokenizer"):
        check(saved["other"])


def test_a_model_with_another_vocabulary_is_told_how_to_keep_it(saved):
    tokenizer = tokenizers.load(saved["one"])
    tokenizers.check_same(saved["same"], None, tokenizer, "teacher.model.path")
    with pytest.raises(UserError, match=f"teacher.model.path: .* set teacher.tokenizer.path to '{saved['other']}'"):
        tokenizers.check_same(saved["other"], None, tokenizer, "teacher.model.path")


def test_an_error_in_the_teachers_tokenizer_names_its_parameters(saved, tmp_path):
    with pytest.raises(UserError, match=f"^teacher.tokenizer.path = {tmp_path} .*: cannot be loaded"):
        plan.tokenizers_differ(load({"teacher.tokenizer.path": str(tmp_path), "student.tokenizer.path": saved["one"]}))


@pytest.mark.parametrize("encode", [text_features.encode, question_features.encode])
def test_an_error_of_its_template_names_its_parameters_too(saved, encode):
    tokenizer = tokenizers.load(saved["one"], None, "teacher.tokenizer")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    with pytest.raises(UserError, match="^teacher.tokenizer: (puts|adds) no cls token"):
        next(encode([{"text": "a", "text_pair": None, "label": 0}], tokenizer, 16, 4))
