"""Jinja templates: files beside the module that fills them in."""

from __future__ import annotations

from pathlib import Path

import jinja2

from distill.report import markdown


def load(path: Path) -> jinja2.Template:
    """The template in a file; templates for HTML escape their values, those for Markdown by the filters `text` (in
    paragraphs), `cell` (in tables) and `code`.

    An undefined name is an error. A line with nothing but a block tag gives no line.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=path.name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": markdown.escape, "cell": markdown.cell, "code": markdown.code}
    return environment.get_template(path.name)
