"""The command for GLUE's leaderboard, with tiny models and small test files."""

import zipfile

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from distill.errors import UserError
from distill.inference.glue_tasks import FILES
from pipeline.commands.glue_submission import main
from tests.helpers import text, tiny

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
ROWS = ["w1 w2\tw3", "w5 w6 w7\tw8 w1", "w9\tw2 w2 w2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of test files as GLUE distributes them."""
    folder = tmp_path_factory.mktemp("glue_data")
    for name in ("MNLI-m", "MNLI-mm", "AX", "STS-B"):
        (folder / FILES[name].path).parent.mkdir(exist_ok=True)
        lines = ["index\tsentence1\tsentence2", *(f"{i}\t{row}" for i, row in enumerate(ROWS))]
        (folder / FILES[name].path).write_text("\n".join(lines) + "\n")
    (folder / "SST-2").mkdir()
    (folder / "SST-2/test.tsv").write_text("index\tsentence\n" + "\n".join(f"{i}\tw{i} w3" for i in range(5)) + "\n")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of checkpoints by task."""
    folders = {}
    for task, names in (("MNLI", NLI), ("SST-2", {0: "0", 1: "1"}), ("STS-B", {0: "score"})):
        folders[task] = tmp_path_factory.mktemp(task)
        text.model("bert", layers=1, channels=len(names), id2label=names).save_pretrained(folders[task])
        tiny.tokenizer().save_pretrained(folders[task])
    return folders


def contents(path) -> dict[str, list[list[str]]]:
    """The rows of each file of a zip, header first."""
    with zipfile.ZipFile(path) as archive:
        return {
            name: [line.split("\t") for line in archive.read(name).decode().splitlines()] for name in archive.namelist()
        }


def logits(folder, pair) -> list[float]:
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    return model.eval()(**tokenizer(*pair, return_tensors="pt")).logits[0].tolist()


def test_each_file_has_what_the_model_says_to_each_row(data, models, tmp_path, capsys):
    path = tmp_path / "out.zip"
    words = [f"{task}={folder}" for task, folder in models.items()]
    main([*words, "--data", str(data), "--output", str(path)])
    found = contents(path)
    assert list(found) == ["SST-2.tsv", "STS-B.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"]
    assert all(rows[0] == ["index", "prediction"] for rows in found.values())
    pairs = [row.split("\t") for row in ROWS]
    for name in ("MNLI-m", "AX"):
        expected = [NLI[max(range(3), key=scores.__getitem__)] for scores in (logits(models["MNLI"], p) for p in pairs)]
        assert found[f"{name}.tsv"][1:] == [[str(i), name] for i, name in enumerate(expected)]
    numbers = [min(max(logits(models["STS-B"], pair)[0], 0), 5) for pair in pairs]
    assert [float(value) for _, value in found["STS-B.tsv"][1:]] == pytest.approx(numbers, abs=6e-4)
    assert len(found["SST-2.tsv"]) == 6
    printed = capsys.readouterr().out
    assert "SST-2    5 rows by" in printed and "the leaderboard expects 1,821 rows" in printed
    assert "left out: CoLA, MRPC, QQP, QNLI, RTE, WNLI" in printed and f"{path}: 5 files" in printed


def test_placeholders_are_written_when_asked_for_and_named(data, models, tmp_path, capsys):
    path = tmp_path / "out.zip"
    main([f"sst2={models['SST-2']}", "--data", str(data), "--output", str(path), "--placeholders"])
    found = contents(path)
    assert [name.removesuffix(".tsv") for name in found] == list(FILES)
    assert len(found["WNLI.tsv"]) == 147 and {row[1] for row in found["AX.tsv"][1:]} == {"entailment"}
    printed = capsys.readouterr().out
    assert printed.count("PLACEHOLDER") == 10 and "SST-2    PLACEHOLDER" not in printed


def test_a_test_file_may_lie_elsewhere_and_the_diagnostic_set_may_be_missing(data, models, tmp_path, capsys):
    other = tmp_path / "mine.tsv"
    other.write_text("index\tsentence\n7\tw1\n")
    main([f"SST-2={models['SST-2']}", "--test", f"SST-2={other}", "--output", str(tmp_path / "a.zip")])
    assert [row[0] for row in contents(tmp_path / "a.zip")["SST-2.tsv"]] == ["index", "7"]
    bare = tmp_path / "bare" / "MNLI"
    bare.mkdir(parents=True)
    for name in ("test_matched.tsv", "test_mismatched.tsv"):
        (bare / name).write_text((data / "MNLI" / name).read_text())
    main([f"MNLI={models['MNLI']}", "--data", str(bare.parent), "--output", str(tmp_path / "b.zip")])
    assert list(contents(tmp_path / "b.zip")) == ["MNLI-m.tsv", "MNLI-mm.tsv"]
    assert "AX" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SST=x"], "SST=x: give TASK=MODEL, with one of CoLA, SST-2"),
        (["SST-2"], "SST-2: give TASK=MODEL"),
        (["SST-2=a", "sst2=b"], "SST-2 is given twice"),
        (["SST-2=a", "--test", "CoLA=x"], "--test CoLA: there is no model for it: add CoLA=MODEL"),
        (["SST-2={model}", "--data", "{data}/none"], "none/SST-2/test.tsv: file: does not exist"),
        (["CoLA={model}", "--test", "CoLA={data}/MNLI/test_matched.tsv"], "has no column 'sentence'"),
        (["RTE={model}", "--test", "RTE={data}/MNLI/test_matched.tsv"], "RTE: the model's classes are 0, 1"),
    ],
)
def test_bad_words_are_one_line(data, models, tmp_path, words, message):
    words = [word.format(model=models["SST-2"], data=data) for word in words]
    with pytest.raises(UserError) as caught:
        main([*words, "--output", str(tmp_path / "out.zip")])
    assert message in str(caught.value) and "\n" not in str(caught.value) and not (tmp_path / "out.zip").exists()
