"""Jinja templates: files beside the module that fills them in."""

from __future__ import annotations

from pathlib import Path

import jinja2


def load(path: Path) -> jinja2.Template:
    """The template of a file; one for HTML escapes what it is given.

    A name that is not given is an error. A line that holds a block only leaves no line behind.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=path.name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment.get_template(path.name)
