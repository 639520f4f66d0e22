"""Files are UTF-8 whatever the locale: code that opens a text says so."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(file for folder in ("src", "pipeline", "benchmarks") for file in (ROOT / folder).rglob("*.py"))
# Receivers whose `open` opens no text file.
OTHERS = {"os", "Cache", "cls", "self", "Image"}


def unnamed(code: str) -> list[int]:
    """Lines with a call that reads or writes text in the locale's encoding."""
    return [node.lineno for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and _is_unnamed(node)]


def _is_unnamed(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords or None in keywords:
        return False
    if name == "read_text":
        return not call.args
    if name == "write_text":
        return len(call.args) == 1 and isinstance(call.func, ast.Attribute)
    if name in ("run", "Popen", "check_output"):
        return any(key in keywords for key in ("text", "universal_newlines"))
    if name not in ("open", "fdopen") or getattr(getattr(call.func, "value", None), "id", "") in OTHERS - {"os"}:
        return False
    if name == "open" and getattr(getattr(call.func, "value", None), "id", "") == "os":
        return False
    place = 0 if isinstance(call.func, ast.Attribute) and name == "open" else 1
    mode = keywords.get("mode", call.args[place] if len(call.args) > place else ast.Constant("r"))
    return not (isinstance(mode, ast.Constant) and "b" in str(mode.value))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_text_has_an_encoding(file):
    assert unnamed(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("path.read_text()", 1),
        ("path.read_text(encoding='utf-8')", 0),
        ("path.write_text(text)", 1),
        ("write_text(path, text)", 0),
        ("open(path)", 1),
        ("open(path, 'rb')", 0),
        ("path.open('w', newline='')", 1),
        ("path.open('ab')", 0),
        ("os.open(path, 0)", 0),
        ("os.fdopen(number)", 1),
        ("subprocess.run(words, text=True)", 1),
    ],
)
def test_the_search_sees_the_ways_to_open_a_text(code, count):
    assert len(unnamed(code)) == count
