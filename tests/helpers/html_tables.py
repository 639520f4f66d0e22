"""Tables and text of an HTML page, read with the standard library."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        tables: id → rows of (text, data-value or None), the head's row first.
        tags: every start tag with its attributes, in order.
        text: what a reader sees, without styles and scripts.
    """

    def __init__(self, html: str):
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, str | None]]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._table: list | None = None
        self._cell: list | None = None
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self._hidden = tag in ("style", "script")
        if tag == "table":
            self._table = self.tables.setdefault(found["id"], [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th") and self._table:
            self._cell = ["", found.get("data-value")]

    def handle_endtag(self, tag):
        self._hidden = False
        if tag == "table":
            self._table = None
        elif tag in ("td", "th") and self._cell is not None:
            self._table[-1].append((self._cell[0].strip(), self._cell[1]))
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell[0] += data
        if not self._hidden:
            self.text += data

    def column(self, table: str, title: str) -> dict[str, tuple[str, str | None]]:
        """Row's name → cell, of the column whose title begins so."""
        head, *rows = self.tables[table]
        at = next(i for i, (text, _) in enumerate(head) if text.startswith(title))
        return {row[0][0]: row[at] for row in rows}
