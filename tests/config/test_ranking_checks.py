"""Parameters that do not go with rankings are refused before anything runs."""

import pytest

from distill.errors import UserError
from tests.config.test_data_checks import read

PASSAGES = {
    "task": "ranking",
    "data.embedded": "passages",
    "data.text": "query",
    "data.text_pair": "passage",
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data.group": "qid"},
        {"data.max_passages": 16, "training.gradient_accumulation": 2},
        {"data.max_passages": 5},  # six queries of five
        {"generator.batch_size": 1},
        {"methods": ["ft", "kd"], "kd.divergence": "pairwise", "ft.label_smoothing": 0.1},
    ],
)
def test_what_goes_together_is_taken(changes):
    assert read(PASSAGES | changes).data.max_passages == changes.get("data.max_passages", 8)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"data.text_pair": None, "data.source": "files"},
            "data.text_pair is null but task is 'ranking': name the column",
        ),
        ({"data.embedded": "pairs"}, "data.embedded is 'pairs' but task is 'ranking': set data.embedded to passages"),
        (
            {"data.labels": [0, 1]},
            "data.labels is ['0', '1'] but task is 'ranking', which has no classes: set it to null",
        ),
        (
            {"data.group": "texts"},
            "data.group is 'texts' but task is 'ranking', where groups are the passages of a query",
        ),
        (
            {"data.max_passages": 64},
            "teacher.batch_size is 32 pairs of query and passage, which is 0 groups of data.max_passages 64, for"
            " gradient_accumulation 1: an update is made of whole groups: set it to 64",
        ),
        ({"training.gradient_accumulation": 8}, "is 4 groups of data.max_passages 8, for gradient_accumulation 8"),
        ({"data.max_passages": 1}, "data.max_passages: 1"),
        (
            {"methods": ["tinybert"], "augment.methods": ["tinybert"]},
            "augment.methods is ['tinybert'] but task is 'ranking': a copy changes one pair",
        ),
        (
            {"training.class_weights": "balanced"},
            "class_weights is balanced but task is 'ranking', which has no classes",
        ),
        ({"methods": ["knn"]}, "methods: 'knn': task ranking: a neighbour is a pair by itself"),
        ({"methods": ["minimax_knn"]}, "methods: 'minimax_knn': task ranking: a neighbour is a pair by itself"),
        (
            {"methods": ["dist"], "dist.class_alpha": 2},
            "dist.class_alpha: 2, but the classes of a query are its passages, and those of two queries are not",
        ),
        (
            {"methods": ["kd"], "kd.standardize": True, "data.max_passages": 2},
            "kd.standardize: true, but standardised logits of two classes are",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(changes, expected):
    with pytest.raises(UserError) as error:
        read(PASSAGES | changes)
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("divergence", ["margin_mse", "pairwise"])
def test_pairs_of_passages_need_a_ranking(divergence):
    with pytest.raises(UserError, match=f"kd.divergence: '{divergence}' compares the passages of a query, and task qa"):
        read({"methods": ["kd"], "kd.divergence": divergence})
