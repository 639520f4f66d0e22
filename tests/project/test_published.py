"""Published tables: every figure of the sources is kept, and each row has a preset with a student of its name."""

import re

import pytest

from distill import parameters
from distill.config import reading
from distill.config.values import flatten
from distill.experiments import presets
from tests.helpers import published, source_tables

DOCUMENTS = published.documents()
TABLES = [table for document in DOCUMENTS for table in document.tables]
SOURCES = [document for document in DOCUMENTS if document.file]
COMBINED = sorted({cell.presets for table in TABLES for row in table.rows for cell in row.cells if cell.presets})
MODELS = ("teacher", "student")


def cells(presets_of_cell):
    """The cells that presets stand for, but those of rows that say why they have none."""
    rows = [row for table in TABLES for row in table.rows if not row.why]
    return [cell for row in rows for cell in row.cells if cell.presets == presets_of_cell]


@pytest.fixture(scope="module")
def params(root):
    """Parameters with presets, applied in turn to the project's file."""
    text, made = (root / "tests/params.yaml").read_text(encoding="utf-8"), {}

    def parsed(names):
        if names not in made:
            merged = presets.merge(text, presets.load_all(names))
            made[names] = parameters.parse(reading.parse(merged, "params.yaml"), root / "tests/params.yaml")
        return made[names]

    return parsed


@pytest.mark.parametrize("document", SOURCES, ids=[document.file for document in SOURCES])
def test_the_figures_of_a_source_are_all_here_in_its_order(document, shared):
    """Line by line: nothing is left out, nothing is added, and no figure differs."""
    text = (shared / "sources" / document.file).read_text(encoding="utf-8")
    own = [row for table in document.tables if not (table.in_text or table.source) for row in table.rows]
    theirs = source_tables.lines(text)
    assert [row.figures for row in own] == [line.figures for line in theirs]
    assert [row.label for row, line in zip(own, theirs, strict=True) if row.label not in line.label] == []


@pytest.mark.parametrize("document", SOURCES, ids=[document.file for document in SOURCES])
def test_figures_in_a_sources_text_stand_there(document, shared):
    text = (shared / "sources" / document.file).read_text(encoding="utf-8")
    quoted = {figure for table in document.tables if table.in_text for row in table.rows for figure in row.figures}
    assert sorted(figure for figure in quoted if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d])", text)) == []


def test_every_source_with_figures_is_here(shared):
    files = {path.name for path in (shared / "sources").glob("*.md")} - {"README.md"}
    assert {document.file for document in SOURCES} == files


def test_tables_of_other_sources_name_them():
    named = [table.source for document in DOCUMENTS if not document.file for table in document.tables]
    assert named and all(named)


@pytest.mark.parametrize("table", TABLES, ids=[table.id for table in TABLES])
def test_each_row_has_presets_and_names_or_a_reason(table):
    for row in table.rows:
        mapped = [cell for cell in row.cells if cell.presets and cell.name]
        means = [cell for cell in row.cells if not published.task_of(cell.column)]
        left_out = [cell for cell in row.cells if cell.figure == published.NONE]
        whole_row = table.by_rows and not published.task_of(row.label)
        if row.why:
            assert not any(cell.name for cell in row.cells), row
        elif row.settings:
            assert len(row.settings) == len(row.cells), row
        else:
            assert whole_row or len(mapped) + len({*means, *left_out} - {*mapped}) == len(row.cells), row
            assert mapped or whole_row, row


@pytest.mark.parametrize("names", COMBINED, ids=["+".join(names) for names in COMBINED])
def test_the_student_of_each_row_is_listed_in_its_preset(names):
    missing = {cell.name for cell in cells(names) if cell.name} - {*MODELS, *presets.load_all(names)["methods"]}
    assert missing == set()


TASKS = {names[1]: names for names in COMBINED if len(names) > 1}


@pytest.mark.parametrize("names", TASKS.values(), ids=TASKS)
def test_a_task_on_top_of_a_tables_preset_gives_valid_parameters(names, params):
    task, found = names[1].removeprefix("tasks/"), params(names)
    assert task in (found.data.subset, *found.data.train.split("/"))
    assert found.methods == presets.load(names[0])["methods"]


def test_every_task_belongs_to_a_table(root):
    assert {f"tasks/{path.stem}" for path in (root / "presets/tasks").glob("*.yaml")} == set(TASKS)


@pytest.mark.parametrize(
    "table", [table for table in TABLES if any(row.settings for row in table.rows)], ids=lambda t: t.id
)
def test_published_settings_are_those_of_the_preset(table, params):
    for row in table.rows:
        for cell, settings in zip(row.cells, row.settings, strict=True):
            values = flatten(params(cell.presets))
            numbers = [float(number) for number in re.findall(r"[\d.]+(?:e-\d+)?", cell.figure)]
            names = [name for name in settings if name != published.NONE]
            # A pair of figures is that of two parameters; a single one holds for all that are named.
            expected = numbers if len(numbers) > 1 else numbers * len(names)
            assert [value_of(values, name) for name in names] == expected, row.label


def value_of(values, name):
    """A number of the parameters; methods' sections are among `sections`."""
    return float(values[name] if name in values else values[f"sections.{name}"])


def test_the_page_is_what_the_figures_make():
    assert published.PAGE.read_text(encoding="utf-8") == published.page()


HEADED = [name for name in presets.names() if re.search(r"\d", presets.header(name)["published"])]


@pytest.mark.parametrize("name", HEADED)
def test_figures_in_a_presets_header_are_published_ones(name):
    """A header may write .8853 for 0.8853, and repeats figures of its own rows only."""
    rows = [row for table in TABLES for row in table.rows if any(name in cell.presets for cell in row.cells)]
    known = {figure.split(" ")[0] for row in rows for figure in row.figures}
    known |= {cell.figure for table in TABLES for row in table.rows for cell in row.cells if not cell.presets}
    known |= {figure.removeprefix("0") for figure in known}
    header = presets.header(name)["published"].replace("83.0/85.9", "")  # the README's, rounded
    figures = re.findall(r"(?<![\w.])(?:\d\d\.\d+(?:/\d\d\.\d+)?|\.\d+)(?![\w/])", header)
    assert [figure for figure in figures if figure not in known] == []


def test_lines_of_tables_are_read_with_their_markup_taken_off():
    text = (
        "prose | with a bar\n| Method <br> | EM/F1 |\n| --- | --- |\n"
        "| $A_{xs}$<br>**B** | **80.4/83.4**<br>82.6/85.4<br> |\n"
        "\tResNet\tTeacher(110)\t\tfrom scratch\t93.8\n1\tan enumeration\tof sentences\n"
        "N/A\t\\mathcal{S}_{\\text{PKD-1}}\t.5\t55.4 (+0.2↑)\t-\n| betas | (0.9,0.98) |\n"
    )
    assert source_tables.lines(text) == [
        ("A_xs", ("80.4/83.4",)),
        ("B", ("82.6/85.4",)),
        ("ResNet Teacher(110) from scratch", ("93.8",)),
        ("N/A S_PKD-1 -", (".5", "55.4 (+0.2↑)")),
        ("betas", ("(0.9,0.98)",)),
    ]
