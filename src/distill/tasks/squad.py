"""SQuAD v1.1 and v2.0 metrics, equal to the official evaluators to the last digit.

Source: Rajpurkar et al. 2016 (arXiv 1606.05250) and 2018 (arXiv 1806.03822) and the evaluation
scripts published with them. Figures are percentages. What the two versions do differently:

- v2.0 drops gold answers that normalise to nothing and, when none is left, expects "nothing"; v1.1
  keeps all.
- Two answers that both normalise to nothing have F1 1 in v2.0, 0 in v1.1 (exact match 1 in both).
- A question without a prediction counts 0 in v1.1 and is an error in v2.0.

Sums run left to right in the order of the references: the last digit depends on it. Nothing here
imports `evaluate`, which takes seconds; `squad_metric` has the same figures as an `evaluate.Metric`.
"""

import operator
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce

from distill.errors import UserError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces.

    Punctuation goes first and leaves no space: "U.S." becomes "us", "a-b" becomes "ab".
    """
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact(gold: str, prediction: str) -> int:
    """1 where both strings normalise to the same, else 0."""
    return int(normalize(gold) == normalize(prediction))


def f1(gold: str, prediction: str, version_2: bool = True) -> float:
    """Harmonic mean of precision and recall over normalised tokens, 0 to 1.

    Where a side has no tokens left: v2.0 gives 1 if both have none, else 0; v1.1 always 0.
    """
    return _f1(normalize(gold).split(), normalize(prediction).split(), version_2)


def _f1(gold_tokens: list[str], predicted: list[str], version_2: bool) -> float:
    if version_2 and not (gold_tokens and predicted):
        return float(gold_tokens == predicted)
    shared = sum((Counter(gold_tokens) & Counter(predicted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(gold_tokens)
    return 2 * precision * recall / (precision + recall)


def question_scores(golds: Sequence[str], prediction: str, version_2: bool) -> tuple[int, float]:
    """(exact, f1) of one question, each the best over its gold answers.

    Args:
        golds: all gold answers; empty means unanswerable, which v1.1 does not know.
        prediction: the predicted text; "" means "no answer".
        version_2: the v2.0 rules instead of v1.1's.

    Raises:
        ValueError: no gold answer in v1.1.
    """
    if not (version_2 or golds):
        raise ValueError("a question without gold answers: SQuAD v1.1 has none, use version_2")
    predicted = normalize(prediction)
    # Annotators often agree: each gold answer once.
    wanted = {normalize(gold) for gold in set(golds)}
    if version_2:
        wanted = wanted - {""} or {""}
    if predicted and predicted in wanted:
        return 1, 1.0
    tokens = predicted.split()
    return int(predicted in wanted), max(_f1(gold.split(), tokens, version_2) for gold in wanted)


def scores(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    null_odds: Mapping[str, float] | None,
    version_2: bool,
    threshold: float | None,
) -> dict[str, float]:
    """The figures that the official evaluator prints.

    Args:
        predictions: id to predicted text, "" for "no answer". Ids without a reference are ignored.
        references: id to all gold answer texts, none for an unanswerable question.
        null_odds: id to how much more likely "no answer" is (v2.0's na_prob); None without.
        version_2: SQuAD v2.0 instead of v1.1.
        threshold: predictions with null_odds above it count as "no answer"; None keeps every
            prediction.

    Returns:
        v1.1: exact_match, f1. v2.0: exact, f1, total, HasAns_* and NoAns_* (exact, f1, total; where
        there are such questions) and, with null_odds, best_exact, best_exact_thresh, best_f1,
        best_f1_thresh: thresholds tuned on these very references, so oracle figures.

    Raises:
        UserError: no references, an answerless reference in v1.1, or in v2.0 an id without
            prediction or null odds.
        ValueError: a threshold without null odds, or null odds for v1.1.
    """
    if not references:
        raise UserError("references: there are no questions to score; give at least one")
    if not version_2:
        if null_odds is not None or threshold is not None:
            raise ValueError("null_odds and threshold belong to SQuAD v2.0, not to v1.1")
        return _scores_v1(predictions, references)
    if null_odds is None and threshold is not None:
        raise ValueError("a threshold needs null_odds")
    return _scores_v2(predictions, references, null_odds, threshold)


def _scores_v1(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    exact_sum, f1_sum = 0, 0.0
    for key, golds in references.items():
        if not golds:
            raise UserError(
                f"references: question {key!r} has no gold answer, which SQuAD v1.1 does not know; score it as v2.0"
            )
        if key in predictions:
            question_exact, question_f1 = question_scores(golds, predictions[key], version_2=False)
            exact_sum += question_exact
            f1_sum += question_f1
    count = len(references)
    return {"exact_match": 100.0 * exact_sum / count, "f1": 100.0 * f1_sum / count}


def _scores_v2(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    null_odds: Mapping[str, float] | None,
    threshold: float | None,
) -> dict[str, float]:
    for name, entries in (("predictions", predictions), ("null odds", null_odds)):
        missing = [] if entries is None else [key for key in references if key not in entries]
        if missing:
            raise UserError(
                f"{name}: {len(missing)} of {len(references)} questions are missing, the first is "
                f"{missing[0]!r}; SQuAD v2.0 needs one entry for each question"
            )
    answerable = {key: bool(golds) for key, golds in references.items()}
    pairs = {key: question_scores(golds, predictions[key], True) for key, golds in references.items()}
    raw = {name: {key: pair[i] for key, pair in pairs.items()} for i, name in enumerate(("exact", "f1"))}

    final = raw
    if null_odds is not None and threshold is not None:
        final = {
            name: {
                key: float(not answerable[key]) if null_odds[key] > threshold else score
                for key, score in values.items()
            }
            for name, values in raw.items()
        }
    results: dict[str, float] = {}
    for prefix, keys in (
        ("", list(references)),
        ("HasAns_", [key for key in references if answerable[key]]),
        ("NoAns_", [key for key in references if not answerable[key]]),
    ):
        if keys:
            for name, values in final.items():
                # Not sum(): from Python 3.12 on it compensates rounding, so last digits would move.
                total = reduce(operator.add, (values[key] for key in keys))
                results[prefix + name] = 100.0 * total / len(keys)
            results[prefix + "total"] = len(keys)
    if null_odds is not None:
        for name, values in raw.items():
            best, at = best_threshold(values, predictions, null_odds, answerable)
            results[f"best_{name}"], results[f"best_{name}_thresh"] = best, at
    return results


def best_threshold(
    values: Mapping[str, float],
    predictions: Mapping[str, str],
    null_odds: Mapping[str, float],
    answerable: Mapping[str, bool],
) -> tuple[float, float]:
    """v2.0's best score over all thresholds on the null odds, and the lowest that reaches it.

    It begins with "no answer" everywhere (threshold 0 by convention) and lets predictions in by
    rising null odds, equal ones in the order of `null_odds`. As in the official script every step
    inside a run of equal odds counts as reachable, and an unanswerable question is lost by any text
    but "", even one that normalises to nothing: the figure can differ from what applying the
    threshold gives. `distill.tasks.spans.tune_threshold` has neither quirk.

    Args:
        values: id to score (0 to 1) of its prediction, for the questions that count.
        predictions, null_odds, answerable: id to text, odds, whether there is an answer. Other ids
            are ignored.

    Returns:
        (score in percent, threshold).
    """
    current = best = sum(not answerable[key] for key in values)
    threshold = 0.0
    for key in sorted(null_odds, key=lambda k: null_odds[k]):
        if key not in values:
            continue
        if answerable[key]:
            current += values[key]
        elif predictions[key]:
            current -= 1
        if current > best:
            best, threshold = current, null_odds[key]
    return 100.0 * best / len(values), threshold
