"""Texts with tags from CoNLL columns, JSON lines, the hub: read as they are, every fault named with its place."""

import json
from pathlib import Path

import pytest

from distill.data.sources.tagged_texts import Columns, load_files, load_hub
from distill.errors import UserError

COLUMNS = Columns("tokens", "tags", None, None)
CONLL = "-DOCSTART- -X- O O\n\nAda NNP I-NP B-PER\nBerg NNP I-NP I-PER\nsings VB O O\n\n\nOslo NNP O B-LOC\n"


def save(folder: Path, content, name: str) -> Path:
    lines = content if isinstance(content, str) else "\n".join(json.dumps(line) for line in content)
    (folder / name).write_text(lines, encoding="utf-8")
    return folder / name


def refused(folder: Path, content, *parts: str, name="train.jsonl", columns=COLUMNS, classes=None) -> None:
    """One line that begins with the file and holds all of `parts`."""
    path = save(folder, content, name)
    with pytest.raises(UserError) as caught:
        load_files({"train": path}, columns, classes)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message, message
    assert all(part in message for part in parts), message


def words(row) -> list[str]:
    return [row["text"][start:end] for start, end in zip(row["starts"], row["ends"], strict=True)]


def test_columns_and_json_lines_give_the_same(tmp_path):
    lines = [
        {"tokens": ["Ada", "Berg", "sings"], "tags": ["B-PER", "I-PER", "O"]},
        {"tokens": ["Oslo"], "tags": ["B-LOC"]},
    ]
    paths = [save(tmp_path, CONLL, "a.conll"), save(tmp_path, CONLL.replace(" ", "\t"), "a.tsv")]
    read = [load_files({"train": path}, COLUMNS, None) for path in (*paths, save(tmp_path, lines, "a.jsonl"))]
    assert read[0] == read[1] == read[2]
    assert read[0].scheme == "IOB2" and read[0].classes == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    first, second = read[0].rows["train"]
    assert first == {
        "id": "0", "text": "Ada Berg sings", "text_pair": None, "starts": [0, 4, 9], "ends": [3, 8, 14],
        "tags": [3, 4, 0],
    }  # fmt: skip
    assert second["tags"] == [1]


def test_spans_become_tags_of_whole_words(tmp_path):
    text = " Ada Berg-Olsen lives in Oslo."
    places = [(text.index(part), part, label) for part, label in (("Ada Berg-Olsen", "PER"), ("Oslo", "LOC"))]
    spans = [{"start": start, "end": start + len(part), "label": label} for start, part, label in places]
    tagged = load_files({"train": save(tmp_path, [{"tokens": text, "tags": spans}], "a.jsonl")}, COLUMNS, None)
    (row,) = tagged.rows["train"]
    assert words(row) == ["Ada", "Berg", "-", "Olsen", "lives", "in", "Oslo", "."]
    expected = ["B-PER", "I-PER", "I-PER", "I-PER", "O", "O", "B-LOC", "O"]
    assert [tagged.classes[tag] for tag in row["tags"]] == expected


def test_a_span_that_cuts_a_word_is_widened_and_counted_aloud(tmp_path, capsys):
    rows = [{"tokens": "Oslofjord", "tags": [{"start": 0, "end": 4, "label": "LOC"}]}, {"tokens": "Oslo", "tags": []}]
    tagged = load_files({"train": save(tmp_path, rows, "a.jsonl")}, COLUMNS, None)
    assert [row["tags"] for row in tagged.rows["train"]] == [[1], [0]]
    assert "widened 1 spans" in capsys.readouterr().out


def test_numbers_are_named_by_the_hubs_column(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["O", "B-X", "I-X"])
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(names)})
    split = datasets.Dataset.from_dict({"tokens": [["a", "b"], ["c"]], "tags": [[1, 2], [0]]}, features=features)
    (tmp_path / "set").mkdir()
    split.to_parquet(str(tmp_path / "set/train.parquet"))
    tagged = load_hub(str(tmp_path / "set"), None, None, {"train": "train"}, COLUMNS, None)
    assert tagged.classes == ("O", "B-X", "I-X") and [row["tags"] for row in tagged.rows["train"]] == [[1, 2], [0]]


def test_the_hubs_spans_are_lists_of_objects_or_objects_of_lists(tmp_path):
    """`Sequence` of several fields turns a list of objects over."""
    datasets = pytest.importorskip("datasets")
    span = {name: datasets.Value("int64") for name in ("start", "end")} | {"label": datasets.Value("string")}
    spans = [{"start": 0, "end": 4, "label": "LOC"}, {"start": 9, "end": 13, "label": "PER"}]
    turned = {name: [one[name] for one in spans] for name in span}
    for kind, feature, value in (("list", datasets.List(span), spans), ("lists", datasets.Sequence(span), turned)):
        features = datasets.Features({"tokens": datasets.Value("string"), "tags": feature})
        content = {"tokens": ["Oslo and Anna left"], "tags": [value]}
        (tmp_path / kind).mkdir()
        datasets.Dataset.from_dict(content, features=features).to_parquet(str(tmp_path / kind / "train.parquet"))
        tagged = load_hub(str(tmp_path / kind), None, None, {"train": "train"}, COLUMNS, None)
        names = [tagged.classes[tag] for tag in tagged.rows["train"][0]["tags"]]
        assert names == ["B-LOC", "O", "B-PER", "O"]
    turned["label"].pop()
    refused(tmp_path, [{"tokens": "Oslo and Anna left", "tags": turned}], "line 1", "must be a list of tags")


def test_a_transfer_set_has_no_tags(tmp_path):
    train = save(tmp_path, CONLL, "a.conll")
    transfer = save(tmp_path, "Nils\nsings\n", "b.conll")
    rows = load_files({"train": train, "transfer": transfer}, COLUMNS, None).rows["transfer"]
    assert [(row["text"], row["tags"]) for row in rows] == [("Nils sings", None)]


def test_rows_without_a_label_are_dropped_aloud(tmp_path, capsys):
    rows = [{"tokens": ["a"], "tags": None}, {"tokens": ["a", "b"], "tags": ["B-X", "O"]}]
    tagged = load_files({"train": save(tmp_path, rows, "a.jsonl")}, COLUMNS, None)
    assert len(tagged.rows["train"]) == 1 and "dropped 1 rows" in capsys.readouterr().out


GOOD = {"tokens": ["Ada", "b"], "tags": ["B-X", "O"]}


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, ("line 2", "word 2", 'is ""', "not blank")),
        ({"tokens": [], "tags": []}, ("line 2", "has no words")),
        ({"tokens": ["a"], "tags": ["O", "O"]}, ("line 2", "has 2 tags for 1 words")),
        ({"tokens": ["a"], "tags": ["PER"]}, ("line 2, tag 1", '"PER"', "no tag")),
        ({"tokens": ["a"], "tags": [3]}, ("line 2, tag 1", "has tag 3", "data.labels")),
        ({"tokens": ["a"], "tags": "O"}, ("line 2", 'is "O"', "a list of tags")),
        ({"tokens": 5, "tags": ["O"]}, ("line 2", "is 5", "a list of words, or a text")),
        ({"tokens": ["a", "b"], "tags": ["O", "I-X"]}, ("line 2, tag 2", '"I-X"', "nothing begins", "IOB2")),
        ({"tokens": "ab", "tags": [{"start": 0, "end": 3, "label": "X"}]}, ("span 1", "is 0–3 of a text of 2")),
        ({"tokens": "a b", "tags": [{"start": 1, "end": 2, "label": "X"}]}, ("span 1", "covers no word")),
        ({"tokens": "a b", "tags": [{"start": 0, "end": 2.5, "label": "X"}]}, ("span 1", '"start": 0')),
        (
            {"tokens": "a b", "tags": [{"start": 0, "end": 1, "label": "X"}, {"start": 0, "end": 3, "label": "Y"}]},
            ("span 2", "shares a word with span 1"),
        ),
        ({"tokens": ["a"], "tags": ["B-\ud800"]}, ("line 2", "surrogate")),
        ({"tokens": ["\ud800"], "tags": ["O"]}, ("line 2", "surrogate")),
        ({"tokens": "a", "tags": [{"start": 0, "end": 1, "label": " "}]}, ("span 1", '"label": " "')),
        ({"tokens": "a", "tags": ["O"]}, ("span 1", 'is "O"', '"start": 0')),
        ({"text": "a"}, ("line 2", 'has no column "tokens"', "data.text")),
    ],
)
def test_bad_rows_are_refused_in_one_line(tmp_path, row, parts):
    refused(tmp_path, [GOOD, row], *parts)


def test_bad_lines_of_columns_are_named_by_their_number(tmp_path):
    refused(tmp_path, "Ada B-X\nb O\n\nc O\nd I-X\n", "line 5", '"d"', '"I-X"', "IOB2", name="a.conll")
    refused(tmp_path, "Ada B-X\nb\n", "line 2", '"b"', "one column", name="a.txt")
    refused(tmp_path, "\n\n", "has no sentences", name="a.txt")
    refused(tmp_path, "a,b\n", "suffix", ".csv", name="a.csv")
    refused(tmp_path, CONLL, "no", '"key"', "data.id", name="a.conll", columns=Columns("t", "l", "key", None))


def test_a_tag_that_training_does_not_know_is_refused_and_another_prefix_of_a_known_type_is_not(tmp_path):
    train = save(tmp_path, [{"tokens": ["a", "b", "c"], "tags": ["B-X", "B-Y", "I-Y"]}], "a.jsonl")
    other = save(tmp_path, [{"tokens": ["a", "b"], "tags": ["B-X", "I-X"]}], "b.jsonl")
    tagged = load_files({"train": train, "validation": other}, COLUMNS, None)
    assert tagged.classes == ("O", "B-X", "I-X", "B-Y", "I-Y") and tagged.rows["validation"][0]["tags"] == [1, 2]
    strange = save(tmp_path, [{"tokens": ["a"], "tags": ["B-Z"]}], "c.jsonl")
    with pytest.raises(UserError, match="c.jsonl: line 1, tag 1.*B-Z.*data.train"):
        load_files({"train": train, "validation": strange}, COLUMNS, None)
    with pytest.raises(UserError, match="are O alone"):
        load_files({"train": save(tmp_path, [{"tokens": ["a"], "tags": ["O"]}], "d.jsonl")}, COLUMNS, None)
