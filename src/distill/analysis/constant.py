"""Models that give the same answer to every example, and what one answer for all would score.

A score says little without it: where 88% of the examples are of one class, 88% accuracy is what anybody gets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def models(answers: Mapping[str, Mapping[Any, Sequence[Any]]]) -> dict[str, str]:
    """The models whose answers are all the same, by name: the answer, as text. Of several seeds, every one's.

    Args:
        answers: model → seed → answer to each example; fewer than two examples tell nothing.
    """
    found = {}
    for name, seeds in answers.items():
        given = {str(answer) for one in seeds.values() for answer in one}
        if len(given) == 1 and min((len(one) for one in seeds.values()), default=0) > 1:
            found[name] = given.pop()
    return found


def commonest(task: str, examples: Any, classes: Sequence[str]) -> dict[str, Any] | None:
    """The one answer that is right most often: `answer` and `share`, the percent of examples that it is right on.

    None where there is no such answer: numbers, and questions that all have an answer.

    Args:
        task: name of the task.
        examples: the reported split's examples (`datasets.Dataset`).
        classes: names of the classes, in order.
    """
    if task == "classification":
        counts = Counter(label for label in examples.data.column("label").to_pylist() if label >= 0)
        number, count = max(counts.items(), key=lambda item: (item[1], -item[0]))
        return {"answer": classes[number], "share": 100 * count / counts.total()}
    if task == "qa":
        empty = sum(not answers["text"] for answers in examples.data.column("answers").to_pylist())
        return {"answer": "", "share": 100 * empty / len(examples)} if empty else None
    return None
