"""Texts with labels from files and from the hub: read as they are, and every fault named with its place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distill.data.sources import overlap
from distill.data.sources.text_sets import Columns, load_files, load_hub
from distill.errors import UserError

SINGLE = Columns("sentence", None, "label", None, numeric=False, strip_html=False)
PAIR = Columns("one", "two", "score", "key", numeric=True, strip_html=False)


def save(folder: Path, content: str | bytes, name: str = "train.tsv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def load(path: Path, columns: Columns = SINGLE, classes=None):
    rows, names = load_files({"train": path}, columns, classes)
    return rows["train"], names


def refused(path: Path, *parts: str, columns: Columns = SINGLE, classes=None) -> None:
    """One line that begins with the file and holds all of `parts`."""
    with pytest.raises(UserError) as caught:
        load(path, columns, classes)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message, message
    assert all(part in message for part in parts), message


def row(number, text, label, pair=None):
    return {"id": str(number), "text": text, "text_pair": pair, "label": label}


EXPECTED = [row(0, 'a "quoted, text', 1), row(1, "žluťoučký\u2028kůň", 0), row(2, "it 's fine", 1)]


def test_tsv_has_no_quotes_and_csv_and_json_lines_give_the_same(tmp_path):
    tsv = save(tmp_path, "sentence\tlabel\na \"quoted, text \t1\nžluťoučký\u2028kůň\t0\nit 's fine\t1\n")
    csv = save(tmp_path, 'label,sentence\r\n1,"a ""quoted, text"\r\n0,žluťoučký\u2028kůň\r\n1,it \'s fine\r\n', "a.csv")
    lines = [{"sentence": item["text"], "label": item["label"], "more": [1]} for item in EXPECTED]
    json_lines = save(tmp_path, "\n".join(json.dumps(line) for line in lines), "a.jsonl")
    for path in (tsv, csv, json_lines):
        assert load(path) == (EXPECTED, ("0", "1"))


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_values(tmp_path):
    path = save(tmp_path, b"\xef\xbb\xbfsentence\tlabel\r\nx\tbad\r\ny\tgood\r\n")
    assert load(path) == ([row(0, "x", 0), row(1, "y", 1)], ("bad", "good"))


def test_pairs_ids_and_numbers(tmp_path):
    path = save(tmp_path, "key\tone\ttwo\tscore\nk7\ta\tb\t2.5\nk3\tc\td\t-1e-2\n")
    assert load(path, PAIR) == ([row("k7", "a", 2.5, "b"), row("k3", "c", -0.01, "d")], ())


def test_a_value_of_csv_may_hold_line_breaks_and_places_stay_right(tmp_path):
    path = save(tmp_path, 'sentence,label\n"two\nlines",1\n"",0\n', "a.csv")
    refused(path, 'line 4, column "sentence"', "is empty")


@pytest.mark.parametrize(
    ("name", "mark", "fix"),
    [
        ("a.csv", ";", "separate the columns by commas"),
        ("a.csv", "\t", "by commas, or name the file .tsv"),
        ("a.csv", "|", "by commas"),
        ("a.tsv", ",", "by tabs"),
        ("a.tsv", ";", "by tabs"),
    ],
)
def test_another_separator_is_named(tmp_path, name, mark, fix):
    path = save(tmp_path, f"sentence{mark}label\na{mark}1\nb{mark}0\n", name)
    shown = mark.replace("\t", "\\t")
    refused(path, "line 1", f'has one column, "sentence{shown}label": its separator seems to be "{shown}"', fix)


def test_classes_are_sorted_as_numbers_where_they_are_numbers_or_as_given(tmp_path):
    path = save(tmp_path, "sentence\tlabel\na\t10\nb\t9\n")
    assert load(path)[1] == ("9", "10")
    rows, names = load(path, classes=("10", "9", "8"))
    assert names == ("10", "9", "8") and [item["label"] for item in rows] == [0, 1]


def test_html_is_stripped_on_request_only(tmp_path):
    path = save(tmp_path, "sentence\tlabel\nGood.<br /><br />3 < 4 &amp; a<b>c</b>\t1\nx\t0\n")
    assert load(path)[0][0]["text"] == "Good.<br /><br />3 < 4 &amp; a<b>c</b>"
    assert load(path, replace(SINGLE, strip_html=True))[0][0]["text"] == "Good.  3 < 4 & a c"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("sentence\tlable\na\t1\n", ('no column "label"', 'set data.label to one of "sentence", "lable"')),
        ("sentence\tlabel\na\t1\n \t0\n", ('line 3, column "sentence"', "is empty", "remove the row")),
        (
            "sentence\tlabel\n\t\n" + "a\t1\n \t0\n" * 7,
            (
                'line 2, column "sentence"',
                "is empty, and so are the texts of 7 further rows (line 4, line 6, line 8, line 10, line 12 …)",
                "write the texts or remove the rows",
            ),
        ),
        ("sentence\tlabel\na\t1\nb\n", ("line 3", "1 values for 2 columns")),
        ("sentence\tlabel\na\t1\n\nb\t0\n", ("line 3", "1 values for 2 columns")),
        ("sentence\tlabel\na\tb\t1\n", ("line 2", "3 values for 2 columns")),
        ("sentence\tlabel\na\t1\nb\t \n", ('line 3, column "label"', "a class is a name")),
        ("sentence\tlabel\na\t1\nb\t1\n", ('column "label"', 'one class only, "1"')),
        ("sentence\tlabel\n", ("has no rows",)),
        ("", ("line 1", "no column names")),
        ("sentence\tlabel\tlabel\na\t1\t2\n", ("line 1", 'column "label" twice')),
        (b"sentence\tlabel\na\t1\nb\0\t0\n", ("line 3", "NUL byte")),
        (b"sentence\tlabel\na\t1\n\xff\t0\n", ("line 3", "not UTF-8")),
    ],
)
def test_faults_of_tables_are_named_with_their_line(tmp_path, content, parts):
    refused(save(tmp_path, content), *parts)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"sentence": "a", "label": 1}\n{"sentence": "b"', ("line 2, column", "malformed JSON")),
        ('{"sentence": "a", "label": 1}\n{"sentence": "b"}', ("line 2", 'no column "label"')),
        ('{"sentence": "a", "label": 1}\n["b", 1]', ("line 2", "not an object")),
        ('{"sentence": 3, "label": 1}', ('line 1, column "sentence"', "is 3", "must be a string")),
        ('{"sentence": "a", "label": [true]}', ('line 1, column "label"', "is [true]")),
        ('{"sentence": "a", "label": "\\ud800"}', ('line 1, column "label"', "surrogate")),
        ('{"sentence": "a", "label": 1.5}', ('line 1, column "label"', "is 1.5")),
        ('{"sentence": "\\ud800", "label": 1}', ('line 1, column "sentence"', "surrogate")),
        ('[{"sentence": "a", "label": 1}]', ("line 1", "not an object")),
        (" ", ("has no rows",)),
    ],
)
def test_faults_of_json_lines_are_named_with_their_line(tmp_path, content, parts):
    refused(save(tmp_path, content, "train.jsonl"), *parts)


@pytest.mark.parametrize("value", ["", "high", "nan", "inf", "1_000", "1,5"])
def test_a_label_of_regression_is_a_finite_number(tmp_path, value):
    path = save(tmp_path, f"key\tone\ttwo\tscore\na\tx\ty\t1\nb\tx\tz\t{value}\n")
    refused(path, 'line 3, column "score"', "finite number", columns=PAIR)


@pytest.mark.parametrize(
    ("labels", "classes", "names", "count", "values"),
    [
        (["entailment", "-", "neutral", "-"], None, ("entailment", "neutral"), 2, "(-)"),
        ([0, 1, 2, -1, -1, None], None, ("0", "1", "2"), 3, "(-1, null)"),
        ([1, -1, 0], ("0", "1"), ("0", "1"), 1, "(-1)"),
        (["-1", "0", "1"], None, ("-1", "0", "1"), 0, ""),  # bad, neither, good
        (["+", "-", "0"], None, ("+", "-", "0"), 0, ""),
        (["-", "x", "y"], ("-", "x", "y"), ("-", "x", "y"), 0, ""),
        ([True, None, False], None, ("false", "true"), 1, "(null)"),
    ],
)
def test_rows_of_files_without_a_label_are_left_out_and_counted(
    tmp_path, capsys, labels, classes, names, count, values
):
    lines = [json.dumps({"sentence": f"s{i}", "label": label}) for i, label in enumerate(labels)]
    path = save(tmp_path, "\n".join(lines), "train.jsonl")
    rows, found = load(path, classes=classes)
    left = [i for i, label in enumerate(labels) if (str(label).lower() if label is not None else None) in names]
    assert found == names and len(rows) == len(labels) - count
    assert rows == [row(i, f"s{i}", names.index(str(labels[i]).lower())) for i in left]
    printed = capsys.readouterr().out
    assert (f"dropped {count} rows without a label {values}: {path}" in printed) == bool(count)
    assert ("name all classes in data.labels" in printed) == ("-" in values)


def test_a_dash_in_another_split_is_no_class_of_its_own(tmp_path):
    train = save(tmp_path, "sentence,label\na,good\nb,bad\n", "train.csv")
    validation = save(tmp_path, "sentence,label\na,-\nb,bad\nc,-1\n", "dev.csv")
    rows, names = load_files({"train": train, "validation": validation}, SINGLE, None)
    assert names == ("bad", "good") and rows["validation"] == [row(1, "b", 0)]


def test_a_file_without_any_label_is_refused(tmp_path):
    refused(save(tmp_path, '{"sentence": "a", "label": null}', "a.jsonl"), "1 of 1 rows have no label", "data.train")
    train = save(tmp_path, "sentence\tlabel\na\tx\nb\ty\n")
    validation = save(tmp_path, "sentence\tlabel\na\t-\nb\t-\n", "dev.tsv")
    with pytest.raises(UserError, match=r"dev.tsv: column .label.: 2 of 2 rows have no label; .*data.validation"):
        load_files({"train": train, "validation": validation}, SINGLE, None)


def test_an_unknown_class_is_named_with_those_known(tmp_path):
    train = save(tmp_path, "sentence\tlabel\na\tgood\nb\tbad\n")
    validation = save(tmp_path, "sentence\tlabel\na\tgood\nb\tugly\n", "dev.tsv")
    with pytest.raises(UserError) as caught:
        load_files({"train": train, "validation": validation}, SINGLE, None)
    message = str(caught.value)
    assert message.startswith(f'{validation}: line 3, column "label": is "ugly"')
    assert 'the training data, which has "bad", "good"' in message
    refused(train, 'line 2, column "label": is "good"', "data.labels", classes=("bad", "ugly"))


def test_values_of_any_length_are_read_from_csv(tmp_path):
    long = "word " * 60_000
    assert len(load(save(tmp_path, f'sentence,label\n"{long}",1\nx,0\n', "a.csv"))[0][0]["text"]) == 299_999
    wide = save(tmp_path, f"sentence,label,{'n' * 140_000}\na,1,{'v' * 200_000}\nb,0,\n", "b.csv")
    assert [item["text"] for item in load(wide)[0]] == ["a", "b"]
    refused(save(tmp_path, f'sentence,label\n"{long}\nx,0\n', "c.csv"), "line 2", "malformed CSV")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"sentence": ' + "[" * 100_000, "brackets are nested too deep"),
        ('{"sentence": "a", "label": 0, "more": ' + '{"a": ' * 5_000, "brackets are nested too deep"),
        ('{"sentence": "a", "label": ' + "7" * 5_000 + "}", "has a number of more than 4,300 digits"),
        ('{"sentence": "a", "label": 1, "label": 0}', 'key "label" stands twice'),
    ],
)
def test_json_that_python_cannot_read_is_named_with_its_line(tmp_path, line, problem):
    path = save(tmp_path, '{"sentence": "a", "label": 1}\n' + line, "train.jsonl")
    refused(path, f"train.jsonl: line 2: {problem}")


def test_a_class_or_number_of_thousands_of_digits(tmp_path):
    digits = "9" * 5_000
    rows, names = load(save(tmp_path, f"sentence\tlabel\na\t{digits}\nb\t1\n"))
    assert names == ("1", digits) and [item["label"] for item in rows] == [1, 0]
    path = save(tmp_path, '{"key": "k", "one": "a", "two": "b", "score": 1' + "0" * 400 + "}", "a.jsonl")
    refused(path, "line 1", "finite number", columns=PAIR)


def test_an_id_used_twice_is_named_with_both_lines(tmp_path):
    path = save(tmp_path, "key\tone\ttwo\tscore\na\tx\ty\t1\nb\tx\tz\t2\na\tx\tw\t3\n")
    refused(path, 'line 4, column "key"', 'id "a" is used in line 2', columns=PAIR)


def test_no_such_file_or_another_suffix(tmp_path):
    refused(tmp_path / "none.tsv", "does not exist", "check data.train")
    refused(tmp_path, "is a folder")
    refused(save(tmp_path, "x", "train.txt"), "suffix", ".tsv, .csv, .jsonl")


def test_one_file_given_twice_is_refused_also_under_another_name(tmp_path):
    content = "sentence\tlabel\na\t1\nb\t0\n"
    train, copy = save(tmp_path, content), save(tmp_path, content, "dev.tsv")
    for path in (train, copy):
        with pytest.raises(UserError, match=r"params.yaml: data.validation = .* is the same file as data.train"):
            load_files({"train": train, "validation": path}, SINGLE, None)


def test_texts_in_both_splits_are_allowed_and_counted(tmp_path):
    train = save(tmp_path, "sentence\tlabel\na\t1\nb\t0\n")
    validation = save(tmp_path, "sentence\tlabel\nb\t0\nc\t0\nb\t1\n", "dev.tsv")
    rows, _ = load_files({"train": train, "validation": validation}, SINGLE, None)
    assert overlap.shared_texts(rows["train"], rows["validation"]) == 2
    one, other = [row(0, "a", 0, "b")], [row(0, "a", 0, "c"), row(1, "a", 0, "b")]
    assert overlap.shared_texts(one, other) == 1


BY_AUTHOR = replace(SINGLE, group="author")


def test_a_column_of_groups_is_read_where_a_split_has_it(tmp_path):
    train = save(tmp_path, "sentence\tlabel\tauthor\na\t1\tann\nb\t0\t7\n")
    dev, test = (save(tmp_path, f"sentence\tlabel{more}\nc\t1{value}\n", name)
                 for name, more, value in (("dev.tsv", "\tauthor", "\tbob"), ("test.tsv", "", "")))  # fmt: skip
    rows, _ = load_files({"train": train, "validation": dev, "news": test}, BY_AUTHOR, None)
    assert [item["group"] for item in rows["train"]] == ["ann", "7"]
    assert rows["validation"] == [row(0, "c", 1) | {"group": "bob"}] and rows["news"] == [row(0, "c", 1)]
    grouped_by_a_text = replace(PAIR, group="one")
    pairs, _ = load(save(tmp_path, "key\tone\ttwo\tscore\nk\ta\tb\t1\n", "pairs.tsv"), grouped_by_a_text)
    assert pairs == [row("k", "a", 1.0, "b") | {"group": "a"}]


def test_training_data_without_groups_and_rows_without_one_are_refused(tmp_path):
    path = save(tmp_path, "sentence\tlabel\na\t1\nb\t0\n")
    refused(path, 'has no column "author"', "set data.group to one of", columns=BY_AUTHOR)
    path = save(tmp_path, "sentence\tlabel\tauthor\na\t1\tx\nb\t0\t \n")
    refused(path, 'line 3, column "author"', "a group is a text or a whole number", columns=BY_AUTHOR)


def test_faults_of_further_files_name_their_parameters(tmp_path):
    train = save(tmp_path, "sentence\tlabel\na\t1\nb\t0\n")
    with pytest.raises(UserError, match=r"gone.tsv: file: does not exist; check data.extra.news"):
        load_files({"train": train, "news": tmp_path / "gone.tsv"}, SINGLE, None)
    with pytest.raises(UserError, match=r"params.yaml: data.extra.news = .* is the same file as data.train"):
        load_files({"train": train, "news": save(tmp_path, train.read_bytes(), "news.tsv")}, SINGLE, None)
    unlabelled = save(tmp_path, "sentence\tlabel\na\t-\n", "news.tsv")
    with pytest.raises(UserError, match=r"1 of 1 rows have no label; .*data.extra.news"):
        load_files({"train": train, "news": unlabelled}, SINGLE, None)


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    """Writes a dataset that `load_dataset` opens by its path; datasets' cache stays in the temporary folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def write(labels=("bad", "good"), **splits: list[dict]) -> str:
        folder = tmp_path / "dataset"
        folder.mkdir()
        for split, rows in splits.items():
            table = datasets.Dataset.from_list(rows)
            if labels:
                table = table.cast_column("label", datasets.ClassLabel(names=list(labels)))
            table.to_parquet(folder / f"{split}.parquet")
        return str(folder)

    return write


NAMES = {"train": "train", "validation": "validation"}


def test_hub_labels_keep_the_data_sets_own_names_and_order(hub_folder):
    rows = [{"sentence": "a ", "label": 1, "idx": 4}, {"sentence": "b", "label": 0, "idx": 9}]
    name = hub_folder(("worse", "better"), train=rows, validation=rows[:1])
    columns = replace(SINGLE, id="idx")
    found, names = load_hub(name, None, None, NAMES, columns, None)
    assert found == {"train": [row(4, "a", 1), row(9, "b", 0)], "validation": [row(4, "a", 1)]}
    assert names == ("worse", "better")
    found, names = load_hub(name, None, None, NAMES, columns, ("better", "worse"))
    assert names == ("better", "worse") and [item["label"] for item in found["train"]] == [0, 1]


def test_hub_numbers_for_regression_and_a_second_validation_split(hub_folder):
    rows = [{"one": "a", "two": "b", "label": 2.5}, {"one": "c", "two": "d", "label": 0.0}]
    name = hub_folder((), train=rows, validation=rows[:1], test=rows[1:])
    columns = Columns("one", "two", "label", None, numeric=True, strip_html=False)
    found, names = load_hub(name, None, None, NAMES | {"mismatched": "test"}, columns, None)
    assert names == () and found["mismatched"] == [row(0, "c", 0.0, "d")]
    assert found["train"][0] == row(0, "a", 2.5, "b")


def test_hub_training_rows_without_a_text_such_as_qqps_are_left_out_and_counted(hub_folder, capsys):
    rows = [{"one": "a", "two": "b", "label": 1.0}, {"one": "c", "two": " ", "label": 0.0}]
    name = hub_folder((), train=rows, validation=rows[:1])
    columns = Columns("one", "two", "label", None, numeric=True, strip_html=False)
    found, _ = load_hub(name, None, None, NAMES, columns, None)
    assert [item["text"] for item in found["train"]] == ["a"]
    assert "dropped 1 rows without a text" in capsys.readouterr().out
    with pytest.raises(UserError, match="is empty"):  # the reported rows are never touched
        load_hub(name, None, None, {"train": "validation", "validation": "train"}, columns, None)


def test_hub_groups_are_read_where_a_split_has_them(hub_folder):
    rows = [{"sentence": "a", "label": 1, "author": "ann"}, {"sentence": "b", "label": 0, "author": None}]
    name = hub_folder(train=rows[:1] * 2, validation=rows[:1], test=rows)
    found, _ = load_hub(name, None, None, NAMES, BY_AUTHOR, ("bad", "good"))
    assert [[item["group"] for item in part] for part in found.values()] == [["ann", "ann"], ["ann"]]
    with pytest.raises(UserError, match=r'row 1, column "author": is null'):
        load_hub(name, None, None, NAMES | {"news": "test"}, BY_AUTHOR, None)


SNLI = ("entailment", "neutral", "contradiction")


def test_hub_rows_without_a_label_such_as_snlis_are_left_out_and_counted(hub_folder, capsys):
    rows = [{"sentence": name, "label": label} for name, label in (("a", 2), ("b", -1), ("c", 0), ("d", None))]
    name = hub_folder(SNLI, train=rows, validation=rows[1:3])
    loaded, names = load_hub(name, None, None, NAMES, SINGLE, None)
    assert names == SNLI
    assert loaded == {"train": [row(0, "a", 2), row(2, "c", 0)], "validation": [row(1, "c", 0)]}
    printed = capsys.readouterr().out
    assert f"dropped 2 rows without a label (null): dataset {name}, revision default, split train" in printed
    assert "dropped 1 rows without a label (null)" in printed


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        ([True, False, None], ("false", "true"), [1, 0]),  # BoolQ
        (["yes", "no", "-"], ("no", "yes"), [1, 0]),
        (["yes", "no", " "], ("no", "yes"), [1, 0]),
        ([1.0, 0.0, None], ("0", "1"), [1, 0]),  # whole numbers with a gap, as a table gives them
        ([1.0, 0.0, float("nan")], ("0", "1"), [1, 0]),
    ],
)
def test_hub_columns_of_other_kinds_may_lack_labels_too(hub_folder, capsys, labels, names, numbers):
    rows = [{"sentence": f"s{i}", "label": label} for i, label in enumerate(labels)]
    name = hub_folder((), train=rows, validation=rows)
    loaded, classes = load_hub(name, None, None, NAMES, SINGLE, None)
    assert classes == names and [item["label"] for item in loaded["validation"]] == numbers
    assert capsys.readouterr().out.count("dropped 1 rows without a label") == 2


def test_hub_numbers_that_are_missing_are_left_out_in_regression(hub_folder, capsys):
    rows = [{"one": "a", "two": "b", "label": 2.5}, {"one": "c", "two": "d", "label": None}]
    columns = Columns("one", "two", "label", None, numeric=True, strip_html=False)
    loaded, _ = load_hub(hub_folder((), train=rows, validation=rows), None, None, NAMES, columns, None)
    assert loaded["train"] == [row(0, "a", 2.5, "b")]
    assert "dropped 1 rows without a label (null)" in capsys.readouterr().out


def test_hub_rows_without_labels_such_as_glues_test_split_are_refused(hub_folder):
    rows = [{"sentence": "a", "label": 1}, {"sentence": "b", "label": 0}]
    hidden = [{"sentence": "c", "label": -1}, {"sentence": "d", "label": -1}]
    name = hub_folder(train=rows, test=hidden)
    with pytest.raises(UserError) as caught:
        load_hub(name, None, None, NAMES | {"validation": "test"}, SINGLE, None)
    message = str(caught.value)
    assert message.startswith(
        f'dataset {name}, revision default, split test: column "label": 2 of 2 rows have no label'
    )
    assert "data.validation_split" in message


def test_hub_faults_are_named_by_data_set_split_and_row(hub_folder):
    rows = [{"sentence": "a", "label": 1}, {"sentence": " ", "label": 0}]
    name = hub_folder(train=rows[:1], validation=rows)
    place = f"dataset {name}, revision default, split "
    for columns, parts in (
        (SINGLE, ('row 1, column "sentence"', "is empty")),
        (replace(SINGLE, text="text"), ('no column "text"', 'data.text to one of "sentence", "label"')),
    ):
        with pytest.raises(UserError) as caught:
            load_hub(name, None, None, NAMES, columns, None)
        assert str(caught.value).startswith(place) and all(part in str(caught.value) for part in parts)
    with pytest.raises(UserError, match=r"split dev: data.name: cannot be loaded.*data.train_split"):
        load_hub(name, None, None, {"train": "dev"}, SINGLE, None)


def test_sst2_and_stsb_as_published(shared):
    folder = shared / "data"
    paths = {"train": folder / "sst2" / "train.tsv", "validation": folder / "sst2" / "dev.tsv"}
    rows, names = load_files(paths, SINGLE, None)
    assert ({split: len(part) for split, part in rows.items()}, names) == (
        {"train": 67349, "validation": 872},
        ("0", "1"),
    )
    assert sum(item["label"] for item in rows["validation"]) == 444
    paths = {"train": folder / "stsb" / "train.tsv", "validation": folder / "stsb" / "dev.tsv"}
    columns = Columns("sentence1", "sentence2", "score", "index", numeric=True, strip_html=False)
    rows, _ = load_files(paths, columns, None)
    assert {split: len(part) for split, part in rows.items()} == {"train": 5749, "validation": 1500}
    assert all(0 <= item["label"] <= 5 for part in rows.values() for item in part)
