"""Reading JSON that people wrote: whatever Python's parser trips over is one kind of error, with its place if known."""

from __future__ import annotations

import json
import sys
from typing import Any


class JsonError(ValueError):
    """Text that is no JSON, or that cannot be read.

    Attributes:
        problem: what is wrong, in a few words.
        line, column: where, from 1; None where the parser does not say.
    """

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}, column {column}: {problem}")
        self.problem, self.line, self.column = problem, line, column


def parse(text: str) -> Any:
    """Reads a JSON document.

    Raises:
        JsonError: the text is no JSON, nested deeper than Python reads (some 1,000 levels), has a number of more
            digits than Python reads (4,300), or an object with a key twice, of which one value would be lost.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise JsonError(f"malformed JSON, {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise JsonError("brackets are nested too deep") from None
    except JsonError:
        raise
    except ValueError:  # int() of a long number
        raise JsonError(f"has a number of more than {sys.get_int_max_str_digits():,} digits") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise JsonError(f"key {json.dumps(twice[:60], ensure_ascii=False)} stands twice in one object")
    return values
