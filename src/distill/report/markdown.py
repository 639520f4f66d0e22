"""Text from data in Markdown pages: never a tag, a link or a picture."""

from __future__ import annotations

import re

# Characters that begin markup of CommonMark and GitHub's tables where they stand; a comparison (`p < 0.001`), a name
# with underscores and a range (`~3`) stay as they are.
_MARKUP = re.compile(r"[\\`*\[\]]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|~(?=~)|(?<=~)~")
# GitHub makes links of bare addresses.
_ADDRESS = re.compile(r"(?i)\b(https?|ftp)(?=://)|\bwww(?=\.)|(?<=\S)(?=@\S)")
# What makes a line a quotation, a heading, a list, a rule or a table.
_BLOCK = re.compile(r"^(>|\||#(?=[#\s]|$)|=(?=[=\s]|$)|[+-](?=[\s-]|$)|\d+[.)](?=\s|$))")


def escape(text: object) -> str:
    """A text on one line in a paragraph or cell, with backslashes before all that would be markup."""
    line = " ".join(str(text).split())
    line = _ADDRESS.sub(r"\g<0>\\", _MARKUP.sub(r"\\\g<0>", line))
    return _BLOCK.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", line)


def cell(text: object) -> str:
    """A text in a cell of a table."""
    return escape(text).replace("|", "\\|")


def code(text: object) -> str:
    """A text of data as it is, on one line, between as many backticks as it takes."""
    line = " ".join(str(text).split()) or " "
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence, space = "`" * (longest + 1), " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"
