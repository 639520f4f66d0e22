"""A ranking from files to the report: a transfer set, a teacher with tokens of its own, margins, queries."""

import csv
import json

import numpy as np
import pytest

from distill.data.loading.groups import bounds
from distill.data.loading.prepared import Prepared
from distill.inference import rank
from distill.inference.model import load
from distill.tasks import trec
from pipeline.export import LimitedData
from tests.helpers import micro

pytestmark = pytest.mark.slow  # stages, each with a library of its own to import

PASSAGES = {
    "task": "ranking",
    "data.text": "query",
    "data.text_pair": "passage",
    "data.max_passages": 4,
    "data.selection_fraction": 0.1,
    "features.max_length": 64,
    "methods": ["ft", "kd"],
    "kd.divergence": "margin_mse",
    "distill.transfer_share": 0.5,
    "cost.batch_sizes": [1],
    "export.methods": ["kd"],
    "export.int8": "none",
    "teacher.tokenizer.vocab_size": 300,
    "teacher.tokenizer.lowercase": True,
    "data.source": "files",
    "data.train": "data/raw/mine/train.jsonl",
    "data.validation": "data/raw/atlas/passages/validation.jsonl",
    "data.transfer": "data/raw/mine/more.jsonl",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, stages):
    """(repository, what stage prepare printed)"""
    repo = micro.repo(tmp_path_factory.mktemp("ranking") / "repo", PASSAGES)
    mine = repo / "data/raw/mine"
    mine.mkdir(parents=True)
    for name in ("train", "more"):
        (mine / f"{name}.jsonl").write_text("{}\n")
    stages.run_all(repo, (("inputs",), ("corpus",)))
    corpus = repo / "data/raw/atlas/passages"
    train, validation = (
        [json.loads(line) for line in (corpus / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "validation")
    )
    for passage in train[0]["passages"]:  # teaches no order
        passage["label"] = 0
    more = [{"query": group["query"], "passages": [{"text": p["text"]} for p in group["passages"]]} for group in
            [*train[20:], validation[0]]]  # fmt: skip
    for name, groups in (("train", train[:20]), ("more", more)):
        (mine / f"{name}.jsonl").write_text("".join(json.dumps(group) + "\n" for group in groups))
    base = [words for words in micro.BASE if words != ("corpus",)]
    students = [(script, name, "1") for script in ("distill", "evaluate") for name in PASSAGES["methods"]]
    scored = (("evaluate_teacher",), ("evaluate", "student"), ("cost",), ("summarize",))
    return repo, stages.run_all(repo, (*base, *students, *scored))


def test_what_is_trained_on_is_whole_groups_cut_and_cleared(made):
    repo, printed = made
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    counts = {split: data.meta["splits"][split]["groups"] for split in data.meta["splits"]}
    assert counts == {"train": 17, "selection": 2, "validation": 8, "transfer": 10} and data.group_size == 4
    assert data.epoch_rows == 17
    sizes = {split: set(np.diff(bounds(data.features(split))).tolist()) for split in counts}
    assert sizes == {"train": {4}, "transfer": {4}, "selection": {8}, "validation": {8}}
    for split in ("train", "selection"):
        queries = set(data.examples(split)["query"])
        assert len(queries) == counts[split]
    assert not set(data.examples("train")["query"]) & set(data.examples("selection")["query"])
    positives = np.array(data.features("train")["labels"]).reshape(17, 4).sum(1)
    assert set(positives.tolist()) <= {1.0, 2.0} and np.isnan(data.features("transfer")["labels"]).all()
    out = printed["prepare",]
    assert "10 of 11 rows; left out, as they are in other splits: 1 in validation" in out
    assert "17 groups to train on; left out, as they teach no order: 1 whose passages are equally relevant" in out
    # A teacher with tokens of its own has the same rows.
    own = data.read_by("teacher")
    assert own is not data and own.features("train")["group"] == data.features("train")["group"]
    assert own.features("train")["input_ids"] != data.features("train")["input_ids"]


def test_an_update_is_of_as_many_groups_as_the_batch_has_room_for(made):
    repo, printed = made
    record = json.loads((repo / "data/runs/distill-kd-1.json").read_text())
    # Eight updates of two groups of four pairs, one of the transfer set.
    assert (record["updates"], record["labelled_rows"], record["unlabelled_rows"]) == (8, 32, 32)
    assert "1 of the 2 groups of a batch are of the 10 without labels" in printed["distill", "kd", "1"]
    losses = list(csv.DictReader((repo / "metrics/curves/kd-1.csv").read_text().splitlines()))
    assert float(losses[0]["margin_mse"]) > 0


def test_scores_and_tables_go_by_query(made):
    repo, _ = made
    table = list(csv.DictReader((repo / "data/predictions/kd-1.examples.csv").read_text().splitlines()))
    scores = json.loads((repo / "metrics/runs/kd-1.json").read_text())
    assert len(table) == scores["examples"] == 8
    assert scores["ndcg_10"] == pytest.approx(np.mean([float(row["ndcg_10"]) for row in table]))
    rankings = json.loads((repo / "data/predictions/kd-1.json").read_text())
    examples = Prepared(repo / "data/prepared", repo / "data/reported").examples("validation")
    grades = dict(zip(examples["id"], examples["label"], strict=True))
    run = [
        {"query": query, "passages": [p["id"] for p in listed], "scores": [p["score"] for p in listed]}
        for query, listed in rankings.items()
    ]
    gold = [{**entry, "relevance": [int(grades[name]) for name in entry["passages"]]} for entry in run]
    assert trec.scores(run, gold)["ndcg_10"] == pytest.approx(scores["ndcg_10"])
    assert [row["predicted"] for row in table] == [listed[0]["id"] for listed in rankings.values()]


def test_the_report_has_slices_hardest_queries_and_disagreements(made):
    repo, _ = made
    analysis = json.loads((repo / "metrics/analysis.json").read_text())
    assert [part["name"] for part in analysis["slices"]] == ["passages", "relevant", "query_length"]
    assert sum(group["examples"] for group in analysis["slices"][1]["groups"]) == 8
    hardest = analysis["queries"]
    means = [np.mean(list(row["scores"].values())) for row in hardest]
    assert means == sorted(means) and len(hardest) == 8 and hardest[0]["passages"] == 8
    summary = json.loads((repo / "metrics/summary.json").read_text())
    assert {"ndcg_10_vs_ft", "verdict", "mrr_10", "map", "recall_5"} <= set(summary["kd"])
    assert set(analysis["agreement"]) == {"student", "ft", "kd"} and analysis["calibration"] == {}
    page = (repo / "metrics/report.html").read_text()
    assert 'id="section-queries"' in page and hardest[0]["query"] in page and "nDCG@10" in page
    shown = json.loads((repo / "data/disagreements.json").read_text())["examples"]
    passages = set(Prepared(repo / "data/prepared", repo / "data/reported").examples("validation")["text_pair"])
    assert all(set(entry["answers"].values()) | set(entry["gold"]) <= passages for entry in shown)


def test_an_exported_student_ranks_as_the_evaluation_says(made, stages):
    repo, _ = made
    stages.run(repo, "export", "kd", "1")
    said = json.loads((repo / "data/predictions/kd-1.json").read_text())
    examples = Prepared(repo / "data/prepared", repo / "data/reported").examples("validation")
    queries = {}
    for row in examples:
        queries.setdefault(row["query"], []).append(row)
    model = load(str(repo / "data/export/kd/1"), False, {"max_length": 64})
    found = rank.rank(model, [(rows[0]["text"], [row["text_pair"] for row in rows]) for rows in queries.values()])
    for (query, rows), ranked in zip(queries.items(), found, strict=True):
        scores = {rows[passage["index"]]["id"]: passage["score"] for passage in ranked}
        assert scores == pytest.approx({passage["id"]: passage["score"] for passage in said[query]}, abs=1e-4)
    metrics = json.loads((repo / "metrics/export/kd-1.json").read_text())
    evaluated = json.loads((repo / "metrics/runs/kd-1.json").read_text())
    assert metrics["scores"]["onnx"]["ndcg_10"] == pytest.approx(evaluated["ndcg_10"], abs=1e-6)
    assert "text-ranking" in (repo / "data/export/kd/1/README.md").read_text()


@pytest.mark.parametrize(("limit", "rows"), [(20, 16), (3, 8), (None, 64)])
def test_exported_models_are_scored_on_whole_queries(made, limit, rows):
    repo, _ = made
    part = LimitedData(Prepared(repo / "data/prepared", repo / "data/reported"), limit)
    assert len(part.examples("validation")) == len(part.features("validation")) == rows
