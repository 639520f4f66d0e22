"""Words of a running text: runs of letters, digits and underscores, and every other character that is no space.

These are the words that get tags where a text comes with character spans, or with nothing at all. BERT's tokenizers
split at the same places and at more, so that no token of theirs belongs to two words.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[tuple[int, int]]:
    """The characters of each word, from the first to before the last, in order."""
    return [match.span() for match in _WORD.finditer(text)]
