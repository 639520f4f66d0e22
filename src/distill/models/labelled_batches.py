"""Labelled batches spread over the training data, for measures of a model's units and heads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from distill.data.loading import groups
from distill.data.loading.batches import Collator, Rows
from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.models.predict import INPUTS, length_order
from distill.tasks.base import Task

#: Rows that are looked at, about, and rows of a batch.
ROWS, BATCH = 512, 16


def labelled_batches(data: Prepared, task: Task) -> Iterator[dict[str, Tensor]]:
    """Padded batches of evenly spaced training rows, the longest first; of rankings whole groups.

    Raises:
        UserError: no training row has a label.
    """
    if not data.has_labels:
        raise UserError(
            "params.yaml: student.model.config: which units a narrower student keeps is chosen by labels, and"
            " data.train is data/none: give data.train, or as many units and heads as the teacher has"
        )
    features, columns = data.features("train"), (*INPUTS, *task.labels)
    rows = (groups.GroupedRows if groups.GROUP in task.labels else Rows)(features, columns)
    count = min(len(rows), max(round(ROWS / rows.rows_each), 1))
    chosen = (np.arange(count) * len(rows)) // count
    collate = Collator(data.tokenizer().pad_token_id, task.labels)
    for batch in length_order(rows.lengths[chosen], max(round(BATCH / rows.rows_each), 1)):
        yield collate(rows.__getitems__(chosen[batch].tolist()))
