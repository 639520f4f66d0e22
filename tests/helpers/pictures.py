"""The report's pictures without matplotlib's drawing, which is four fifths of a page's cost.

An undrawn picture has the words of its figure and none of its lines. It is for tests that look at something else:
pictures are drawn in tests of charts and curves, in a page of each task, in one stage `summarize`, and for browsers.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A process of the fork server draws where its environment has this.
DRAWN = {"TEST_PICTURES": "drawn"}


def leave_undrawn(environment: dict[str, str]) -> None:
    """For the rest of this process, unless its environment says otherwise."""
    from matplotlib.figure import Figure

    if not DRAWN.items() <= environment.items():
        Figure.savefig = undrawn


def undrawn(figure: Figure, stream: TextIO, **options: object) -> None:
    """In place of `Figure.savefig`."""
    from matplotlib.text import Text

    words = "".join(f"<text>{escape(text.get_text())}</text>" for text in figure.findobj(Text))
    stream.write(f'<svg viewBox="0 0 1 1">{words}</svg>')
