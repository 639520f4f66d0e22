"""Text from data in Markdown pages, as a reader of CommonMark and tables takes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from distill.report import markdown

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    "x</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![](https://example.org/pixel.png)",
    "<https://example.org>",
    "[a]: https://example.org",
    "a | b || c",
    "`code` ``two``",
    "*a* **b** _c_ __d__ ~~e~~",
    "&lt;b&gt; &#60;",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "---",
    "===",
    "<!-- comment",
    "\\<b>",
    "two\n\n<b>lines",
    "    indented",
    "| a |\n|---|",
]
MARKS = st.text(st.sampled_from("<>/!a1 [](){}`*_~\\&#;|\n-+.=:\"'"), min_size=1, max_size=24)


def shown(text: str) -> tuple[set[str], str]:
    """Kinds of what a reader finds in a page, and the text that it shows."""
    tokens = [token for part in READER.parse(text) for token in (part, *(part.children or []))]
    words = "".join(token.content for token in tokens if token.type in ("text", "text_special", "code_inline"))
    return {token.type.removesuffix("_open").removesuffix("_close") for token in tokens}, words


def check(text: str) -> None:
    line = " ".join(text.split())
    kinds, words = shown(markdown.escape(text))
    assert kinds <= {"paragraph", "inline", "text", "text_special"} and words == line
    kinds, words = shown(f"| a | b |\n|---|---|\n| {markdown.cell(text)} | x |\n")
    table = {"table", "thead", "tbody", "tr", "th", "td"}
    assert kinds <= {*table, "inline", "text", "text_special"} and words == f"ab{line}x"
    kinds, words = shown(f"It is {markdown.code(text)}.")
    assert kinds == {"paragraph", "inline", "text", "code_inline"} and words == f"It is {line or ' '}."


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_only_text(text):
    check(text)


@given(MARKS)
def test_a_text_of_marks_is_only_text(text):
    check(text)


@pytest.mark.parametrize("text", ["http://example.org", "see www.example.org", "HTTPS://x", "me@example.org"])
def test_github_makes_no_link_of_an_address(text):
    escaped = markdown.escape(text)
    assert "\\" in escaped and shown(escaped) == ({"paragraph", "inline", "text"}, text)
    assert not any(start in escaped.lower() for start in ("http:", "https:", "www.", "e@e"))


@pytest.mark.parametrize(
    "text",
    ["not_entailment", "78.1 ± 0.4", "p < 0.001", "deberta-v2", "12–80", "Q&A: it's 50%", "-0.31", "~3", "(a+b)"],
)
def test_an_ordinary_text_stays_as_it_is(text):
    assert markdown.escape(text) == text
