"""Pages for people: links lead somewhere, commands exist, settings are valid, and nothing grows unnoticed."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill import parameters
from distill.config import reading
from distill.experiments import presets
from distill.methods import registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "benchmarks/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")


def every(pages: list[Path] = PAGES) -> pytest.MarkDecorator:
    """A test for each page, named by its path."""
    return pytest.mark.parametrize("page", pages, ids=[str(page.relative_to(ROOT)) for page in pages])


def links(page: Path) -> list[str]:
    """Relative targets of a page's links and images, with their anchors."""
    text = FENCE.sub("", page.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    return [target for target in targets if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[str]:
    """Command lines in blocks (`$ …`, continued lines joined) and in running text."""
    text = page.read_text()
    for language, block in FENCE.findall(text):
        if language == "console":
            yield from re.findall(r"(?m)^\$ (.*)$", block.replace("\\\n", " "))
    yield from re.findall(r"`((?:dvc|make|python -m|torchrun|DISTILL_\w+=\S+ dvc) [^`]*)`", FENCE.sub("", text))


def in_file(values: Any, key: str) -> bool:
    """Whether nested values have a dotted key; numbers count items of lists."""
    for part in key.split("."):
        try:
            values = values[int(part)] if isinstance(values, list) else values[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


@every()
def test_links_lead_to_files_and_headings(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_page_is_reached_from_the_index():
    reached: set[Path] = set()
    pending = [ROOT / "docs/README.md"]
    while pending:
        page = pending.pop()
        if page not in reached:
            reached.add(page)
            targets = [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
            pending += [target for target in targets if target.suffix == ".md"]
    assert set(PAGES) <= reached


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 260


def test_pictures_are_small():
    pictures = list((ROOT / "docs/images").iterdir())
    assert pictures
    assert max(picture.stat().st_size for picture in pictures) < 250_000


def test_no_sentence_stands_twice():
    places: dict[str, str] = {}
    for page in PAGES:
        # Tables, and the line on the machine below them, are made by `pipeline.commands.table`.
        prose = re.sub(r"(?m)^(?:\||Machine: ).*$", "", FENCE.sub("", page.read_text()))
        for paragraph in prose.split("\n\n"):
            for sentence in re.split(r"(?<=[.:]) ", " ".join(paragraph.split())):
                if len(sentence) > 70:
                    assert sentence not in places, f"{places[sentence]} and {page.name}: {sentence}"
                    places[sentence] = page.name


@every()
def test_modules_that_commands_run_exist(page):
    for command in commands(page):
        for module in re.findall(r"-m ([a-z_]+(?:\.[a-z_]+)*)", command):
            spec = importlib.util.find_spec(module)
            assert spec, command
            if spec.submodule_search_locations is not None:
                assert importlib.util.find_spec(f"{module}.__main__"), command


@every()
def test_make_has_the_targets(page):
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))
    for command in commands(page):
        assert set(re.findall(r"(?:^|&& )make ([a-z][a-z-]*)", command)) <= targets, command


@every()
def test_stages_in_commands_exist(page):
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for command in commands(page):
        words = command.partition(" #")[0].split()
        if words[:2] == ["dvc", "repro"] and "--glob" not in words:
            assert {word.partition("@")[0] for word in words[2:] if word[0] in "abcdefghijklmnopqrstuvwxyz"} <= set(
                stages
            )
        for stage, method in re.findall(r"([a-z_]+)@([a-z_]+)-", command):
            assert "matrix" in stages[stage], command
            assert method in registry.available(), command


@every()
def test_parameters_in_commands_exist(page):
    """`-S key` changes what params.yaml has, `-S +key` adds what a section inherits from `training`; `++` both."""
    values = yaml.safe_load((ROOT / "tests/params.yaml").read_text())
    for command in commands(page):
        for plus, key in re.findall(r"-S '?(\+*)([\w.]+)=", command):
            section, _, leaf = key.partition(".")
            inherited = section in values and leaf in values["training"]
            present = in_file(values, key)
            assert {"": present, "+": inherited and not present, "++": inherited or present}[plus], command


def test_environment_variables_exist():
    code = "".join(path.read_text() for folder in ("src", "pipeline") for path in (ROOT / folder).rglob("*.py"))
    for page in PAGES:
        for variable in set(re.findall(r"DISTILL_[A-Z_]+", page.read_text())):
            assert f'"{variable}"' in code, f"{page}: {variable}"


@every([ROOT / "README.md", ROOT / "docs/data.md", ROOT / "docs/parameters.md"])
def test_settings_can_be_put_into_the_parameters(page, tmp_path):
    """Each YAML block is a partial parameter file that `pipeline.commands.preset` accepts."""
    blocks = [block for language, block in FENCE.findall(page.read_text()) if language == "yaml"]
    assert blocks
    for block in blocks:
        # Files and tokenizers are not looked at before stage `prepare`.
        merged = presets.merge((ROOT / "tests/params.yaml").read_text(), yaml.safe_load(block))
        parameters.parse(reading.parse(merged, tmp_path / "params.yaml"), tmp_path / "params.yaml")


def test_every_line_of_the_security_page_has_a_test_that_is_there():
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "cannot happen" not in line]
    assert len(rows) > 15 and all("`tests/" in row or "(to be named)" in row for row in rows)
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"
