"""A transfer set, from files to students: what is left out of it, what is learnt from it, and what is not."""

import filecmp
import json
import shutil

import numpy as np
import pytest

from distill.data.loading import tokenizer
from distill.data.loading.prepared import Prepared
from tests.helpers import micro

pytestmark = pytest.mark.slow  # stages, each with a library of its own to import

SENTENCES = [f"the river {i} is {'wide' if i % 2 else 'deep'} in town {i % 7}" for i in range(120)]
TEXTS = {
    "task": "classification",
    "data.source": "files",
    "data.text": "sentence",
    "data.text_pair": None,
    "data.label": "label",
    "data.id": None,
    "retrieve.candidates": 8,
    "features.tokenizer.vocab_size": 200,
    "features.max_length": 32,
    "data.selection_fraction": 0.2,
    "training.max_steps": None,
    "distill.epochs": 2,
    "teacher.epochs": 1,
    "student.epochs": 1,
}
FILES = {"data.train": "data/raw/train.tsv", "data.validation": "data/raw/validation.tsv"}


def table(texts, labels: bool = True) -> str:
    rows = [f"{text}\t{i % 2}" if labels else text for i, text in enumerate(texts)]
    return "\n".join(["sentence\tlabel" if labels else "sentence", *rows]) + "\n"


def squad(names, answers: bool = True) -> str:
    """A question about each of these towns, without its answer if need be."""
    answer = {"answers": [{"text": "river", "answer_start": 4}]} if answers else {}
    paragraphs = [
        {"context": f"The river {name} is wide.", "qas": [{"id": name, "question": f"What is {name}?", **answer}]}
        for name in names
    ]
    articles = [{"title": name, "paragraphs": [one]} for name, one in zip(names, paragraphs, strict=True)]
    return json.dumps({"data": articles})


#: The rows with labels, and those that scores are reported on.
LABELLED = {FILES["data.train"]: table(SENTENCES[:40]), FILES["data.validation"]: table(SENTENCES[100:])}


def repo_of(folder, files, overrides):
    repo = micro.repo(folder, overrides)
    (repo / "data" / "raw" / "atlas").mkdir(parents=True)
    for name, content in files.items():
        (repo / name).write_text(content)
    return repo


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """A tokenizer of the sentences: one that is trained on the data reads the transfer set too."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.train(SENTENCES, 200, lowercase=True).save_pretrained(folder)
    return {"features.tokenizer.path": str(folder)}


@pytest.fixture(scope="module")
def texts(tmp_path_factory, stages, vocabulary):
    """A pipeline of sentences: 40 labelled ones; the file of the transfer set has theirs, others, and scored ones."""
    files = LABELLED | {"data/raw/more.tsv": table([*SENTENCES, *SENTENCES[90:95]])}
    names = ("ft", "kd", "ted", "tfkd_self", "knn", "alone", "alone_knn")
    variants = {
        name: {"method": method, "distill": {"transfer_share": 0}}
        for name, method in (("alone", "kd"), ("alone_knn", "knn"))
    }
    settings = TEXTS | FILES | vocabulary | variants | {"methods": list(names), "data.transfer": "data/raw/more.tsv"}
    repo = repo_of(tmp_path_factory.mktemp("transfer") / "repo", files, settings)
    return repo, stages.run_all(repo, (*micro.BASE, *(("distill", name, "1") for name in names)))


def test_texts_of_other_splits_are_left_out_and_counted(texts):
    repo, out = texts
    prepared = Prepared(repo / "data/prepared", repo / "data/reported")
    said = out["prepare",]
    assert 'the labels in column "label" are not read: data/raw/more.tsv is the transfer set' in said
    selection = len(prepared.examples("selection"))
    counts = f"{selection} in selection, 20 in validation, {40 - selection} in train"
    assert f"65 of 125 rows; left out, as they are in other splits: {counts}; 5 of them repeat" in said
    assert prepared.meta["transfer"]["read"] == 125 and prepared.meta["transfer"]["repeated"] == 5
    left = prepared.examples("transfer")
    assert sorted(set(left["text"])) == sorted(SENTENCES[40:100]) and set(left["label"]) == {-100}
    assert set(prepared.features("transfer")["labels"]) == {-100}
    assert prepared.scored_splits == ["selection", "validation"]


def test_the_teacher_predicts_both_and_students_learn_from_both(texts):
    repo, out = texts
    prepared = Prepared(repo / "data/prepared", repo / "data/reported")
    rows = len(prepared.features("train"))
    assert prepared.epoch_rows == rows and len(prepared.taught_features()) == rows + 65
    logits = json.loads((repo / "data" / "teacher" / "meta.json").read_text())
    assert logits["rows"] == rows + 65 and logits["data"] == prepared.trained_on()
    updates = 2 * -(-rows // 8)
    alone = dict.fromkeys(("ft", "alone", "alone_knn"), (None, 0))
    for name, (labelled, unlabelled) in (alone | dict.fromkeys(("kd", "ted", "tfkd_self", "knn"), (4, 4))).items():
        record = json.loads((repo / "data" / "runs" / f"distill-{name}-1.json").read_text())
        assert record["updates"] == updates, name
        assert record["labelled_rows"] == (2 * rows if labelled is None else labelled * updates), name
        assert record.get("unlabelled_rows", 0) == unlabelled * updates, name
        assert ("4 of the 8 rows of a batch are of the 65 without labels" in out["distill", name, "1"]) == bool(
            unlabelled
        )


def test_without_its_share_a_student_is_the_one_of_a_run_without_a_transfer_set(texts, vocabulary, stages, tmp_path):
    plain = repo_of(tmp_path / "repo", LABELLED, TEXTS | FILES | vocabulary | {"methods": ["kd", "knn"]})
    stages.run_all(plain, (*micro.BASE, ("distill", "kd", "1"), ("distill", "knn", "1")))
    names = {"teacher": "teacher", "student": "student", "distill/kd/1": "distill/alone/1"}
    for name, other in (names | {"distill/knn/1": "distill/alone_knn/1"}).items():
        folders = plain / "data" / "models" / name, texts[0] / "data" / "models" / other
        assert filecmp.cmp(*(folder / "model.safetensors" for folder in folders), shallow=False), name
    assert not filecmp.cmp(
        *(texts[0] / f"data/models/distill/{name}/1/model.safetensors" for name in ("kd", "alone")), shallow=False
    )


def test_questions_need_no_answers(tmp_path, stages):
    known, more = [f"river{i}" for i in range(40)], [f"lake{i}" for i in range(30)]
    files = {
        "data/raw/train.json": squad(known),
        "data/raw/validation.json": squad([f"sea{i}" for i in range(10)]),
        "data/raw/more.json": squad([*more, *known[:5], "sea3"], answers=False),
    }
    named = {f"data.{split}": f"data/raw/{split}.json" for split in ("train", "validation")}
    named |= {"data.transfer": "data/raw/more.json", "data.source": "files", "features.tokenizer.vocab_size": 200}
    repo = repo_of(tmp_path / "repo", files, named | {"methods": ["kd", "mate"]})
    stages.run_all(repo, (*micro.BASE, ("distill", "kd", "1"), ("distill", "mate", "1")))
    prepared = Prepared(repo / "data/prepared", repo / "data/reported")
    assert prepared.examples("transfer")["id"] == more and prepared.meta["transfer"]["removed"]["validation"] == 1
    features = prepared.features("transfer")
    for column in ("start_positions", "end_positions"):
        assert set(features[column]) == {-100}
    assert not np.concatenate([np.asarray(row) for row in features["gold"]]).any()
    # The tokenizer is trained on them too: no other text has a k.
    words = prepared.tokenizer()
    assert words.unk_token_id not in words("lake")["input_ids"]
    for name in ("kd", "mate"):
        record = json.loads((repo / "data" / "runs" / f"distill-{name}-1.json").read_text())
        assert record["labelled_rows"] == record["unlabelled_rows"] == 4 * record["updates"]


def test_no_row_needs_a_label(texts, stages, tmp_path):
    """The teacher is ready; the student starts from scratch, and scored files have labels."""
    source, _ = texts
    teacher = shutil.copytree(source / "data" / "models" / "teacher", tmp_path / "teacher")
    files = {
        FILES["data.validation"]: table(SENTENCES[100:]),
        "data/raw/selection.tsv": table(SENTENCES[:20]),
        "data/raw/more.tsv": table(SENTENCES[:100], labels=False),
    }
    named = {
        "data.train": "data/none",
        "data.selection": "data/raw/selection.tsv",
        "data.transfer": "data/raw/more.tsv",
    }
    ready = {"teacher.model": {"path": str(teacher), "revision": None, "config": {}}, "teacher.train": False}
    # Those that no generator is needed for: its tokenizer is the vocabulary of the data here.
    methods = {"methods": ["kd", "knn", "hidden", "takd", "mate"], "features.tokenizer.path": str(teacher)}
    methods |= {"retrieve.candidates": 8, "generator.train": True, "generator.max_steps": 2}
    repo = repo_of(tmp_path / "repo", files, TEXTS | FILES | named | ready | methods)
    learned = ("kd", "knn", "hidden", "takd", "mate")
    students = (("distill", name, "1") for name in learned)
    out = stages.run_all(repo, (*micro.BASE, *students, ("evaluate", "kd", "1")))
    prepared = Prepared(repo / "data/prepared", repo / "data/reported")
    assert prepared.meta["labels"] == ["0", "1"] and len(prepared.features("train")) == 0 and not prepared.has_labels
    assert len(prepared.taught_features()) == prepared.epoch_rows == 80
    assert "as it is (no row has a label to train on: data.train is data/none)" in out["finetune", "student"]
    for name in learned:
        record = json.loads((repo / "data" / "runs" / f"distill-{name}-1.json").read_text())
        assert record["updates"] == 2 * 10 and record["labelled_rows"] == 0 and record["unlabelled_rows"] == 160
        assert "8 of the 8 rows of a batch are of the 80 without labels" in out["distill", name, "1"]
