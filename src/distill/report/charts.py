"""The report's pictures of results: scores with intervals, quality against cost, slices, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from distill.report import formatting
from distill.report.results import Results, axis, heading, title
from distill.report.svg import BLUE, GRID, INK, MUTED, ORANGE, PAPER, PURPLE, Picture, apart, draw

# Colour and mark show the same, for readers who cannot tell one of them.
VERDICTS = {"better": (BLUE, "^"), "worse": (ORANGE, "v"), "cannot tell": (MUTED, "o"), "one seed": (MUTED, "o")}
REFERENCES = {"teacher": (INK, "s"), "student": (MUTED, "D")}
BASELINE = (PURPLE, "D")
ROW = 21  # height of a line of text in a list of models


def differences(results: Results) -> Picture | None:
    """Each method's difference to the baseline with its interval; the best on top."""
    rows = [name for name in results.rivals if results.versus(name) is not None]
    if not rows:
        return None
    rows.sort(key=results.versus)
    metric, level = title(results.metric), f"{results.confidence * 100:g}%"

    def paint(axes: Any) -> None:
        axes.axvline(0, color=INK, linewidth=1)
        for y, name in enumerate(rows):
            colour, mark = VERDICTS.get(results.verdict(name), (MUTED, "o"))
            low, high = results.versus(name, "low"), results.versus(name, "high")
            if low is not None and high is not None:
                axes.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            filled = colour if results.verdict(name) in ("better", "worse") else PAPER
            axes.plot(results.versus(name), y, mark, color=colour, markersize=7, markerfacecolor=filled)
        axes.set(yticks=range(len(rows)), yticklabels=rows, ylim=(-0.7, len(rows) - 0.3))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=f"{metric} minus {results.baseline}'s (points)", ylabel="Method")

    listing = "; ".join(
        f"{name} {formatting.number(results.versus(name), signed=True)}"
        f" {formatting.interval(results.versus(name, 'low'), results.versus(name, 'high'))}"
        for name in reversed(rows)
    )
    scope = "examples only, one seed" if len(results.seeds) == 1 else "examples and seeds"
    text = f"Difference to {results.baseline} in {metric} with {level} intervals over {scope}: {listing}"
    above = f"Difference to {results.baseline}, with {level} intervals over {scope}"
    return draw("differences", above, text, 64 + ROW * len(rows), paint)


def scores(results: Results) -> Picture | None:
    """Every model's mean, its interval over examples, and its single seeds."""
    rows = [name for name in results.summary if results.score(name) is not None]
    if not rows:
        return None
    rows.sort(key=results.score)
    metric = title(results.metric)

    def paint(axes: Any) -> None:
        for y, name in enumerate(rows):
            colour, mark = _look(results, name)
            mean, interval = results.score(name), results.interval(name)
            if interval:
                axes.plot(interval, [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            runs = [results.runs.get(f"{name}-{seed}", {}) for seed in results.summary[name]["seeds"]]
            single = [run[results.metric] for run in runs if results.metric in run]
            if len(single) > 1:
                axes.plot(single, [y] * len(single), "|", color=colour, markersize=9, markeredgewidth=1)
            axes.plot(mean, y, mark, color=colour, markersize=6.5)
        axes.set(yticks=range(len(rows)), yticklabels=rows, ylim=(-0.7, len(rows) - 0.3))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=axis(results.metric), ylabel="Model")

    listing = "; ".join(
        f"{name} {formatting.spread(results.score(name), results.summary[name].get(f'{results.metric}_std'))}"
        + (f" {formatting.interval(*interval, signed=False)}" if (interval := results.interval(name)) else "")
        for name in reversed(rows)
    )
    level = f"{results.confidence * 100:g}% intervals over examples"
    above = f"{heading(results.metric)}, with {level}" + (" and single seeds" if len(results.seeds) > 1 else "")
    return draw("scores", above, f"{metric} of every model: {listing}", 64 + ROW * len(rows), paint)


def quality_cost(results: Results) -> Picture | None:
    """Score over throughput. All students have one shape and so one throughput: their points lie above each other."""
    models = results.cost.get("models", {})
    speed = {role: models.get(role, {}).get("throughput") for role in ("teacher", "student")}
    points = {
        name: (speed["teacher" if name == "teacher" else "student"], results.score(name)) for name in results.summary
    }
    return _against_cost(
        results,
        points,
        "quality-cost",
        "Quality against speed",
        "Throughput on this machine (examples/s)",
        frontier=True,
    )


def quality_training(results: Results) -> Picture | None:
    """Score over the time that one training takes."""
    points = {name: (results.training.get(name, {}).get("seconds"), results.score(name)) for name in results.methods}
    known = [x for x, _ in points.values() if x is not None]
    longest = max(known, default=0)
    size, unit = (3600, "hours") if longest > 7200 else (60, "minutes") if longest > 120 else (1, "seconds")
    points = {name: (None if x is None else x / size, y) for name, (x, y) in points.items()}
    label = f"Training time of one student ({unit})"
    return _against_cost(results, points, "quality-training", "Quality against training time", label)


def _against_cost(
    results: Results,
    points: Mapping[str, tuple[float | None, float | None]],
    name: str,
    above: str,
    label: str,
    frontier: bool = False,
) -> Picture | None:
    """Points with names in a column at the right, each tied to its point, so that many names stay legible."""
    known = {key: (x, y) for key, (x, y) in points.items() if x is not None and y is not None}
    if len(known) < 2:
        return None
    metric, height = title(results.metric), max(300, 70 + 15 * len(known))

    def paint(axes: Any) -> None:
        xs, ys = [x for x, _ in known.values()], [y for _, y in known.values()]
        right = max(xs) * 1.06
        axes.set_xlim(0 if min(xs) < 0.6 * max(xs) else min(xs) - 0.15 * (max(xs) - min(xs) or max(xs)), right)
        ends = [end for key in known for end in results.interval(key) or ()]
        low, high = min([*ys, *ends]), max([*ys, *ends])
        room = (high - low or 1) * 0.06
        gap = 14.5 / (height - 75) * (high - low + 2 * room)
        places = dict(zip(known, apart(ys, gap), strict=True))
        axes.set_ylim(min(low, *places.values()) - room, max(high, *places.values()) + room)
        # The best of several that nobody can tell apart is no front.
        if frontier and all(results.verdict(key) in (None, "better") for key in known):
            front = sorted(p for p in known.values() if not any(_beats(q, p) for q in known.values()))
            axes.plot(*zip(*front, strict=True), color=GRID, linewidth=4, zorder=1, solid_capstyle="round")
        width = right - axes.get_xlim()[0]
        for key, (x, y) in known.items():
            colour, mark = _look(results, key)
            axes.plot(x, y, mark, color=colour, markersize=7, zorder=3)
            if interval := results.interval(key):
                axes.plot([x, x], interval, color=colour, linewidth=1, alpha=0.6, zorder=2)
            stop = right + width * 0.03
            axes.plot([x, stop], [y, places[key]], color=MUTED, linewidth=0.5, clip_on=False, zorder=1)
            axes.text(stop, places[key], f" {key}", color=colour, va="center", fontsize=11)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set(xlabel=label, ylabel=axis(results.metric))

    listing = "; ".join(f"{key} {formatting.number(x, 1)}, {formatting.number(y)}" for key, (x, y) in known.items())
    return draw(name, above, f"{metric} over {label[0].lower()}{label[1:]}: {listing}", height, paint)


def slices(results: Results, models: Sequence[str]) -> list[Picture]:
    """One picture per slice: the score of a few models in each group."""
    parts = [part for part in results.analysis.get("slices", []) if part["groups"]]
    return [
        _slice(part, models, results) for part in parts if any(name in part["groups"][0]["scores"] for name in models)
    ]


def _slice(part: Mapping[str, Any], models: Sequence[str], results: Results) -> Picture:
    groups, metric = part["groups"], title(part["metric"])
    rows = range(0, -len(groups), -1)

    def paint(axes: Any) -> None:
        for place, name in enumerate(models):
            colour, mark = _reference(results, name) or (BLUE, "o")
            below = 0.2 * (place - (len(models) - 1) / 2)  # side by side, or one interval hides the other
            points = [(group["scores"].get(name), y - below) for group, y in zip(groups, rows, strict=True)]
            for group, y in zip(groups, rows, strict=True):
                if interval := group.get("intervals", {}).get(name):
                    axes.plot(interval, [y - below] * 2, color=colour, linewidth=1, alpha=0.6)
            known = [(score, y) for score, y in points if score is not None]
            if known:
                axes.plot(*zip(*known, strict=True), mark, color=colour, markersize=6, label=name, alpha=0.9)
        axes.set(yticks=rows, ylim=(0.6 - len(groups), 0.6))
        axes.set_yticklabels([f"{formatting.cut(str(group['group']), 28)} ({group['examples']:,})" for group in groups])
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set(xlabel=axis(part["metric"]), ylabel="Group (examples)")
        _legend(axes, len(models))

    listing = "; ".join(
        f"{group['group']} ({formatting.plural(group['examples'], 'example')}): "
        + ", ".join(f"{name} {formatting.number(group['scores'].get(name))}" for name in models)
        for group in groups
    )
    text = f"{metric} by {part['title']}: {listing}"
    return draw(f"slice-{part['name']}", part["title"], text, 90 + 24 * len(groups), paint)


def reliability(results: Results, models: Sequence[str]) -> list[Picture]:
    """Accuracy over confidence before and after temperature scaling, a picture per model."""
    rows = results.analysis.get("calibration", {})
    return [_reliability(name, rows[name]) for name in models if name in rows]


def _reliability(name: str, row: Mapping[str, Any]) -> Picture:
    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1)
        for prefix, label, look in (("", "before", "o--"), ("calibrated_", "after", "s-")):
            bins = [part for part in row["bins"] if part[f"{prefix}examples"]]
            pairs = [(part[f"{prefix}confidence"], part[f"{prefix}accuracy"]) for part in bins]
            if pairs:
                colour = BLUE if prefix else ORANGE
                axes.plot(*zip(*pairs, strict=True), look, color=colour, markersize=5, label=label)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        axes.set(xlabel="Mean confidence of a bin (0–1)", ylabel="Share that is right (0–1)")
        _legend(axes, 2)

    text = (
        f"Reliability of {name}: expected calibration error {formatting.number(row['ece'])}% before and"
        f" {formatting.number(row['ece_calibrated'])}% after temperature scaling"
    )
    return draw(f"reliability-{name}", f"Calibration of {name}", text, 300, paint, width=340)


def _beats(rival: tuple[float, float], point: tuple[float, float]) -> bool:
    return rival != point and rival[0] >= point[0] and rival[1] >= point[1]


def _look(results: Results, name: str) -> tuple[str, str]:
    return _reference(results, name) or VERDICTS.get(results.verdict(name)) or (MUTED, "o")


def _reference(results: Results, name: str) -> tuple[str, str] | None:
    return BASELINE if name == results.baseline else REFERENCES.get(name)


def _legend(axes: Any, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, handletextpad=0.4)
