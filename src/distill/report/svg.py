"""A drawing as inline SVG: the same bytes each time, colours and type from the page around it.

Text stays text, so that it takes the page's font, can be searched and is read aloud. Colours are drawn as placeholders
that become CSS variables with a fallback: one picture serves light and dark pages, and needs no page around it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from scipy import optimize

matplotlib.use("svg")

from matplotlib import pyplot as plt

# Role → its placeholder while drawing, and its colour on white. Hues are Okabe and Ito's, which people with any
# colour vision tell apart (https://jfly.uni-koeln.de/color/); the page has lighter ones for a dark ground.
ROLES = {
    "ink": ("#010101", "#1f2328"),
    "muted": ("#020202", "#656d76"),
    "grid": ("#030303", "#d8dee4"),
    "paper": ("#040404", "#ffffff"),
    "blue": ("#050505", "#0072b2"),
    "orange": ("#060606", "#c2410c"),
    "green": ("#070707", "#00795a"),
    "purple": ("#080808", "#a1478a"),
    "gold": ("#090909", "#946200"),
}
INK, MUTED, GRID, PAPER, BLUE, ORANGE, GREEN, PURPLE, GOLD = (mark for mark, _ in ROLES.values())
WIDTH = 400  # units of the drawing: about what a phone shows, so that type stays readable there
FONT = 12
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'

STYLE: dict[str, Any] = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": FONT,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.dpi": 72,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": FONT,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": FONT,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # a class named $x$ is no formula
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": FONT,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": FONT,
}


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        name: id on the page.
        title: title, which the page sets above the picture.
        text: description for readers who do not see the picture.
        svg: an `<svg>` element without a fixed size.
    """

    name: str
    title: str
    text: str
    svg: str


def draw(
    name: str, title: str, text: str, height: float, paint: Callable[[Any], None], width: float = WIDTH
) -> Picture:
    """A picture of one pair of axes.

    Args:
        paint: function that draws on a `matplotlib.axes.Axes` and labels both axes.
        height, width: size of the drawing, in its own units; the page scales it.

    Raises:
        ValueError: an axis has no label.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure, axes = plt.subplots(figsize=(width / 72, height / 72), layout="constrained")
        try:
            paint(axes)
            if not axes.get_xlabel() or not axes.get_ylabel():
                raise ValueError(f"picture {name}: label both axes")
            stream = io.StringIO()
            figure.savefig(stream, format="svg", metadata={"Date": None})
        finally:
            plt.close(figure)
    return Picture(name, title, text, _inline(stream.getvalue(), text))


def _inline(svg: str, text: str) -> str:
    """The `<svg>` element alone, named for screen readers, without ids that other pictures have too."""
    svg = svg[svg.index("<svg") :]
    # A style sheet within the picture would hold for the whole page.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-zA-Z]+[\w.]*_\d+"', "", svg)
    view = re.search(r'viewBox="[^"]+"', svg)[0]
    head = f'<svg {NAMESPACES} {view} stroke-linejoin="round" role="img" aria-label="{_attribute(text)}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)  # a function, because a name may have a backslash
    for role, (mark, colour) in ROLES.items():
        svg = svg.replace(mark, f"var(--{role}, {colour})")
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def apart(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Places near the wanted ones, in the same order, at least `gap` apart: labels that do not cover each other.

    They have the least squared distance to the wanted ones: isotonic regression of those less `gap` per rank.

    Returns:
        float64, as long as `wanted`.
    """
    wanted = np.asarray(wanted, np.float64)
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    places = np.empty_like(wanted)
    places[order] = optimize.isotonic_regression(wanted[order] - steps).x + steps
    return places
