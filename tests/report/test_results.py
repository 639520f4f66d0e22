"""Names of scores as people write them."""

import pytest

from distill.report.results import heading, title


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ("has_answer_f1", "HasAns F1"),
        ("tuned_f1", "F1, tuned threshold"),
        ("selection_mcc", "MCC, selection split"),
        ("mismatched_macro_f1", "mismatched macro F1"),
        ("minority_recall", "recall of the rarest class"),
        ("mismatched_accuracy", "mismatched accuracy"),
        ("movie_reviews_f1", "movie reviews F1"),
        ("news_has_answer_f1", "news HasAns F1"),
        ("rouge_rougeL", "rouge rougeL"),
    ],
)
def test_scores_of_further_splits_begin_with_the_name_of_the_split(score, words):
    assert title(score) == words
    assert heading(score) == words[0].upper() + words[1:]
