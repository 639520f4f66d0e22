"""The selection split: whole articles carved out of train, so that nothing is tuned on what it reports."""

from distill.data.sources import draw_order
from distill.data.squad_json import Row, fail


def carve(rows: list[Row], fraction: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Splits training rows by article into a smaller training part and a selection part.

    Articles are tried in the order of a seeded hash of their titles, and each is taken that brings the selection part
    nearer to `fraction` of all questions. The choice therefore does not depend on the rows' order.

    Args:
        rows: training questions in the Hugging Face SQuAD schema.
        fraction: share of the questions to select, between 0 and 1.
        seed: another seed selects other articles.

    Returns:
        (training rows, selection rows), both in their old order and never empty.

    Raises:
        UserError: a fraction out of range, fewer than two articles, or a part without an answerable question.
    """
    if not 0 < fraction < 1:
        fail("params.yaml", f"data.selection_fraction = {fraction}", "is out of range", "choose one between 0 and 1")
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["title"]] = sizes.get(row["title"], 0) + 1
    if len(sizes) < 2:
        fail(
            "training data",
            "title",
            f"{len(rows)} questions of {len(sizes)} article ({', '.join(sizes)}) cannot be split by article",
            "give the training data two articles or more",
        )
    titles = _choose(sizes, fraction * len(rows), seed)
    train = [row for row in rows if row["title"] not in titles]
    selection = [row for row in rows if row["title"] in titles]
    for name, part in (("training", train), ("selection", selection)):
        if not any(row["answers"]["text"] for row in part):
            fail(
                f"{name} split",
                f"data.selection_fraction = {fraction}",
                f"leaves no answerable question among its {len(part)} questions",
                "change data.selection_fraction or data.seed, or add answerable articles",
            )
    return train, selection


def _choose(sizes: dict[str, int], target: float, seed: int) -> set[str]:
    order = sorted(sizes, key=lambda title: draw_order(seed, title))
    chosen: set[str] = set()
    count = 0
    for title in order:
        nearer = abs(count + sizes[title] - target) < abs(count - target)
        if nearer and len(chosen) < len(sizes) - 1:
            chosen.add(title)
            count += sizes[title]
    # Every article may be larger than twice the target; the smallest then misses it least.
    return chosen or {min(order, key=lambda title: sizes[title])}
