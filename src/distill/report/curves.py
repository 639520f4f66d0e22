"""The report's pictures of training: loss terms over steps, filters by layer, sweeps over a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from distill.report import formatting
from distill.report.results import Results, axis, title
from distill.report.svg import BLUE, GOLD, GREEN, INK, MUTED, ORANGE, PURPLE, Picture, draw
from distill.report.tables import parameters

NO_TERM = ("step", "grad_norm", "learning_rate", "epoch")
LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PURPLE, ":"), (GOLD, (0, (5, 1))), (MUTED, (0, (1, 1))))
# The terms that most methods have look the same in all pictures.
TERMS = dict(zip(("task", "kl", "mse"), LINES, strict=False))
POINTS = 150  # of a line; more cannot be seen at this size, and make the page heavy


def losses(results: Results) -> list[Picture]:
    """Loss terms over updates: a picture per method, a thin line per further seed."""
    return [picture for method, seeds in results.curves.items() if (picture := _losses(method, list(seeds.values())))]


def _losses(method: str, seeds: Sequence[pd.DataFrame]) -> Picture | None:
    main_seed = seeds[0]
    terms = [name for name in main_seed.columns if name not in NO_TERM and _numbers(main_seed, name).notna().any()]
    if not terms or "step" not in main_seed:
        return None

    def paint(axes: Any) -> None:
        further = [term for term in terms if term not in TERMS and term != "loss"]
        looks = {term: TERMS[term] for term in TERMS if term in terms}
        looks |= dict(zip(further, cycle(LINES[len(TERMS) :]), strict=False))
        if "loss" in terms and len(looks) != 1:  # with one term, the loss is that term
            looks["loss"] = (INK, "-")
        for term, (colour, line) in looks.items():
            for frame in [frame for frame in seeds if term in frame]:
                more = {"linewidth": 1.6, "label": term} if frame is main_seed else {"linewidth": 0.7, "alpha": 0.55}
                axes.plot(*_thinned(frame, term), color=colour, linestyle=line, **more)
        if all(line.get_ydata().min() > 0 for line in axes.get_lines() if len(line.get_ydata())):
            axes.set_yscale("log")
            _plain_log(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set(xlabel="Updates", ylabel="Loss (terms unweighted)")
        _legend(axes, 3)

    last = ", ".join(f"{term} {formatting.number(_numbers(main_seed, term).dropna().iloc[-1], 3)}" for term in terms)
    text = f"Loss of {method} over updates, {formatting.plural(len(seeds), 'seed')}; last values of the first: {last}"
    return draw(f"loss-{method}", method, text, 240 + 16 * ((len(terms) - 1) // 3), paint, width=320)


def filters(results: Results) -> Picture | None:
    """The score of each filter's head by layer, for teacher and student."""
    points = {role: filter_scores(results, role) for role in results.filters}
    points = {role: pairs for role, pairs in points.items() if pairs}
    if not points:
        return None
    metric = title(results.metric)

    def paint(axes: Any) -> None:
        looks = {"teacher": (INK, "s", "-"), "student": (BLUE, "o", "--")}
        for role, pairs in points.items():
            colour, mark, line = looks.get(role, (MUTED, "o", "-"))
            axes.plot(*zip(*pairs, strict=True), mark, linestyle=line, color=colour, markersize=6, label=role)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="Layer that the filter reads", ylabel=axis(f"selection_{results.metric}"))
        _legend(axes, 2)

    listing = "; ".join(
        f"{role}: " + ", ".join(f"layer {layer} {formatting.number(score)}" for layer, score in pairs)
        for role, pairs in points.items()
    )
    return draw("filters", "Filters by layer", f"{metric} of each filter's head: {listing}", 280, paint)


def filter_scores(results: Results, role: str) -> list[tuple[int, float]]:
    """(layer, score) of teacher's or student's filters, from the lowest layer up."""
    rows = results.filters.get(role, {})
    scored = [(key, row[results.metric]) for key, row in rows.items() if results.metric in row]
    return sorted((int(key.removeprefix("layer_")), score) for key, score in scored if key.startswith("layer_"))


def sweeps(results: Results) -> list[Picture]:
    """Selection and reported score over a swept parameter; of two parameters, a line per value of the second."""
    pictures = []
    for name, frame in results.sweeps.items():
        metric, selection, swept = results.metric, f"selection_{results.metric}", parameters(frame)
        if metric not in frame or len(swept) not in (1, 2):
            continue
        frame = frame.assign(x=_numbers(frame, swept[0])).dropna(subset=["x", metric]).sort_values("x")
        if frame["x"].nunique() < 2:
            continue
        key = metric if len(swept) == 1 else selection
        if key not in frame:
            continue
        if len(swept) == 1:
            label, lines = name, {"validation": (metric, frame), "selection, to choose by": (selection, frame)}
        else:
            label = swept[0]
            lines = {f"{swept[1]} {value}": (selection, part) for value, part in frame.groupby(swept[1])}
        lines = {line: (score, part) for line, (score, part) in lines.items() if score in part}

        def paint(axes: Any, label: str = label, lines: Any = lines, frame: Any = frame, key: str = key) -> None:
            for (colour, line), (name, (score, part)) in zip(cycle(LINES), lines.items(), strict=False):
                spread = _numbers(part, f"{score}_std").fillna(0) if f"{score}_std" in part else None
                axes.errorbar(part["x"], part[score], spread, fmt="o", ls=line, color=colour, capsize=3, label=name)
            if frame["x"].min() > 0 and frame["x"].max() > 20 * frame["x"].min():
                axes.set_xscale("log")
                _plain_log(axes.xaxis)
            axes.set(xlabel=label, ylabel=axis(key))
            _legend(axes, 2)

        score = title(key)
        listing = "; ".join(f"{row['x']:g}: {formatting.number(row[key])}" for row in frame.to_dict("records"))
        pictures.append(draw(f"sweep-{name}", f"{score} over {name}", f"{score} over {label}: {listing}", 290, paint))
    return pictures


def _plain_log(axis: Any) -> None:
    """Ticks at 1, 2, 5 and their tenfolds, written as plain numbers, without exponents."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_locator(NullLocator())


def _legend(axes: Any, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, handlelength=1.7)


def _numbers(frame: pd.DataFrame, column: str) -> pd.Series:
    return pd.to_numeric(frame[column], errors="coerce")


def _thinned(frame: pd.DataFrame, term: str) -> tuple[np.ndarray, np.ndarray]:
    """At most POINTS points: means over equal stretches, so that every value counts."""
    known = pd.DataFrame({"x": _numbers(frame, "step"), "y": _numbers(frame, term)}).dropna()
    if len(known) > POINTS:
        known = known.groupby(np.arange(len(known)) * POINTS // len(known)).mean()
    return known["x"].to_numpy(), known["y"].to_numpy()
