"""The selection split, carved out of train, so that nothing is tuned on the reported split.

Questions go by whole articles, texts (pairs of texts) by equal ones: no text stands on both sides.
"""

from collections.abc import Sequence

from distill.data.sources.question_sets import draw_order
from distill.data.sources.squad_json import Row, fail, show


def carve(rows: list[Row], fraction: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Splits training rows into a smaller training part and a selection part.

    Groups, articles or rows of equal texts, are tried in the order of a seeded hash of their titles or texts, and each
    that brings the selection part nearer to `fraction` of all rows joins it. The choice therefore does not depend on
    the rows' order.

    Args:
        rows: training questions in the Hugging Face SQuAD schema, or texts (`distill.data.sources.text_sets`).
        fraction: share of the rows to select, between 0 and 1.
        seed: another seed selects other groups.

    Returns:
        (training rows, selection rows), both in their old order and never empty.

    Raises:
        UserError: a fraction out of range, fewer than two groups, or a part without an answerable question.
    """
    if not 0 < fraction < 1:
        fail("params.yaml", f"data.selection_fraction = {fraction}", "is out of range", "choose one between 0 and 1")
    groups = [_group(row) for row in rows]
    sizes: dict[tuple[str, ...], int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    questions = bool(rows) and "title" in rows[0]
    if len(sizes) < 2:
        shown = ", ".join(" ".join(group) for group in sizes)
        fail(
            "training data",
            "title" if questions else "text",
            f"{len(rows)} questions of {len(sizes)} article ({shown}) cannot be split by article"
            if questions
            else f"{len(rows)} examples with {len(sizes)} text cannot be split",
            f"give the training data two {'articles' if questions else 'texts'} or more",
        )
    chosen = _choose(sizes, fraction * len(rows), seed)
    train = [row for row, group in zip(rows, groups, strict=True) if group not in chosen]
    selection = [row for row, group in zip(rows, groups, strict=True) if group in chosen]
    for name, part in (("training", train), ("selection", selection)) if questions else ():
        if not any(row["answers"]["text"] for row in part):
            fail(
                f"{name} split",
                f"data.selection_fraction = {fraction}",
                f"leaves no answerable question among its {len(part)} questions",
                "change data.selection_fraction or data.seed, or add answerable articles",
            )
    return train, selection


def check_classes(rows: list[Row], classes: Sequence[str]) -> None:
    """Raise a UserError where a class has no row in the training part `rows`: no model could learn it."""
    present = {row["label"] for row in rows} if classes else set()
    if missing := [name for i, name in enumerate(classes) if i not in present]:
        fail(
            "training split",
            f"class {show(missing[0])}",
            f"has no example among the {len(rows)} of this split",
            "add examples, raise data.max_train_examples, lower data.selection_fraction, or take it out of data.labels",
        )


def _group(row: Row) -> tuple[str, ...]:
    return (row["title"],) if "title" in row else (row["text"], row["text_pair"] or "")


def _choose(sizes: dict[tuple[str, ...], int], target: float, seed: int) -> set[tuple[str, ...]]:
    order = sorted(sizes, key=lambda group: draw_order(seed, *group))
    chosen: set[tuple[str, ...]] = set()
    count = 0
    for group in order:
        nearer = abs(count + sizes[group] - target) < abs(count - target)
        if nearer and len(chosen) < len(sizes) - 1:
            chosen.add(group)
            count += sizes[group]
    # Every group may be larger than twice the target; the smallest then misses it least.
    return chosen or {min(order, key=lambda group: sizes[group])}
