"""Who may teach tags: an ensemble of a model with tokens of its own and of an annotator's file; a transfer set."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from distill.data.loading.prepared import Prepared
from distill.data.sources import tagged_texts
from distill.data.synthetic import atlas_entities, json_rows
from distill.signals.cache import Cache
from distill.tasks import entities
from pipeline.commands import save_predictions
from tests.helpers import micro

pytestmark = pytest.mark.slow

FILES = {"train": "data/raw/train.conll", "validation": "data/raw/dev.txt", "transfer": "data/raw/more.jsonl"}
SETTINGS = {
    "task": "token_classification",
    "data.source": "files",
    **{f"data.{split}": path for split, path in FILES.items()},
    "data.text": "text",
    "data.label": "tags",
    "data.selection_fraction": 0.2,
    "features.max_length": 24,
    "features.doc_stride": 8,
    "features.tokenizer.vocab_size": 300,
    "teacher.tokenizer.vocab_size": 200,
    "teacher.tokenizer.lowercase": False,
    "teacher.source": "ensemble",
    "ensemble.members": ["model", "annotator"],
    "model": {"teacher": {"max_steps": 30, "learning_rate": 0.01, "label_noise": 0.1}},
    "annotator": {"teacher": {"source": "predictions", "predictions": "data/raw/tags.jsonl", "missing": "labels_only"}},
    "distill.spread_weight": 1.0,
    "distill.transfer_share": 0.25,
    "methods": ["ft", "kd"],
    "compare.resamples": 100,
}


def made(folder: Path) -> dict[str, list]:
    """The embedded corpus, read, and written as files of other kinds into a repository; its rows by split."""
    texts = atlas_entities.generate(100, 20, 3)
    columns = tagged_texts.Columns("text", "entities", "id", None)
    paths = dict(zip(texts, json_rows.write(texts, folder / "corpus", "entities"), strict=True))
    tagged = tagged_texts.load_files(paths, columns, None)
    rows = {"train": tagged.rows["train"][:70], "transfer": tagged.rows["train"][70:]}
    rows["validation"] = tagged.rows["validation"]
    repo = folder / "repo"
    (repo / "data/raw").mkdir(parents=True, exist_ok=True)
    (repo / "data/raw/atlas").mkdir()
    for split in ("train", "validation"):
        lines = []
        for row in rows[split]:
            for start, end, tag in zip(row["starts"], row["ends"], row["tags"], strict=True):
                lines.append(f"{row['text'][start:end]} x {tagged.classes[tag]}")
            lines.append("")
        (repo / FILES[split]).write_text("\n".join(lines))
    more = [json.dumps({"text": row["text"]}) + "\n" for row in rows["transfer"]]
    (repo / FILES["transfer"]).write_text("".join(more))
    records = []
    for split, part in rows.items():
        for number, row in enumerate(part):
            tags = [tagged.classes[tag] for tag in row["tags"]]
            records.append({"id": number, "split": split, "tags": tags, "confidences": [0.9] * len(tags)})
    (repo / "data/raw/tags.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records[3:]))
    return rows


@pytest.fixture(scope="module")
def ran(tmp_path_factory, stages) -> Path:
    """A repository in which everything has run; not to be changed."""
    folder = tmp_path_factory.mktemp("teachers")
    repo = micro.repo(folder / "repo", SETTINGS)
    made(folder)
    members = ("finetune_member", "predict_member", "evaluate_member")
    members = [(script, name) for script in members for name in SETTINGS["ensemble.members"]]
    students = [(script, name, "1") for script in ("distill", "evaluate") for name in ("ft", "kd")]
    scored = (("evaluate_teacher",), ("evaluate", "student"), *students, ("cost",), ("summarize",))
    taught = [words for words in micro.TAUGHT if words != ("predict",)]
    stages.run_all(repo, (*taught, *members, ("predict",), *micro.OPTIONAL, ("signals",), *scored))
    return repo


def read(repo: Path, name: str):
    return json.loads((repo / name).read_text())


def test_members_are_scored_and_the_ensemble_is_their_mean(ran):
    runs = {name: read(ran, f"metrics/runs/{name}.json") for name in ("member-model", "member-annotator", "teacher")}
    assert runs["member-annotator"]["f1"] == 100 and runs["member-model"]["accuracy"] > 70
    data = Prepared(ran / "data/prepared", ran / "data/reported")
    assert data.has_tokens_of("teacher") and data.has_transfer
    features = data.taught_features()
    caches = [Cache.open(ran / f"data/members/{name}/logits", {}) for name in SETTINGS["ensemble.members"]]
    joint, checked = Cache.open(ran / "data/teacher", {}), 0
    for row in range(len(features)):
        length, words = features[row]["length"], np.array(features[row]["words"]) >= 0
        each = [softmax(cache.rows("logits", [row], length)[0][words].astype(float), -1) for cache in caches]
        if "weight" in caches[1].arrays and not caches[1].column("weight")[row, 0]:
            each = each[:1]
        found = softmax(joint.rows("logits", [row], length)[0][words].astype(float), -1)
        np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-4, atol=1e-6)
        checked += len(each) == 1
    assert checked, "of three texts the annotator says nothing"


def test_rows_without_tags_are_learnt_from_and_not_scored(ran):
    record = read(ran, "data/runs/distill-kd-1.json")
    assert record["unlabelled_rows"] > 0 and record["labelled_rows"] > 0
    data = Prepared(ran / "data/prepared", ran / "data/reported")
    labels = np.concatenate([np.array(row) for row in data.features("transfer")["labels"]])
    assert set(labels) == {-100, -1} and data.examples("transfer")["tags"][0] is None
    assert "unlabelled_rows" not in read(ran, "data/runs/distill-ft-1.json")


def test_the_teachers_outputs_can_be_saved_and_read_again(ran, monkeypatch, tmp_path):
    monkeypatch.chdir(ran)
    save_predictions.main([str(tmp_path / "saved.jsonl")])
    records = [json.loads(line) for line in (tmp_path / "saved.jsonl").read_text().splitlines()]
    data = Prepared(ran / "data/prepared", ran / "data/reported")
    names, said = data.meta["labels"], read(ran, "data/predictions/teacher.json")
    validation = {record["id"]: record for record in records if record["split"] == "validation"}
    assert {record["split"] for record in records} == {"train", "transfer", "selection", "validation"}
    for example in data.examples("validation"):
        best = [max(shares, key=shares.get) for shares in validation[example["id"]]["probabilities"]]
        assert best == said[example["id"]]["tags"]
    gold = [[names[tag] for tag in tags] for tags in data.examples("validation")["tags"]]
    found = entities.scores(gold, [said[key]["tags"] for key in data.examples("validation")["id"]], "IOB2")
    assert found["f1"] == read(ran, "metrics/runs/teacher.json")["f1"]
