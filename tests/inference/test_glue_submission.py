"""Submissions to GLUE's leaderboard: files, header, names of classes and numbers as it takes them."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from distill.errors import UserError
from distill.inference import glue_submission
from distill.inference.glue_submission import class_names, placeholder, predictions, read_file, read_hub, write_zip
from distill.inference.glue_tasks import FILES, TASKS
from distill.inference.model import Model, Settings
from tests.helpers import tiny


def model(task: str, labels: list[str], logits, pairs: bool | None = None) -> Model:
    """A model that gives these logits to texts in order of their length in words, 1 word first."""
    settings = dict.fromkeys(Settings.model_fields) | {
        "task": task,
        "labels": labels,
        "max_length": 16,
        "temperature": 1.0,
        "pairs": pairs,
    }
    rows = np.asarray(logits, np.float32)

    def run(batch):
        return rows[batch["attention_mask"].sum(1) - 3]

    return Model(Settings.model_validate(settings), tiny.tokenizer(), run)


def written(folder, name: str, header: str, *rows: str):
    path = folder / FILES[name].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_the_leaderboard_takes_these_eleven_files():
    assert list(FILES) == ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI", "AX"]
    assert TASKS == ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI")
    assert [name for name, file in FILES.items() if file.model == "MNLI"] == ["MNLI-m", "MNLI-mm", "AX"]
    assert {name: list(file.classes) for name, file in FILES.items() if list(file.classes) != ["0", "1"]} == {
        "STS-B": [],
        "MNLI-m": ["entailment", "neutral", "contradiction"],
        "MNLI-mm": ["entailment", "neutral", "contradiction"],
        "AX": ["entailment", "neutral", "contradiction"],
        "QNLI": ["entailment", "not_entailment"],
        "RTE": ["entailment", "not_entailment"],
    }


# Headers as GLUE distributes them, and where a row's texts stand.
HEADERS = {
    "CoLA": ("index\tsentence", "3\tone"),
    "SST-2": ("index\tsentence", "3\tone"),
    "MRPC": ("index\t#1 ID\t#2 ID\t#1 String\t#2 String", "3\t1089874\t1089925\tone\ttwo"),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        "3\tnews\tf\t2013\t0024\tnone\tnone\tone\ttwo",
    ),
    "QQP": ("id\tquestion1\tquestion2", "3\tone\ttwo"),
    "MNLI-m": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse"
        "\tsentence2_parse\tsentence1\tsentence2",
        "3\t31493\t31493\ttravel\t( a )\t( b )\t(A)\t(B)\tone\ttwo",
    ),
    "QNLI": ("index\tquestion\tsentence", "3\tone\ttwo"),
    "RTE": ("index\tsentence1\tsentence2", "3\tone\ttwo"),
    "AX": ("index\tsentence1\tsentence2", "3\tone\ttwo"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_test_files_are_read_as_distributed(name, tmp_path):
    found = read_file(FILES[name], written(tmp_path, name, *HEADERS[name]))
    second = None if name in ("CoLA", "SST-2") else "two"
    assert (found.index, found.texts, found.empty) == ([3], [("one", second)], 0)


def test_an_empty_text_is_counted_and_gets_a_prediction_all_the_same(tmp_path):
    found = read_file(FILES["QQP"], written(tmp_path, "QQP", "id\tquestion1\tquestion2", "0\ta \t", '1\t"b\tc'))
    assert found.texts == [("a", "."), ('"b', "c")] and found.empty == 1


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("index\ttext", ["0\ta"], "has no column 'sentence' among index, text"),
        ("sentence\tlabel", ["a\t0"], "has no column 'index'"),
        ("index\tsentence", ["x\ta"], "line 2: index is 'x'"),
        ("index\tsentence", ["1\ta", "1\tb"], "index 1 stands twice"),
        ("index\tsentence", [], "has no rows"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, header, rows, message):
    path = written(tmp_path, "SST-2", header, *rows)
    with pytest.raises(UserError) as caught:
        read_file(FILES["SST-2"], path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value) and "\n" not in str(caught.value)


def test_the_hub_has_the_same_rows(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "glue"
    folder.mkdir()
    rows = [{"premise": "one", "hypothesis": "two", "label": -1, "idx": 5}]
    datasets.Dataset.from_list(rows).to_parquet(folder / "test.parquet")
    monkeypatch.setattr(glue_submission, "HUB", str(folder))
    found = read_hub(replace(FILES["AX"], subset="default"))
    assert (found.index, found.texts) == ([5], [("one", "two")])


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("SST-2", ["negative", "positive"], {"negative": "0", "positive": "1"}),
        ("SST-2", ["1", "0"], {"1": "1", "0": "0"}),
        ("WNLI", ["not_entailment", "entailment"], {"not_entailment": "0", "entailment": "1"}),
        ("RTE", ["entailment", "not_entailment"], {"entailment": "entailment", "not_entailment": "not_entailment"}),
        ("QNLI", ["Not-Entailment", "ENTAILMENT"], {"Not-Entailment": "not_entailment", "ENTAILMENT": "entailment"}),
        ("AX", ["contradiction", "entailment", "neutral"], {n: n for n in ("contradiction", "entailment", "neutral")}),
    ],
)
def test_classes_go_by_their_names_in_any_order(name, labels, expected):
    assert class_names(FILES[name], "classification", labels) == expected


@pytest.mark.parametrize(
    ("name", "task", "labels", "message"),
    [
        (
            "SST-2",
            "classification",
            ["LABEL_0", "LABEL_1"],
            "SST-2: the model's classes are LABEL_0, LABEL_1, not 0, 1 |",
        ),
        ("MNLI-m", "classification", ["entailment", "not_entailment"], "not entailment, neutral, contradiction"),
        ("RTE", "classification", ["0", "1"], "not entailment, not_entailment"),
        ("MRPC", "classification", ["equivalent", "1"], "the model's classes"),
        (
            "STS-B",
            "classification",
            ["0", "1"],
            "STS-B: the model is one for classification: name a model for regression",
        ),
        ("CoLA", "regression", [], "name a model for classification"),
        ("QNLI", "qa", [], "the model is one for qa"),
    ],
)
def test_models_of_other_tasks_are_refused(name, task, labels, message):
    with pytest.raises(UserError) as caught:
        class_names(FILES[name], task, labels)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_likeliest_class_in_the_leaderboards_words(monkeypatch):
    monkeypatch.setattr(glue_submission, "_PART", 2)
    logits = [[0, 0, 0], [3, 0, 1], [0, 2, 1], [0, 1, 2]]  # by number of words
    asked = model("classification", ["neutral", "contradiction", "entailment"], logits)
    single = replace(FILES["AX"], columns=("sentence",))
    test = glue_submission.Inputs([0, 1, 2], [("w1 w2", None), ("w1 w2 w3", None), ("w1 w2 w3 w4", None)], 0)
    assert predictions(single, asked, test) == ["neutral", "contradiction", "entailment"]


def test_similarities_lie_between_0_and_5():
    asked = model("regression", [], [[0.0], [-0.3], [2.34567], [5.4]])
    test = glue_submission.Inputs([0, 1, 2], [("w1 w2", None), ("w1 w2 w3", None), ("w1 w2 w3 w4", None)], 0)
    assert predictions(FILES["STS-B"], asked, test) == ["0.000", "2.346", "5.000"]


@pytest.mark.parametrize(("name", "constant"), [("QQP", "0"), ("STS-B", "0.000"), ("AX", "entailment")])
def test_placeholders_have_as_many_rows_as_the_test_set(name, constant):
    rows = placeholder(FILES[name])
    assert [index for index, _ in rows] == list(range(FILES[name].rows)) and {row for _, row in rows} == {constant}


def test_the_zip_has_the_files_at_its_top_and_the_same_bytes_each_time(tmp_path):
    paths = [tmp_path / name for name in ("a.zip", "deep/b.zip")]
    for path in paths:
        write_zip(path, {"SST-2": [(0, "1"), (1, "0")], "STS-B": [(0, "2.500")]})
    with zipfile.ZipFile(paths[0]) as archive:
        assert archive.namelist() == ["SST-2.tsv", "STS-B.tsv"]
        assert archive.read("SST-2.tsv") == b"index\tprediction\n0\t1\n1\t0\n"
    assert paths[0].read_bytes() == paths[1].read_bytes() and {p.name for p in tmp_path.iterdir()} == {"a.zip", "deep"}
