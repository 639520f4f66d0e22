"""Rankings: losses against plain loops in float64, and scores against trec_eval on the same run file."""

import math

import datasets
import numpy as np
import pytest
import pytrec_eval
import torch

from distill.errors import UserError
from distill.losses.terms import TEACHER_WEIGHT
from distill.tasks import trec
from distill.tasks.base import Predicted, labelled
from distill.tasks.registry import load_task
from tests.helpers import rankings

TASK = load_task("ranking")
NAN = math.nan
RELEVANCE = [[1.0, 0.0, 0.0], [0.0, 2.0, 1.0, 0.0, 0.0], [NAN, NAN], [0.0, 0.0], [1.0]]
# Rows of a batch stand where they please, in and across groups.
ORDER = [7, 0, 3, 9, 1, 12, 4, 2, 5, 10, 6, 8, 11]


def given(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(13, 1, generator=generator) for _ in range(2)]


def scores(batch, logits):
    """(scores, relevances) of each group, as floats."""
    values, grades = logits[:, 0].double().tolist(), batch["labels"].double().tolist()
    return [([values[row] for row in rows], [grades[row] for row in rows]) for rows in rankings.groups(batch)]


@pytest.mark.parametrize("order", [None, ORDER])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_listwise_cross_entropy_of_groups_with_a_relevant_passage(order, smoothing):
    batch, (logits, _) = rankings.batch(RELEVANCE, order=order), given()
    losses = []
    for values, grades in scores(batch, logits):
        if not math.isnan(grades[0]) and sum(grades):
            log_p, even = rankings.log_softmax(values), 1 / len(values)
            target = [(1 - smoothing) * grade / sum(grades) + smoothing * even for grade in grades]
            losses.append(-sum(p * q for p, q in zip(target, log_p, strict=True)))
    assert len(losses) == 3
    assert TASK.loss(logits, batch, smoothing).item() == pytest.approx(sum(losses) / 3, rel=1e-6)
    assert labelled(batch, TASK.labels).sum() == 11


def test_a_batch_without_any_label_has_no_loss_and_a_gradient_of_0():
    batch, (logits, _) = rankings.batch([[NAN, NAN], [0.0, 0.0]]), given()
    logits = logits[:4].requires_grad_()
    loss = TASK.loss(logits, batch)
    loss.backward()
    assert loss.item() == 0 and logits.grad.abs().max() == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_soft_targets_and_squared_errors_are_means_over_groups(weighted):
    batch, (student, teacher), temperature = rankings.batch(RELEVANCE, order=ORDER), given(), 2.0
    weights = [1.0] * 5
    if weighted:
        weights = [0.5, 2.0, 0.0, 1.0, 3.0]
        number = [(40 - group) // 3 for group in batch["group"].tolist()]
        batch[TEACHER_WEIGHT] = torch.tensor([weights[i] for i in number])
        weights = [weights[(40 - batch["group"][rows[0]].item()) // 3] for rows in rankings.groups(batch)]
    kl, squared = [], []
    for (own, _), (other, _) in zip(scores(batch, student), scores(batch, teacher), strict=True):
        log_s, log_t = (rankings.log_softmax([value / temperature for value in side]) for side in (own, other))
        kl.append(temperature**2 * sum(math.exp(t) * (t - s) for s, t in zip(log_s, log_t, strict=True)))
        means = [sum(side) / len(side) for side in (own, other)]
        gaps = [(s - means[0] - t + means[1]) ** 2 for s, t in zip(own, other, strict=True)]
        squared.append(sum(gaps) / len(gaps))
    for name, values, found in (
        ("soft", kl, TASK.soft(student, teacher, batch, temperature)),
        ("mse", squared, TASK.logit_mse(student, teacher, batch)),
    ):
        expected = sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)
        assert found.item() == pytest.approx(expected, rel=1e-5), name
    # Another level of a query's scores changes nothing.
    lifted = student + batch["group"][:, None].float()
    assert TASK.soft(lifted, teacher, batch, temperature).item() == pytest.approx(
        TASK.soft(student, teacher, batch, temperature).item(), rel=1e-3
    )
    assert TASK.logit_mse(lifted, teacher, batch).item() == pytest.approx(
        TASK.logit_mse(student, teacher, batch).item(), rel=1e-3
    )


def test_class_rows_are_the_groups_with_the_relevant_passage_where_there_is_one():
    batch, (logits, _) = rankings.batch(RELEVANCE), given()
    (rows,) = TASK.class_rows(logits, batch)
    # Groups come by their numbers, which fall here.
    assert rows.mask.sum(1).tolist() == [1, 2, 2, 5, 3] and rows.gold.tolist() == [0, -100, -100, -100, 0]
    assert rows.logits[rows.mask].tolist() == logits[[12, 10, 11, 8, 9, 3, 4, 5, 6, 7, 0, 1, 2], 0].tolist()
    assert rows.of_rows(batch["group"]).tolist() == [28, 31, 34, 37, 40] and rows.row.tolist() == [12, 10, 8, 3, 0]
    with pytest.raises(UserError, match="no column `group`"):
        TASK.class_rows(logits, {"labels": batch["labels"]})


def test_words_of_the_passage_may_be_changed_and_those_of_the_query_not():
    batch = {"passage": torch.tensor([[0, 0, 1, 1, 0], [0, 1, 0, -1, -1]])}
    assert TASK.editable(batch).tolist() == [[False, False, True, True, False], [False, True, False, False, False]]
    assert "passage" in TASK.extra_columns


def test_noise_shuffles_the_relevance_of_whole_groups():
    features = datasets.Dataset.from_dict(
        {"labels": [1.0, 0.0, 0.0] * 10, "group": [i // 3 for i in range(30)]}
    ).cast_column("labels", datasets.Value("float32"))
    before = np.array(features["labels"]).reshape(10, 3)
    after = TASK.noisy(features, 0.4, 1)["labels"].reshape(10, 3)
    assert (after.sum(1) == 1).all() and ((after != before).any(1)).sum() == 4
    assert (TASK.noisy(features, 0.4, 1)["labels"].reshape(10, 3) == after).all()


def predicted(sizes):
    """Predictions whose scores have few values, so that many are equal."""
    random, rows = np.random.default_rng(3), rankings.rows(sizes)
    for row in rows:
        row["label"] = float(random.choice([0, 0, 1, 2]))
    logits = random.integers(0, 4, (len(rows), 1)).astype(np.float32) / 3
    examples = datasets.Dataset.from_list(rows)
    return Predicted(examples, None, logits, np.arange(len(rows) + 1), {})


def test_scores_are_those_of_trec_eval_on_the_same_run_file(tmp_path):
    split = predicted([12, 3, 25, 1, 7, 14])
    run, qrel = tmp_path / "run.txt", tmp_path / "qrel.txt"
    rows = list(split.examples)
    lines = [
        f"{row['query']} Q0 {row['id']} 0 {float(value)!r} test\n"
        for row, (value,) in zip(rows, split.logits.tolist(), strict=True)
    ]
    run.write_text("".join(lines))
    qrel.write_text("".join(f"{row['query']} 0 {row['id']} {int(row['label'])}\n" for row in rows))
    with run.open() as ran, qrel.open() as judged:
        ran, judged = pytrec_eval.parse_run(ran), pytrec_eval.parse_qrel(judged)
    evaluator = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut_10", "map", "recall_1,5,10", "recip_rank"})
    each = list(evaluator.evaluate(ran).values())
    found = TASK.score(split, None)
    for ours, theirs in {
        "ndcg_10": "ndcg_cut_10",
        "map": "map",
        "recall_5": "recall_5",
        "recall_10": "recall_10",
        "recall_1": "recall_1",
    }.items():
        assert found[ours] == pytest.approx(100 * np.mean([values[theirs] for values in each]), abs=1e-9), ours
    ranks = [values["recip_rank"] if values["recip_rank"] > 0.0999 else 0.0 for values in each]
    assert found["mrr_10"] == pytest.approx(100 * np.mean(ranks), abs=1e-9)

    report = TASK.report(split, split, None, {"mismatched": split})
    assert report.scores["ndcg_10"] == report.scores["selection_ndcg_10"] == report.scores["mismatched_ndcg_10"]
    assert report.scores["ndcg_10"] == pytest.approx(np.mean(report.examples["ndcg_10"])) and report.scores[
        "examples"
    ] == len(report.examples["id"])
    # The order that is written down is the one that trec_eval scored: ranks of relevant passages say so.
    for query, values in zip(report.examples["id"], evaluator.evaluate(ran).values(), strict=True):
        order = [entry["id"] for entry in report.files[".json"][query]]
        hits = [rank for rank, name in enumerate(order, start=1) if judged[query][name]]
        assert (1 / hits[0] if hits else 0) == pytest.approx(values["recip_rank"])


def test_of_equal_scores_the_last_id_comes_first_and_only_the_first_ten_have_a_rank():
    assert trec.order(["10", "9", "a", "2"], [0.5, 0.5, 0.5, 0.7]) == [3, 2, 1, 0]
    names = [f"{i:02d}" for i in range(12)]
    run = [{"query": "q", "passages": names, "scores": [float(-i) for i in range(12)]}]
    for place, expected in ((9, 0.1), (10, 0.0)):
        gold = [{"query": "q", "passages": names, "relevance": [int(i == place) for i in range(12)]}]
        assert trec.by_query(run, gold)["mrr_10"].tolist() == pytest.approx([expected])


def test_only_its_own_scores_may_decide():
    assert load_task("ranking", "map").main_metric == "map" and TASK.main_metric == "ndcg_10"
    with pytest.raises(UserError, match="task ranking is judged by one of ndcg_10, mrr_10, map, recall_1"):
        load_task("ranking", "f1")
