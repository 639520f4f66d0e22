"""The selection split, carved out of train, so that nothing is tuned on the reported split.

Questions go by whole articles, or by contexts where there are no articles; texts (pairs of texts) by equal ones: no
text stands on both sides. Texts may go by larger groups (`distill.data.sources.groups`).
"""

from collections.abc import Sequence
from typing import NoReturn

from distill.data.sources.question_sets import draw_order
from distill.data.sources.squad_json import Row, fail, show


def carve(
    rows: list[Row], fraction: float, seed: int, groups: Sequence[tuple[str, ...]] | None = None
) -> tuple[list[Row], list[Row]]:
    """Splits training rows into a smaller training part and a selection part.

    Groups, by what `grouping` says, are tried in the order of a seeded hash of their titles or texts, and each
    that brings the selection part nearer to `fraction` of all rows joins it. The choice therefore does not depend on
    the rows' order.

    Args:
        rows: training questions in the Hugging Face SQuAD schema, or texts (`distill.data.sources.text_sets`).
        fraction: share of the rows to select, between 0 and 1.
        seed: another seed selects other groups.
        groups: group of each row, which stays on one side; None: by `grouping`. Given groups of more rows than the
            selection part wants stay in training where the others suffice.

    Returns:
        (training rows, selection rows), both in their old order and never empty.

    Raises:
        UserError: a fraction out of range, fewer than two groups, or a part without an answerable question; given
            groups of which no choice comes near the fraction.
    """
    if not 0 < fraction < 1:
        fail("params.yaml", f"data.selection_fraction = {fraction}", "is out of range", "choose one between 0 and 1")
    given = groups is not None
    if not given:
        by_article = grouping(rows) == "article"
        groups = [_group(row, by_article) for row in rows]
    sizes: dict[tuple[str, ...], int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    questions = bool(rows) and "title" in rows[0]
    if len(sizes) < 2 and not given:
        _fail_unsplit(rows, len(sizes))
    wanted = fraction * len(rows)
    if given:
        small = {group: size for group, size in sizes.items() if size <= wanted}
        # One large group would make up the whole selection: it stays in train where the others suffice.
        drawn = small if sum(small.values()) >= wanted else sizes
        chosen = _choose(drawn, wanted, seed) if len(sizes) > 1 else set()
        _check_near(sizes, chosen, fraction)
    else:
        chosen = _choose(sizes, wanted, seed)
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


def uneven(train: int, selection: int, fraction: float) -> str | None:
    """A warning where the selection split has less than half, or more than twice, the rows that were asked for.

    Whole articles, and texts that occur several times, stay on one side: of few there may be no better split.

    Args:
        train, selection: rows of the two parts.
        fraction: data.selection_fraction.
    """
    wanted = fraction * (train + selection)
    if selection / 2 <= max(wanted, 1) and selection >= wanted / 2:
        return None
    return (
        f"data.selection_fraction {fraction:g} of {train + selection:,} rows is {wanted:,.0f}, and the selection split"
        f" has {selection:,}, which leaves {train:,} to train on: rows that belong together stay on one side; change"
        " data.selection_fraction, or name a selection split of your own"
    )


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


def grouping(rows: list[Row]) -> str:
    """What `carve` keeps together: "article"; "context" where the questions have no title, or one only; or "text"."""
    if not rows or "title" not in rows[0]:
        return "text"
    groups = {_group(row, by_article=True) for row in rows}
    return "article" if len(groups) > 1 and any(row["title"] for row in rows) else "context"


def _check_near(sizes: dict[tuple[str, ...], int], chosen: set[tuple[str, ...]], fraction: float) -> None:
    """Raise a UserError where the chosen groups have less than half, or more than twice, the rows wanted."""
    rows, selected = sum(sizes.values()), sum(sizes[group] for group in chosen)
    wanted = fraction * rows
    if selected and selected / 2 <= max(wanted, 1) and selected >= wanted / 2:
        return
    largest = max(sizes.values())
    fail(
        "training data",
        "data.group",
        f"makes {len(sizes):,} groups of {rows:,} rows, the largest of {largest:,}, so that the selection split"
        f" nearest to {wanted:,.0f} rows (data.selection_fraction {fraction}) has {selected:,}",
        "change data.selection_fraction, name a column of smaller groups, set data.group to null, or name a selection"
        " split of your own",
    )


def _fail_unsplit(rows: list[Row], groups: int) -> NoReturn:
    if not rows or "title" not in rows[0]:
        field, problem = "text", f"{len(rows)} examples with {groups} text cannot be split"
        fix = "two texts or more"
    elif title := rows[0]["title"]:
        field = "title"
        problem = f"{len(rows)} questions of {groups} article ({title}), on one context, cannot be split"
        fix = "two articles or more, or two contexts"
    else:
        field, problem = "context", f"{len(rows)} questions on {groups} context cannot be split"
        fix = "two contexts or more"
    fail("training data", field, problem, f"give the training data {fix}")


def _group(row: Row, by_article: bool) -> tuple[str, ...]:
    if "title" not in row:
        return (row["text"], row["text_pair"] or "")
    return (row["title"],) if by_article and row["title"] else ("", row["context"])


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
