"""Stage augment: the training features, then their copies; the same bytes after a kill."""

import json
import shutil
import signal

import datasets
import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from distill.data.loading.prepared import Prepared
from distill.models import loading
from distill.runtime.files import tree_hash
from tests.helpers import micro

pytestmark = pytest.mark.slow

QUESTIONS = {"methods": ["tinybert"], "augment.methods": ["tinybert"], "augment.copies": 3}
SENTENCES = QUESTIONS | {
    "task": "classification",
    "data.embedded": "sentences",
    "atlas.text_train": 120,
    "atlas.text_validation": 30,
}
SETTINGS = {"qa": QUESTIONS, "sentences": SENTENCES}


@pytest.fixture(scope="module")
def bare(stages, tmp_path_factory):
    """By kind of data, a repository with a masked language model; not to be changed."""
    made = {}
    for kind, settings in SETTINGS.items():
        repo = made[kind] = micro.repo(tmp_path_factory.mktemp(kind) / "repo", settings)
        stages.run_all(repo, (("inputs",), ("corpus",), ("prepare",), ("plan",)))
        tokenizer = Prepared(repo / "data/prepared", repo / "data/reported").tokenizer()
        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        torch.manual_seed(4)
        config = AutoConfig.for_model("bert", vocab_size=len(tokenizer), **shape)
        loading.save(AutoModelForMaskedLM.from_config(config), tokenizer, repo / "data/models/generator")
    return made


@pytest.fixture(scope="module")
def made(bare, stages, tmp_path_factory):
    """The same after the stage, and what it did; in parts of 50 rows."""
    repos = {kind: shutil.copytree(repo, tmp_path_factory.mktemp(kind) / "repo") for kind, repo in bare.items()}
    return {kind: (repo, augment(stages, repo)) for kind, repo in repos.items()}


@pytest.fixture
def repo(bare, tmp_path):
    """A copy of `bare`, of questions."""
    return shutil.copytree(bare["qa"], tmp_path / "repo")


def augment(stages, repo, **options):
    return stages.run(repo, "augment", setup="from pipeline import augment; augment._PART = 50", **options)


def contents(repo):
    folder = repo / "data/augmented"
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_the_originals_come_first_then_each_ones_copies(made, kind):
    repo = made[kind][0]
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    own = data.features("train").to_list()
    rows = datasets.Dataset.from_file(str(repo / "data/augmented/features.arrow")).to_list()
    assert len(own) > 100 and len(rows) == 4 * len(own)
    assert rows[: len(own)] == own
    changed = 0
    for number, row in enumerate(rows[len(own) :]):
        origin = own[number // 3]
        assert row | {"input_ids": 0} == origin | {"input_ids": 0}  # labels, offsets, types: all but the words
        different = [i for i, (a, b) in enumerate(zip(row["input_ids"], origin["input_ids"], strict=True)) if a != b]
        changed += len(different)
        if kind == "qa":
            assert all(origin["offset_start"][i] == -1 for i in different)
    meta = json.loads((repo / "data/augmented/meta.json").read_text())
    assert meta["words_replaced"] == changed > len(own)
    assert (meta["originals"], meta["rows"]) == (len(own), len(rows))
    assert meta["data"] == tree_hash(repo / "data/prepared/train/features.arrow")


def test_only_training_texts_are_copied(made):
    """No text of the selection or validation split is among the rows, copied or not."""
    repo = made["sentences"][0]
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    rows = datasets.Dataset.from_file(str(repo / "data/augmented/features.arrow"))
    assert set(rows["example_index"]) == set(range(len(data.examples("train"))))


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.9])
def test_a_kill_changes_no_byte(made, repo, stages, share):
    done = augment(stages, repo, kill_at=int(made["qa"][1].operations * share), check=False)
    assert done.code == -signal.SIGKILL
    again = augment(stages, repo)
    assert contents(repo) == contents(made["qa"][0])
    # Near the end the stage has published everything and removes its scratch: nothing is left to go on from.
    assert share > 0.7 or "resumes from it" in again.out
    assert not (repo / ".scratch").exists()


def test_another_seed_makes_other_copies(made, repo, stages):
    (repo / "params.yaml").write_text(micro.params(QUESTIONS | {"augment.seed": 2}))
    augment(stages, repo)
    assert contents(repo)["features.arrow"] != contents(made["qa"][0])["features.arrow"]


def test_nothing_is_made_where_no_method_needs_it(repo, stages):
    (repo / "params.yaml").write_text(micro.params())
    stages.run(repo, "plan")
    stages.run(repo, "augment")
    assert [path.name for path in (repo / "data/augmented").iterdir()] == ["not-needed.json"]
    assert (repo / "data/runs/augment.json").is_file()


def test_more_candidates_than_words_are_refused(repo, stages):
    (repo / "params.yaml").write_text(micro.params(QUESTIONS | {"augment.candidates": 5000}))
    done = stages.run(repo, "augment", check=False)
    assert done.code == 2 and "params.yaml: augment.candidates: 5000, but the tokenizer has" in done.err
    assert not (repo / "data/augmented").exists()
