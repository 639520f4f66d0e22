"""Scores of rankings by trec_eval itself, the program of NIST (https://github.com/usnistgov/trec_eval), 0–1 by query.

Passages are ordered by falling score; of equal scores the id that sorts last as bytes comes first, which is how
trec_eval breaks ties, so that the order in which the data lists its passages decides nothing. A query without a
relevant passage scores 0 and counts. The gain in nDCG is the relevance itself, not 2^relevance − 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Passages that nDCG and MRR look at.
TOP = 10
#: Score → trec_eval's name of it, over all passages of a query.
_MEASURES = {"ndcg_10": "ndcg_cut_10", "map": "map"} | {f"recall_{k}": f"recall_{k}" for k in (1, 5, 10)}

Entries = Sequence[Mapping[str, Any]]


def order(passages: Sequence[str], scores: Sequence[float]) -> list[int]:
    """Numbers of the passages in trec_eval's order, which compares scores as float32.

    Args:
        passages: ids. scores: as many.
    """
    by_name = sorted(range(len(passages)), key=lambda i: passages[i].encode(), reverse=True)
    return sorted(by_name, key=lambda i: -float(np.float32(scores[i])))


def by_query(run: Entries, gold: Entries) -> dict[str, np.ndarray]:
    """The scores of each query, float64 (queries,), 0 to 1, by name: ndcg_10, mrr_10, map, recall_1, _5 and _10.

    Args:
        run: for each query {"query": id, "passages": ids, "scores": numbers}.
        gold: for the same queries {"query": id, "passages": ids, "relevance": whole numbers from 0 on}.
    """
    import pytrec_eval

    judged = {entry["query"]: dict(zip(entry["passages"], map(int, entry["relevance"]), strict=True)) for entry in gold}
    ranked = {entry["query"]: dict(zip(entry["passages"], map(float, entry["scores"]), strict=True)) for entry in run}
    top = {
        entry["query"]: {
            entry["passages"][i]: float(entry["scores"][i]) for i in order(entry["passages"], entry["scores"])[:TOP]
        }
        for entry in run
    }
    whole = pytrec_eval.RelevanceEvaluator(judged, set(_MEASURES.values())).evaluate(ranked)
    first = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(top)
    names = [entry["query"] for entry in run]
    found = {name: [whole[query][measure] for query in names] for name, measure in _MEASURES.items()}
    ranks = {"mrr_10": [first[query]["recip_rank"] for query in names]}
    values = {"ndcg_10": found.pop("ndcg_10")} | ranks | found
    return {name: np.array(value, np.float64) for name, value in values.items()}


def scores(run: Entries, gold: Entries) -> dict[str, float]:
    """Means over queries, 0–100; arguments as of `by_query`."""
    return {name: 100.0 * float(values.mean()) for name, values in by_query(run, gold).items()}
