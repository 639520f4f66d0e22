"""SQuAD metrics against the official evaluators' golden figures and a reference written here."""

import json
import math
import re
import string
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UserError
from distill.tasks import squad
from distill.tasks.squad_metric import Squad

ODD_WORDS = ["a", "An", "the", "THE", "theme", "the_x", "—", "!!!", "U.S.", "us", "naïve", "Éclair"]
ODD_WORDS += ["İ", "ß", "日本", "\u00a0", "\u3000", "’s", "1,000", "x", "y", "a-b", ""]
texts = st.lists(st.sampled_from(ODD_WORDS), max_size=4).map(" ".join) | st.text(max_size=6)
odds = st.sampled_from([-2.0, -0.5, 0.0, 0.0, 0.1, 0.7, 3.0])


def reference_normalize(text: str) -> list[str]:
    """Tokens: lower, delete ASCII punctuation, delete maximal word runs that are articles."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\w+", lambda run: " " if run[0] in {"a", "an", "the"} else run[0], kept).split()


def reference_f1(gold: str, prediction: str, version_2: bool) -> float:
    gold_tokens, rest = reference_normalize(gold), reference_normalize(prediction)
    size = len(rest)
    if not gold_tokens or not rest:
        return float(version_2 and gold_tokens == rest)
    same = 0
    for token in gold_tokens:
        if token in rest:
            rest.remove(token)
            same += 1
    if not same:
        return 0.0
    precision, recall = 1.0 * same / size, 1.0 * same / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall)


def reference_v2(rows: list[tuple[list[str], str, float]], threshold: float | None) -> dict:
    """rows: (gold answers, prediction, null odds) per question."""
    results = {}
    for name in ("exact", "f1"):
        raw, final = [], []
        for golds, text, null in rows:
            golds_left = [g for g in golds if reference_normalize(g)] or [""]
            if name == "f1":
                raw.append(max(reference_f1(g, text, True) for g in golds_left))
            else:
                raw.append(any(reference_normalize(g) == reference_normalize(text) for g in golds_left))
            abstains = threshold is not None and null > threshold
            final.append(float(golds == []) if abstains else raw[-1])
        for prefix, wanted in (("", (True, False)), ("HasAns_", (True,)), ("NoAns_", (False,))):
            part = [s for s, row in zip(final, rows, strict=True) if bool(row[0]) in wanted]
            if part:
                results[prefix + name] = 100.0 * list(accumulate(part))[-1] / len(part)
                results[prefix + "total"] = len(part)
        # With the k predictions of lowest odds let in, k = 0, 1, ...: the first maximum counts.
        order = sorted(range(len(rows)), key=lambda i: rows[i][2])
        gains = [raw[i] if rows[i][0] else -1 * (rows[i][1] != "") for i in order]
        totals = list(accumulate(gains, initial=sum(not row[0] for row in rows)))
        k = totals.index(max(totals))
        results["best_" + name] = 100.0 * totals[k] / len(rows)
        results[f"best_{name}_thresh"] = rows[order[k - 1]][2] if k else 0.0
    return results


def split_rows(rows: list) -> tuple[dict, dict, dict]:
    """(predictions, references, null odds) of rows as in `reference_v2`."""
    keys = [f"q{i}" for i in range(len(rows))]
    golds, predicted, null = (dict(zip(keys, c, strict=True)) for c in zip(*rows, strict=True))
    return predicted, golds, null


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict:
    """What the official v2.0 evaluator read and printed."""
    folder = shared / "golden" / "squad_v2"
    files = ("predictions", "null_odds", "expected")
    data = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in files}
    dev = json.loads((shared / "data" / "squad_v2" / "dev-v2.0.json").read_text("utf-8"))
    data["references"] = {
        question["id"]: [answer["text"] for answer in question["answers"]]
        for article in dev["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    return data


def test_golden_pairs(shared: Path) -> None:
    pairs = json.loads((shared / "golden" / "squad_pairs.json").read_text("utf-8"))
    assert len(pairs) == 1225
    for pair in pairs:
        gold, prediction = pair["gold"], pair["prediction"]
        assert squad.exact(gold, prediction) == pair["exact"], pair
        assert squad.f1(gold, prediction) == pair["f1"], pair


@pytest.mark.parametrize(
    ("block", "with_odds", "threshold"),
    [
        ("predictions alone", False, None),
        ("null odds, threshold 0.0", True, 0.0),
        ("null odds, threshold 100 (keeps every prediction)", True, 100.0),
        ("null odds, threshold 100 (keeps every prediction)", True, None),
    ],
)
def test_golden_squad_v2(golden: dict, block: str, with_odds: bool, threshold: float | None) -> None:
    null = golden["null_odds"] if with_odds else None
    got = squad.scores(golden["predictions"], golden["references"], null, True, threshold)
    assert got == golden["expected"][block]


@pytest.mark.parametrize("threshold", [0.0, 100.0])
def test_golden_through_evaluate_metric(golden: dict, threshold: float) -> None:
    got = Squad("v2").compute(
        predictions=as_predictions(golden["predictions"], golden["null_odds"]),
        references=as_references(golden["references"]),
        no_answer_threshold=threshold,
    )
    block = next(k for k in golden["expected"] if k.startswith(f"null odds, threshold {threshold:g}"))
    assert got == golden["expected"][block]


def as_predictions(predicted: dict, null: dict | None = None) -> list[dict]:
    """The input format of evaluate's squad and squad_v2 metrics."""
    rows = [{"id": key, "prediction_text": text} for key, text in predicted.items()]
    for row in rows if null is not None else []:
        row["no_answer_probability"] = null[row["id"]]
    return rows


def as_references(golds: dict) -> list[dict]:
    return [
        {"id": key, "answers": {"text": answers, "answer_start": [0] * len(answers)}} for key, answers in golds.items()
    ]


@given(st.lists(st.tuples(st.lists(texts, max_size=3), texts, odds), min_size=1, max_size=8), odds)
def test_v2_equals_reference(rows: list, threshold: float) -> None:
    predicted, golds, null = split_rows(rows)
    got = squad.scores(predicted, golds, null, True, threshold)
    assert got == reference_v2(rows, threshold)
    alone = squad.scores(predicted, golds, None, True, None)
    expected = reference_v2(rows, None)
    assert alone == {k: v for k, v in expected.items() if not k.startswith("best_")}


@given(st.lists(st.tuples(st.lists(texts, min_size=1, max_size=3), texts), min_size=1, max_size=8))
def test_v1_equals_reference(rows: list) -> None:
    exact, f1 = 0, 0.0
    for golds, text in rows:
        exact += any(reference_normalize(g) == reference_normalize(text) for g in golds)
        f1 += max(reference_f1(g, text, False) for g in golds)
    keys = range(len(rows))
    got = squad.scores({str(k): rows[k][1] for k in keys}, {str(k): rows[k][0] for k in keys}, None, False, None)
    assert got == {"exact_match": 100.0 * exact / len(rows), "f1": 100.0 * f1 / len(rows)}


def test_evaluate_metric_agrees_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    rows = [
        (["the", "日本 x"], "x 日本", 0.7),
        ([], "", -0.5),
        ([], "!!!", 0.0),
        (["—"], "— y", 0.1),
    ]
    predicted, golds, null = split_rows(rows)
    metric = Squad("v2")
    assert isinstance(metric, evaluate.Metric)
    for threshold in (0.05, 1.0):  # One instance serves several times.
        got = metric.compute(
            predictions=as_predictions(predicted, null),
            references=as_references(golds),
            no_answer_threshold=threshold,
        )
        assert got == squad.scores(predicted, golds, null, True, threshold)

    del golds["q1"], golds["q2"], predicted["q1"], predicted["q2"]
    first = Squad("v1.1")
    # In batches, as `evaluate.Metric` allows.
    for key in golds:
        first.add_batch(
            predictions=as_predictions({key: predicted[key]}),
            references=as_references({key: golds[key]}),
        )
    assert first.compute() == squad.scores(predicted, golds, None, False, None)
    assert list(tmp_path.iterdir()) == []


def test_evaluate_metric_refuses_duplicate_ids() -> None:
    with pytest.raises(UserError, match="predictions: id 'q' occurs twice"):
        Squad("v1.1").compute(predictions=as_predictions({"q": "x"}) * 2, references=as_references({"q": ["x"]}) * 2)


def test_evaluate_is_imported_only_on_demand(root: Path) -> None:
    code = "import sys; sys.path.insert(0, 'src'); import distill.tasks.squad, distill.tasks.spans"
    code += "; assert not {'evaluate', 'datasets', 'torch'} & set(sys.modules), 'heavy import'"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_what_the_versions_do_differently() -> None:
    def both(golds: list[str], text: str) -> tuple[dict, dict]:
        v1 = squad.scores({"q": text}, {"q": golds}, None, False, None)
        return v1, squad.scores({"q": text}, {"q": golds}, None, True, None)

    # Both sides normalise to nothing: v1.1's F1 is 0 although they match exactly.
    v1, v2 = both(["the"], "!")
    assert (v1["exact_match"], v1["f1"]) == (100.0, 0.0)
    assert (v2["exact"], v2["f1"], v2["HasAns_total"]) == (100.0, 100.0, 1)
    # v2.0 drops the gold answer "The" beside another one: "a" no longer matches.
    v1, v2 = both(["The", "cat"], "a")
    assert v1["exact_match"] == 100.0
    assert v2["exact"] == 0.0
    # A missing prediction counts 0 in v1.1 and is refused in v2.0.
    v1 = squad.scores({"q": "x"}, {"q": ["x"], "r": ["y"]}, None, False, None)
    assert v1 == {"exact_match": 50.0, "f1": 50.0}
    with pytest.raises(UserError, match="predictions: 1 of 2 questions are missing.*'r'"):
        squad.scores({"q": "x"}, {"q": ["x"], "r": []}, None, True, None)


def test_threshold_is_exclusive() -> None:
    """As in the official evaluator, "no answer" needs odds above the threshold, not at it."""
    given_threshold = {"q": 0.5, "r": 0.75}
    got = squad.scores({"q": "x", "r": "x"}, {"q": ["x"], "r": []}, given_threshold, True, 0.5)
    assert (got["HasAns_f1"], got["NoAns_f1"]) == (100.0, 100.0)


def test_best_threshold_walks_through_ties_in_given_order() -> None:
    """Equal odds: the official walk stops between them, so the order of the odds file matters."""
    predicted = {"good": "x", "bad": "x"}
    golds = {"good": ["x"], "bad": []}
    first = squad.scores(predicted, golds, {"good": 1.0, "bad": 1.0}, True, None)
    assert (first["best_exact"], first["best_exact_thresh"]) == (100.0, 1.0)
    second = squad.scores(predicted, golds, {"bad": 1.0, "good": 1.0}, True, None)
    assert (second["best_exact"], second["best_exact_thresh"]) == (50.0, 0.0)


def test_best_threshold_loses_an_unanswerable_question_by_any_text() -> None:
    """ "the" counts as right for it elsewhere, but the official walk takes it for an answer."""
    predicted, golds = {"none": "the", "some": "x"}, {"none": [], "some": ["x"]}
    got = squad.scores(predicted, golds, {"none": 1.0, "some": 2.0}, True, None)
    assert (got["exact"], got["best_exact"], got["best_exact_thresh"]) == (100.0, 50.0, 0.0)


def test_sums_run_left_to_right() -> None:
    """On every version of Python: the built-in sum compensates rounding from 3.12 on."""
    gold = [" ".join("bcdefghi"[: 1 + i % 7]) for i in range(40)]
    each = [reference_f1(text, "b", True) for text in gold]
    total = list(accumulate(each))[-1]
    assert total != math.fsum(each)
    keys = [str(i) for i in range(40)]
    references = {key: [text] for key, text in zip(keys, gold, strict=True)}
    got = squad.scores(dict.fromkeys(keys, "b"), references, None, True, None)
    assert got["f1"] == 100.0 * total / 40


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="references: there are no questions"):
        squad.scores({}, {}, None, True, None)
    with pytest.raises(UserError, match="question 'q' has no gold answer"):
        squad.scores({"q": ""}, {"q": []}, None, False, None)
    with pytest.raises(UserError, match="null odds: 1 of 1 questions are missing"):
        squad.scores({"q": ""}, {"q": []}, {}, True, 0.0)
    with pytest.raises(ValueError, match="belong to SQuAD v2.0"):
        squad.scores({"q": ""}, {"q": ["x"]}, None, False, 0.0)
    with pytest.raises(ValueError, match="needs null_odds"):
        squad.scores({"q": ""}, {"q": []}, None, True, 0.0)

    with pytest.raises(ValueError, match="must be 'v1.1' or 'v2'"):
        Squad("v3")
