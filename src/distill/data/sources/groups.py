"""Groups of rows that belong together, so that the selection split holds nothing that training has seen.

`data.group` names what makes a group: a column (all texts of an author, say), or the texts themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from distill.data.sources.containment import MIN_WORDS, Sequences
from distill.data.sources.squad_json import Row

Group = tuple[str, ...]


def by_column(rows: Sequence[Row]) -> list[Group]:
    """The group of each row: its value of the column that `data.group` names."""
    return [(row["group"],) for row in rows]


def by_texts(rows: Sequence[Row]) -> list[Group]:
    """The group of each row, by its texts.

    Two rows are related where a text of one, of `MIN_WORDS` words or more, is equal to a text of the other or part of
    it (`distill.data.sources.containment`), or where all their texts are equal. A group is a connected component of
    this relation.

    Args:
        rows: texts or pairs of texts (`distill.data.sources.text_sets`).

    Returns:
        for each row the least of its group's (text, second text or ""), which no order of the rows changes.
    """
    sequences = Sequences()
    keys = [(row["text"], row["text_pair"] or "") for row in rows]
    numbers = [tuple(sequences.number(text) for text in key if text) for key in keys]
    parts, wholes = sequences.contained()
    # Nodes are sequences, then rows. Rows of the same sequences hang together through the first of them; a text
    # without a word has the empty sequence, so there the text itself counts.
    count, earlier = len(sequences.sequences), {}
    left, right = [], []
    for i, (key, own) in enumerate(zip(keys, numbers, strict=True)):
        texts = [text for text in key if text]
        same = tuple(number if sequences.sequences[number] else text for number, text in zip(own, texts, strict=True))
        left.append(count + i)
        right.append(count + earlier.setdefault(same, i))
        for number in own:
            if len(sequences.sequences[number]) >= MIN_WORDS:
                left.append(count + i)
                right.append(number)
    edges = np.concatenate([parts, np.array(left, np.int64)]), np.concatenate([wholes, np.array(right, np.int64)])
    size = count + len(rows)
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(size, size))
    components = connected_components(graph, directed=False)[1][count:].tolist()
    least: dict[int, Group] = {}
    for component, key in zip(components, keys, strict=True):
        least[component] = min(key, least.get(component, key))
    return [least[component] for component in components]
