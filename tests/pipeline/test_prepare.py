"""What stage prepare says about the data: classes, rows that stand in two splits, how questions were split."""

import json
import shutil

import pytest

from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.runtime.files import tree_hash
from tests.helpers import micro

CONTEXTS = [f"The town number {i} lies on the river {i}." for i in range(12)]


def squad(prefix: str, contexts, title=None) -> str:
    """A question on each context; articles have no title unless it is given."""
    paragraphs = [
        {
            "context": context,
            "qas": [
                {"id": f"{prefix}{i}", "question": "Where is it?", "answers": [{"text": "The", "answer_start": 0}]}
            ],
        }
        for i, context in enumerate(contexts)
    ]
    return json.dumps({"data": [({} if title is None else {"title": title}) | {"paragraphs": paragraphs}]})


@pytest.fixture
def prepare(tmp_path, stages):
    """Runs the stage on files of this content; gives what it printed, and meta.json."""

    def run(train: str, validation: str, suffix: str, files: dict[str, str] | None = None, **overrides):
        own = {"data.source": "files", "data.selection_fraction": 0.25, "features.tokenizer.vocab_size": 300}
        own |= {f"data.{split}": f"data/raw/{split}{suffix}" for split in ("train", "validation")}
        repo = micro.repo(tmp_path / "repo", own | overrides)
        (repo / "data" / "raw" / "atlas").mkdir(parents=True)
        (repo / own["data.train"]).write_text(train)
        (repo / own["data.validation"]).write_text(validation)
        for name, content in (files or {}).items():
            (repo / name).write_text(content)
        stages.run(repo, "inputs")
        out = stages.run(repo, "prepare").out
        assert "blake2b" not in out
        return out, Prepared(repo / "data/prepared", repo / "data/reported").meta

    return run


@pytest.mark.parametrize("title", [None, "", "One article"])
def test_questions_without_articles_are_split_by_contexts_and_shared_ones_counted(prepare, title):
    validation = squad("v", ["The new town.", *(text.replace("lies", " lies") for text in CONTEXTS)], title)
    out, meta = prepare(squad("t", CONTEXTS, title), validation, ".json", **{"data.max_train_examples": None})
    assert "split   by contexts" in out
    sizes = {split: counts["examples"] for split, counts in meta["splits"].items()}
    assert sizes == {"train": 9, "selection": 3, "validation": 13}
    assert meta["splits"]["train"]["articles"] == (1 if title else 0)
    assert "shared  9 of 13 validation questions are training questions too, on the same contexts" in out
    assert "on contexts of the training data" not in out


def test_classes_are_listed_with_their_rows_and_unlabelled_rows_left_out(prepare):
    lines = [json.dumps({"sentence": f"town {i} is here", "label": (True, False, None)[i % 3]}) for i in range(48)]
    validation = [
        json.dumps({"sentence": text, "label": True})
        for text in ("a new one", *map("Town  {} is here".format, range(48)))
    ]
    task = {"task": "classification", "data.embedded": "sentences", "data.label": "label"}
    task |= {"data.text": "sentence", "data.text_pair": None, "data.id": None}
    out, meta = prepare("\n".join(lines), "\n".join(validation), ".jsonl", **task)
    assert "dropped 16 rows without a label (null): data/raw/train.jsonl" in out
    assert meta["labels"] == ["false", "true"] and meta["splits"]["selection"]["examples"] == 8
    train, selection = (meta["splits"][split]["labels"] for split in ("train", "selection"))
    assert f'classes train: "false" {train[0]}, "true" {train[1]}' in out and sum(train) == 24
    assert f'classes selection: "false" {selection[0]}, "true" {selection[1]}' in out
    assert 'classes validation: "false" 0, "true" 49' in out
    assert "shared  24 of 49 validation texts are training texts too" in out


TASK = {"task": "classification", "data.embedded": "sentences", "data.text": "sentence", "data.text_pair": None}


def table(texts, column: str = "") -> str:
    """A TSV of texts of two classes; of a column, the value is the text's first word."""
    rows = [f"{text}\t{i % 2}{chr(9) + text.split()[0] if column else ''}" for i, text in enumerate(texts)]
    return "\n".join(["sentence\tlabel" + (f"\t{column}" if column else ""), *rows])


def test_phrases_go_with_their_sentences_and_what_is_left_in_train_is_said(prepare):
    sentences = [f"the town {i} lies on the river {i} now" for i in range(20)]
    phrases = [text for i in range(20) for text in (f"town {i} lies on", f"the river {i} now")]
    leaking = [*sentences[:3], *(f"a village {i} is new" for i in range(7))]
    out, meta = prepare(
        table([*sentences, *phrases]), table(leaking), ".tsv", **TASK | {"data.group": "texts", "data.id": None}
    )
    assert "split   by texts: 20 groups of rows, the largest of 3" in out
    assert meta["overlap"]["selection"] == {"compared": 15, "part": 0.0, "related": 0.0}
    assert meta["overlap"]["validation"]["part"] > 0.05
    assert "overlap selection: of 15 rows with texts of 3 words or more, 0.0% have one that is part of a" in out
    assert "WARNING: split validation: 30.0% of its rows have a text that is part" in out
    assert "WARNING: split selection" not in out


def test_a_selection_file_and_extra_files_are_further_splits_with_their_groups(prepare):
    files = {"data/raw/chosen.tsv": table(f"chosen {i} it was" for i in range(4))}
    files |= {"data/raw/news.tsv": table(f"news {i} of today" for i in range(6))}
    splits = {"data.selection": "data/raw/chosen.tsv", "data.extra": {"news": "data/raw/news.tsv"}}
    train, validation = (table((f"{name} {i} is here" for i in range(20)), "kind") for name in ("town", "village"))
    out, meta = prepare(train, validation, ".tsv", files, **TASK | splits | {"data.group": "kind"})
    sizes = {split: counts["examples"] for split, counts in meta["splits"].items()}
    assert sizes == {"train": 20, "selection": 4, "validation": 20, "news": 6}
    assert meta["overlap"]["validation"] == {"compared": 20, "part": 0.0, "related": 0.0, "groups": 0.0}
    assert list(meta["overlap"]) == ["selection", "validation", "news"]
    assert "WARNING" not in out


def test_other_data_to_report_on_changes_nothing_that_trainings_read(base, stages, tmp_path):
    repo = shutil.copytree(base, tmp_path / "repo")
    before = {name: tree_hash(repo / "data" / name) for name in ("prepared", "reported")}
    (repo / "params.yaml").write_text(micro.params({"data.max_validation_examples": 20}))
    stages.run(repo, "prepare")
    after = {name: tree_hash(repo / "data" / name) for name in before}
    assert after["prepared"] == before["prepared"] and after["reported"] != before["reported"]
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    assert len(data.examples("validation")) == 20 and data.scored_splits == ["selection", "validation"]


def test_reported_splits_of_another_preparation_are_refused(base, stages, tmp_path):
    repo = shutil.copytree(base, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params({"features.tokenizer.vocab_size": 500}))
    stages.run(repo, "prepare")
    with pytest.raises(
        UserError, match=r"data/reported/meta.json: is of another preparation than .*; run dvc repro prepare"
    ):
        Prepared(repo / "data/prepared", base / "data/reported")
