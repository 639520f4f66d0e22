"""Question answering: its loss without padding, its report as the official evaluator would give it."""

import copy
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from distill.config import metric_names
from distill.config.scoring import Evaluate
from distill.data.features import preparation
from distill.data.loading.prepared import Prepared
from distill.data.loading.tokenizer import train
from distill.errors import UserError
from distill.tasks import squad
from distill.tasks.base import Predicted
from distill.tasks.qa import TASK as QuestionAnswering
from tests.helpers import reference, tiny

TASK = QuestionAnswering()
SETTINGS = Evaluate(batch_size=8, precision="fp32", metric=None, n_best=5, max_answer_length=6, extra=[])


def rows(prefix, count):
    made = []
    for i in range(count):
        place = ("north", "south", "east")[i % 3]
        context = f"House {i} stands in the {place} of the town. " + "It is old and was painted often. " * (i % 4)
        for k, answer in enumerate((place, f"House {i}", None)):
            texts = [] if answer is None else [answer]
            made.append(
                {
                    "id": f"{prefix}{i}-{k}",
                    "title": f"{prefix}{i // 2}",
                    "context": context,
                    "question": ("Where is it?", "Which house?", "Who lives there?")[k],
                    "answers": {"text": texts, "answer_start": [context.index(text) for text in texts]},
                }
            )
    return made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Windows of 24 tokens, so that some questions have several."""
    splits = {"train": rows("t", 2), "selection": rows("s", 12), "validation": rows("v", 10)}
    tokenizer = train([row["context"] + row["question"] for row in splits["selection"]], 120, lowercase=True)
    folder = tmp_path_factory.mktemp("prepared") / "data"
    preparation.write(folder, splits, tokenizer, 24, 6, {"task": "qa", "version_2": True})
    opened = Prepared(folder)
    assert opened.meta["splits"]["validation"]["windowed_questions"] > 0
    return opened


def predicted(prepared, split, seed, version_2=True):
    """Logits that often find the answer: noise, and a bonus at the labels."""
    features = prepared.features(split)
    offsets = prepared.ragged(split).offsets
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(offsets[-1], 2)).astype(np.float32) * 2
    for i, row in enumerate(features):
        logits[offsets[i] + row["start_positions"], 0] += generator.choice([0, 5])
        logits[offsets[i] + row["end_positions"], 1] += generator.choice([0, 5])
    return Predicted(prepared.examples(split), features, logits, offsets, prepared.meta | {"version_2": version_2})


@pytest.fixture(scope="module")
def splits(prepared):
    return predicted(prepared, "selection", 1), predicted(prepared, "validation", 2)


@pytest.fixture(scope="module")
def report(splits):
    return TASK.report(*splits, SETTINGS)


def golds_of(split):
    return {row["id"]: list(row["answers"]["text"]) for row in split.examples}


def test_the_loss_is_the_formula_over_real_tokens_and_ignores_padding():
    batch = tiny.batch()
    logits = torch.randn(3, 12, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for smoothing in (0.0, 0.3):
        double = logits.detach().double().requires_grad_()
        expected = reference.task(double, batch, smoothing)
        expected.backward()
        logits.grad = None
        found = TASK.loss(logits, batch, smoothing)
        found.backward()
        reference.same_value(found, expected)
        torch.testing.assert_close(logits.grad.double(), double.grad, rtol=1e-4, atol=1e-6)
    real = batch["attention_mask"].bool()
    poisoned = logits.detach().clone()
    poisoned[~real] = 1e4
    assert torch.equal(TASK.loss(poisoned, batch), TASK.loss(logits.detach(), batch))
    wide = torch.nn.functional.pad(logits.detach(), (0, 0, 0, 5), value=9.0)
    torch.testing.assert_close(TASK.loss(wide, tiny.wider(batch, 5)), TASK.loss(logits.detach(), batch))


def test_positions_outside_the_window_are_ignored_side_by_side():
    batch = tiny.batch()
    logits = torch.randn(3, 12, 2, generator=torch.Generator().manual_seed(0))
    batch["start_positions"] = torch.tensor([2, -1, 99])
    kept = {name: value[:1] for name, value in batch.items()}
    start = torch.nn.functional.cross_entropy(logits[:1, :9, 0].double(), kept["start_positions"])
    lengths = (9, 5, 7)
    ends = [
        torch.nn.functional.cross_entropy(logits[i : i + 1, :n, 1].double(), batch["end_positions"][i : i + 1])
        for i, n in enumerate(lengths)
    ]
    torch.testing.assert_close(TASK.loss(logits, batch).double(), (start + sum(ends) / 3) / 2, rtol=1e-5, atol=1e-6)


def test_soft_is_the_mean_of_start_and_end_over_real_tokens():
    batch = tiny.batch()
    student, teacher = torch.randn(2, 3, 12, 2, generator=torch.Generator().manual_seed(0))
    expected = reference.soft(student.double(), teacher.double(), batch, 3.0)
    reference.same_value(TASK.soft(student, teacher, batch, 3.0), expected)


def test_the_head_gives_logits_like_a_models():
    assert TASK.head(8, 0.9)(torch.randn(3, 12, 8)).shape == (3, 12, 2)
    model, batch = tiny.model("bert"), tiny.batch()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    outputs = model(**inputs)
    stacked = TASK.logits(outputs)
    assert torch.equal(stacked[..., 0], outputs.start_logits) and torch.equal(stacked[..., 1], outputs.end_logits)


def test_the_files_alone_give_the_same_numbers_under_the_official_rules(splits, report):
    golds = golds_of(splits[1])
    texts, odds = (json.loads(json.dumps(report.files[name])) for name in (".json", ".null_odds.json"))
    assert set(texts) == set(odds) == set(golds)
    official = squad.scores(texts, golds, odds, version_2=True, threshold=None)
    named = {
        "em": "exact",
        "f1": "f1",
        "has_answer_em": "HasAns_exact",
        "has_answer_f1": "HasAns_f1",
        "no_answer_em": "NoAns_exact",
        "no_answer_f1": "NoAns_f1",
        "best_em_oracle": "best_exact",
        "best_f1_oracle": "best_f1",
        "questions": "total",
    }
    assert {name: report.scores[name] for name in named} == {name: official[key] for name, key in named.items()}
    assert 0 < report.scores["em"] < report.scores["f1"] < 100
    assert report.scores["best_f1_oracle"] >= report.scores["f1"]


def test_an_answer_is_given_where_it_beats_the_null_score(report):
    texts, odds = report.files[".json"], report.files[".null_odds.json"]
    assert all((text == "") == (odds[key] > 0) for key, text in texts.items())
    assert {text == "" for text in texts.values()} == {True, False}


def f1_at(split, threshold):
    """F1 (percent) of a split at a threshold, from the search alone."""
    found, ids, answers = TASK._search(split, SETTINGS)
    total = 0.0
    for answer, text, odds in zip(answers, found.text, found.null_odds, strict=True):
        said = "" if odds > threshold else text
        total += max(squad.f1(gold, said) for gold in (answer["text"] or [""]))
    return 100 * total / len(ids)


def test_the_threshold_is_tuned_on_the_selection_split_and_used_on_the_other(splits, report):
    selection, validation = splits
    odds = sorted(TASK._search(selection, SETTINGS)[0].null_odds.tolist())
    candidates = [odds[0] - 1, *((a + b) / 2 for a, b in zip(odds, odds[1:], strict=False)), odds[-1] + 1]
    best = max(f1_at(selection, threshold) for threshold in candidates)
    assert f1_at(selection, report.scores["threshold"]) == pytest.approx(best)
    assert best > f1_at(selection, 0.0)
    assert report.scores["tuned_f1"] == pytest.approx(f1_at(validation, report.scores["threshold"]))
    assert report.scores["f1"] == pytest.approx(f1_at(validation, 0.0))
    assert report.scores["selection_f1"] == pytest.approx(f1_at(selection, 0.0))


def test_nothing_of_the_reported_split_reaches_what_is_tuned(prepared, splits, report):
    other = TASK.report(splits[0], predicted(prepared, "validation", 3), SETTINGS)
    moved = TASK.report(predicted(prepared, "selection", 4), splits[1], SETTINGS)
    for tuned in ("threshold", "temperature"):
        assert other.scores[tuned] == report.scores[tuned] != moved.scores[tuned]
    assert other.scores["f1"] != report.scores["f1"] == moved.scores["f1"]


def test_the_table_of_examples_averages_to_the_scores(splits, report):
    table = report.examples
    assert list(table) == ["id", "em", "f1", "tuned_em", "tuned_f1", "confidence", "calibrated", "correct"]
    assert table["id"] == list(report.files[".json"]) == [row["id"] for row in splits[1].examples]
    for name in ("em", "f1", "tuned_em", "tuned_f1"):
        assert np.mean(table[name]) == pytest.approx(report.scores[name])
    assert np.array_equal(table["correct"], table["em"] / 100)
    # The null threshold moves answers, so that the tuned columns are others.
    assert not np.array_equal(table["f1"], table["tuned_f1"])


def test_confidence_is_the_answers_share_among_the_spans_and_no_answer(splits, report):
    found, ids, _ = TASK._search(splits[1], SETTINGS)
    temperature = report.scores["temperature"]
    for name, scale in (("confidence", 1.0), ("calibrated", temperature)):
        for row, spans in enumerate(found.nbest):
            none, each = math.exp(found.null_score[row] / scale), [math.exp(span.score / scale) for span in spans]
            own = none if report.files[".json"][ids[row]] == "" else each[0]
            total = none + sum(each)
            assert report.examples[name][row] == pytest.approx(own / total, abs=1e-6)
    gaps = {}
    for sure, right in zip(report.examples["confidence"], report.examples["correct"], strict=True):
        gaps.setdefault(math.ceil(sure * 10), []).append(right - sure)
    expected = 100 * sum(abs(sum(part)) for part in gaps.values()) / len(ids)
    assert report.scores["ece"] == pytest.approx(expected)


def test_the_report_is_finite_numbers_under_the_names_that_tables_show(report):
    assert all(isinstance(value, (int, float)) and np.isfinite(value) for value in report.scores.values())
    assert set(TASK.shown) <= set(report.scores) and TASK.main_metric in report.scores
    assert isinstance(report.scores["questions"], int)


def test_score_is_the_first_part_of_the_report(splits, report):
    scores = TASK.score(splits[1], SETTINGS)
    assert scores == {name: report.scores[name] for name in scores}
    assert {"em", "f1", "has_answer_f1", "no_answer_f1"} <= set(scores)


def test_further_metrics_get_squads_format_with_a_probability_of_no_answer(splits, report):
    (prefix, inputs), *others = report.inputs.items()
    assert prefix == "" and not others
    odds = report.files[".null_odds.json"]
    for row, wanted, example in zip(inputs.predictions, inputs.references, splits[1].examples, strict=True):
        assert wanted == {"id": example["id"], "answers": example["answers"]}
        probability = row["no_answer_probability"]
        assert row | {"no_answer_probability": 0} == {
            "id": example["id"],
            "prediction_text": report.files[".json"][example["id"]],
            "no_answer_probability": 0,
        }
        assert probability == pytest.approx(1 / (1 + math.exp(-odds[example["id"]]))) and 0 <= probability <= 1
    both = TASK.report(splits[0], splits[1], SETTINGS, {"mismatched": splits[0], "news": splits[1]})
    assert list(both.inputs) == ["", "mismatched_", "news_"]
    assert both.scores["news_f1"] == both.scores["f1"] and both.scores["news_questions"] == both.scores["questions"]


def test_no_metric_may_be_called_as_scores_begin(report):
    """summarize knows a further metric's scores by how their names begin."""
    for score in report.scores:
        for end in [i for i, letter in enumerate(score) if letter == "_"]:
            if not score[:end].startswith(tuple(f"{name}_" for name in metric_names.RESERVED)):
                with pytest.raises(ValueError, match="the project's own"):
                    metric_names.check(score[:end])


def test_scoring_waits_for_no_import_of_evaluate(splits, report, monkeypatch):
    for name in ("evaluate", "distill.tasks.squad_metric"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it now fails
    assert TASK.score(splits[1], SETTINGS)["f1"] == report.scores["f1"]


def test_squad_1_has_no_null_answers_and_no_threshold(prepared):
    split = predicted(prepared, "validation", 2, version_2=False)
    answerable = [i for i, row in enumerate(split.examples) if row["answers"]["text"]]
    keep = [i for i, row in enumerate(split.features) if row["example_index"] in answerable]
    features = split.features.select(keep).map(
        lambda row: {"example_index": answerable.index(row["example_index"])}, keep_in_memory=True
    )
    parts = [split.logits[split.offsets[i] : split.offsets[i + 1]] for i in keep]
    only = replace(
        split,
        examples=split.examples.select(answerable).flatten_indices(keep_in_memory=True),
        features=features.flatten_indices(keep_in_memory=True),
        logits=np.concatenate(parts),
        offsets=np.cumsum([0, *map(len, parts)]),
    )
    report = TASK.report(copy.copy(only), only, SETTINGS)
    assert all(report.files[".json"].values())
    official = squad.scores(report.files[".json"], golds_of(only), None, version_2=False, threshold=None)
    assert (report.scores["em"], report.scores["f1"]) == (official["exact_match"], official["f1"])
    assert not {"threshold", "tuned_f1", "best_f1_oracle", "no_answer_f1"} & set(report.scores)
    assert list(report.examples) == ["id", "em", "f1", "confidence", "calibrated", "correct"]
    assert np.mean(report.examples["f1"]) == pytest.approx(report.scores["f1"])
    spans = TASK._search(only, SETTINGS)[0].nbest[0]
    shares = np.exp([span.score for span in spans])
    assert report.examples["confidence"][0] == pytest.approx(shares[0] / shares.sum(), abs=1e-6)


def test_soft_rows_are_each_windows_part_of_soft():
    batch = tiny.batch()
    student, teacher = torch.randn(2, 3, 12, 2, generator=torch.Generator().manual_seed(0))
    rows = TASK.soft_rows(student, teacher, batch, 3.0)
    for i in range(3):
        one = {name: value[i : i + 1] for name, value in batch.items()}
        expected = reference.soft(student[i : i + 1].double(), teacher[i : i + 1].double(), one, 3.0)
        reference.same_value(rows[i], expected)
    reference.same_value(TASK.soft(student, teacher, batch, 3.0), rows.double().mean())


def test_logit_mse_is_over_real_tokens_of_both_sides():
    batch = tiny.batch()
    student, teacher = torch.randn(2, 3, 12, 2, generator=torch.Generator().manual_seed(0))
    single, double = student.clone().requires_grad_(), student.double().requires_grad_()
    total = sum(
        (double[row, token, side] - teacher[row, token, side].double()) ** 2
        for row, length in enumerate((9, 5, 7))
        for token in range(length)
        for side in (0, 1)
    )
    expected = total / (2 * (9 + 5 + 7))
    found = TASK.logit_mse(single, teacher, batch)
    reference.same_value(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-4, atol=1e-6)
    wide = [
        torch.nn.functional.pad(side, (0, 0, 0, 4), value=value) for side, value in ((student, 3.0), (teacher, 7.0))
    ]
    reference.same_value(TASK.logit_mse(*wide, tiny.wider(batch, 4)), expected)


def test_editable_is_the_context_without_the_gold_answers():
    batch = tiny.batch()
    batch["offset_start"] = torch.full((3, 12), -1)
    for row, (first, last) in enumerate(((3, 8), (2, 4), (1, 6))):
        batch["offset_start"][row, first : last + 1] = torch.arange(last - first + 1) * 4
    batch["gold"] = torch.full((3, 12), -1)
    for row, marks in enumerate(([0, 0, 0, 0, 1, 1, 1, 0, 0], [0] * 5, [0, 1, 1, 0, 0, 1, 1])):  # the last: two answers
        batch["gold"][row, : len(marks)] = torch.tensor(marks)
    expected = torch.zeros(3, 12, dtype=torch.bool)
    for row, places in enumerate(([3, 7, 8], [2, 3, 4], [3, 4])):
        expected[row, places] = True
    assert torch.equal(TASK.editable(batch), expected)
    assert TASK.extra_columns == ("offset_start", "gold")


def test_noisy_answers_lie_in_the_context_and_keep_their_length_where_it_fits(prepared):
    features = prepared.features("selection")
    found = TASK.noisy(features, 0.5, seed=1)
    start, end = found["start_positions"], found["end_positions"]
    assert start.dtype == end.dtype == np.int32
    changed = 0
    for i, row in enumerate(features):
        if (start[i], end[i]) == (row["start_positions"], row["end_positions"]):
            continue
        changed += 1
        context = [k for k, offset in enumerate(row["offset_start"]) if offset >= 0]
        assert start[i] in context and end[i] in context
        assert end[i] - start[i] == row["end_positions"] - row["start_positions"] or end[i] == context[-1]
    # A few draw the answer that they had.
    assert 0.35 * len(features) < changed <= round(0.5 * len(features))
    again = TASK.noisy(features, 0.5, seed=1)
    assert np.array_equal(again["start_positions"], start) and np.array_equal(again["end_positions"], end)
    assert np.array_equal(TASK.noisy(features, 0.0, 1)["start_positions"], features["start_positions"])


def test_the_metric_that_decides_is_f1_or_em():
    assert QuestionAnswering(metric="em").main_metric == "em" and TASK.main_metric == "f1"
    with pytest.raises(UserError, match="params.yaml: evaluate.metric: 'accuracy'"):
        QuestionAnswering(metric="accuracy")


def test_a_second_validation_split_is_scored_beside_the_first(prepared, splits, report):
    both = TASK.report(*splits, SETTINGS, {"mismatched": splits[0]})
    assert {name: both.scores[name] for name in report.scores} == report.scores
    for name, value in TASK.score(splits[0], SETTINGS).items():
        assert both.scores[f"mismatched_{name}"] == value
