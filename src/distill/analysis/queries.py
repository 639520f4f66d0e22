"""Rankings by query: the examples that tables of examples have, and the queries that models find hardest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: Queries that are listed.
MOST = 20


def by_query(examples: Any) -> Any:
    """Pairs of query and passage as a row for each query, in the order of the tables of examples.

    Args:
        examples: a split of a ranking (`datasets.Dataset`); of another task it is returned as it is.

    Returns:
        a `datasets.Dataset` with id, text (the query), text_pair (None), passages (their texts), names (their ids) and
        relevance (whole numbers)
    """
    if "query" not in examples.column_names:
        return examples
    import datasets

    columns = {name: examples.data.column(name).to_numpy() for name in ("query", "id", "text", "text_pair", "label")}
    starts = np.flatnonzero(columns["query"][1:] != columns["query"][:-1]) + 1
    parts = {name: np.split(values, starts) for name, values in columns.items()}
    return datasets.Dataset.from_dict(
        {
            "id": [str(part[0]) for part in parts["query"]],
            "text": [str(part[0]) for part in parts["text"]],
            "text_pair": [None] * len(parts["text"]),
            "passages": [part.tolist() for part in parts["text_pair"]],
            "names": [part.tolist() for part in parts["id"]],
            "relevance": [part.astype(np.int64).tolist() for part in parts["label"]],
        }
    )


def hardest(
    tables: Mapping[str, Mapping[int | None, pd.DataFrame]], examples: Any, metric: str
) -> list[dict[str, Any]]:
    """Up to `MOST` queries with a relevant passage, those with the lowest mean over models of a score first.

    Args:
        tables: tables of examples by model and seed.
        examples: result of `by_query` for the split.
        metric: a column of the tables, 0–100.

    Returns:
        {id, query, passages: their number, relevant: the number of relevant ones, scores: model → mean over seeds}
    """
    means = {name: np.mean([table[metric] for table in seeds.values()], axis=0) for name, seeds in tables.items()}
    overall, found = np.mean(list(means.values()), axis=0), []
    relevant = np.array([sum(grade > 0 for grade in grades) for grades in examples["relevance"]])
    for row in [row for row in np.argsort(overall, kind="stable") if relevant[row]][:MOST]:
        example = examples[int(row)]
        found.append(
            {
                "id": example["id"],
                "query": example["text"],
                "passages": len(example["passages"]),
                "relevant": int(relevant[row]),
                "scores": {name: float(values[row]) for name, values in means.items()},
            }
        )
    return found
