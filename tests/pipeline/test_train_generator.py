"""Stage train_generator: a plain masked-LM checkpoint, byte for byte the same after a kill, or one taken as it is."""

import csv
import json
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoModelForQuestionAnswering

from distill import parameters
from distill.augmentation import masked_lm
from distill.data.loading.prepared import Prepared
from distill.data.loading.tokenizer import train as train_tokenizer
from distill.errors import UserError
from distill.models import loading
from tests.helpers import micro

pytestmark = pytest.mark.slow

NEEDED = {"methods": ["mate"]}
SETTINGS = NEEDED | {"generator.max_steps": 40, "generator.learning_rate": 0.01, "generator.evaluations": 0}


@pytest.fixture(scope="module")
def bare(stages, tmp_path_factory):
    """A repository with prepared data, and a method listed that needs a generator; not to be changed."""
    repo = micro.repo(tmp_path_factory.mktemp("generator") / "repo", SETTINGS)
    stages.run_all(repo, (("inputs",), ("corpus",), ("prepare",), ("plan",)))
    return repo


@pytest.fixture(scope="module")
def made(bare, stages, tmp_path_factory):
    """The same with a generator, and what the stage did."""
    repo = shutil.copytree(bare, tmp_path_factory.mktemp("made") / "repo")
    return repo, stages.run(repo, "train_generator")


@pytest.fixture
def repo(bare, tmp_path):
    """A copy of `bare`."""
    return shutil.copytree(bare, tmp_path / "repo")


def contents(repo):
    """Relative name -> bytes of what the stage makes, without the record of the run."""
    files = [file for file in (repo / "data/models/generator").rglob("*") if file.is_file()]
    return {
        file.relative_to(repo).as_posix(): file.read_bytes() for file in [*files, repo / "metrics/curves/generator.csv"]
    }


def set_params(repo, overrides):
    (repo / "params.yaml").write_text(micro.params(NEEDED | overrides))


def losses(repo):
    with (repo / "metrics/curves/generator.csv").open() as file:
        return [float(row["masked_lm"]) for row in csv.DictReader(file)]


def test_a_plain_masked_lm_checkpoint_with_the_data_s_vocabulary(made):
    folder = made[0] / "data/models/generator"
    model = AutoModelForMaskedLM.from_pretrained(folder)
    tokenizer = Prepared(made[0] / "data/prepared", made[0] / "data/reported").tokenizer()
    assert model.config.vocab_size == len(tokenizer) and (folder / "tokenizer.json").is_file()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert {path.name for path in folder.iterdir()} == {
        "checksums.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert not (made[0] / ".scratch").exists()


def test_its_loss_falls_and_the_record_says_what_it_cost(made):
    repo, done = made
    seen = losses(repo)
    assert len(seen) == 20 and sum(seen[-5:]) < 0.9 * sum(seen[:5])
    record = json.loads((repo / "data/runs/train_generator.json").read_text())
    assert record["updates"] == 40 and record["resumed_from"] == 0
    assert "last loss" in done.out


def test_the_published_weights_are_those_of_the_last_update(made):
    """Its loss on the training texts is that of the end of the curve, not that of the start."""
    repo = made[0]
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    module = masked_lm.MaskedLanguageModelling(masked_lm.load(repo / "data/models/generator"), data.tokenizer(), 0.15)
    rows, found = data.features("train")[:64], []
    width = max(len(ids) for ids in rows["input_ids"])
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows["input_ids"]])
    torch.manual_seed(0)
    with torch.no_grad():
        found = module.eval()(input_ids=ids, attention_mask=(ids != 0).long())["loss"].item()
    seen = losses(repo)
    assert abs(found - seen[-1]) < abs(found - seen[0])


# In the middle of the training; test_kill.py has trainings that are killed before and after, too.
@pytest.mark.parametrize("share", [0.6, *(pytest.param(share, marks=pytest.mark.exhaustive) for share in (0.3, 0.9))])
def test_a_kill_changes_no_byte(made, repo, stages, share):
    done = stages.run(repo, "train_generator", kill_at=int(made[1].operations * share), check=False)
    assert done.code == -signal.SIGKILL
    stages.run(repo, "train_generator")
    assert contents(repo) == contents(made[0])


def test_it_goes_on_from_a_checkpoint(made, repo, stages):
    scratch = repo / ".scratch"
    checkpoints = "train_generator-*/checkpoints/checkpoint-"

    def reached():
        return any(scratch.glob(f"{checkpoints}*/MANIFEST*")) or any(scratch.glob(f"{checkpoints}4"))

    done = stages.kill_when(repo, "train_generator", condition=reached)
    assert done.code == -signal.SIGKILL
    stages.run(repo, "train_generator")
    assert json.loads((repo / "data/runs/train_generator.json").read_text())["resumed_from"] > 0
    assert contents(repo) == contents(made[0])


def test_another_seed_gives_another_generator(made, repo, stages):
    set_params(repo, SETTINGS | {"generator.seed": 2})
    stages.run(repo, "train_generator")
    assert contents(repo)["metrics/curves/generator.csv"] != contents(made[0])["metrics/curves/generator.csv"]


def test_nothing_is_trained_where_no_method_needs_it(repo, stages):
    (repo / "params.yaml").write_text(micro.params())
    stages.run(repo, "plan")
    stages.run(repo, "train_generator")
    assert [path.name for path in (repo / "data/models/generator").iterdir()] == ["not-needed.json"]
    assert (repo / "metrics/curves/generator.csv").read_text() == "step,loss\n"
    assert (repo / "data/runs/train_generator.json").is_file()


def checkpoint(repo, kind=AutoModelForMaskedLM, tokenizer=None):
    """A checkpoint from elsewhere: random weights on the data's tokenizer."""
    tokenizer = tokenizer or Prepared(repo / "data/prepared", repo / "data/reported").tokenizer()
    fields = {"vocab_size": len(tokenizer), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(4)
    shape = loading.AutoConfig.for_model("bert", **fields, intermediate_size=16, max_position_embeddings=128)
    loading.save(kind.from_config(shape), tokenizer, repo.parent / "elsewhere")
    return str(repo.parent / "elsewhere")


def own(repo, path, **changes):
    """The model's tokenizer is the data's."""
    set_params(
        repo,
        {"generator.model.path": path, "generator.model.config": {}, "features.tokenizer.path": path}
        | {f"generator.{name}": value for name, value in changes.items()},
    )


def test_a_checkpoint_is_taken_as_it_is_where_train_is_false(repo, stages):
    path = checkpoint(repo)
    own(repo, path, train=False)
    done = stages.run(repo, "train_generator")
    before, after = (load_file(f"{folder}/model.safetensors") for folder in (path, repo / "data/models/generator"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert "as it is" in done.out and losses(repo) == []
    assert json.loads((repo / "data/runs/train_generator.json").read_text())["updates"] == 0


def test_a_checkpoint_is_where_training_starts(repo, stages):
    path = checkpoint(repo)
    own(repo, path, train=True, max_steps=2, learning_rate=1e-9)
    stages.run(repo, "train_generator")
    before, after = (load_file(f"{folder}/model.safetensors") for folder in (path, repo / "data/models/generator"))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


def refused(repo, stages):
    done = stages.run(repo, "train_generator", check=False)
    assert done.code == 2, f"{done.out}\n{done.err}"
    assert not (repo / "data/models/generator").exists()
    return done.err


def test_a_checkpoint_without_a_masked_lm_head_is_not_taken_as_it_is(repo, stages):
    own(repo, checkpoint(repo, AutoModelForQuestionAnswering), train=False)
    assert "no masked-LM head" in (line := refused(repo, stages)) and "generator.train to true" in line


def test_a_checkpoint_with_another_vocabulary_is_refused(repo, stages):
    other = train_tokenizer(["one two three four five six seven"], 60, lowercase=True)
    own(repo, checkpoint(repo, tokenizer=other), train=True)
    assert "generator.model.path" in (line := refused(repo, stages)) and "name one with the student's tokenizer" in line


def test_windows_that_do_not_fit_are_refused_before_training(repo, stages):
    set_params(repo, SETTINGS | {"generator.model.config.max_position_embeddings": 16})
    assert "features.max_length" in (line := refused(repo, stages)) and "generator" in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generator.train": False}, "train is false but model.path is null"),
        ({"generator.evaluations": 2}, "nothing scores a generator"),
        ({"generator.keep": "best"}, "keep is 'best' but evaluations is 0"),
        ({"generator.model.config": {}}, "no model_type"),
        ({"generator.mask_probability": 1.0}, "generator.mask_probability"),
        ({"generator.model.path": "bert-base-uncased"}, "features.tokenizer.path is null"),
        ({"mate.student_steps": 0}, "mate.student_steps"),
        ({"mate.mask_probability": 0}, "mate.mask_probability"),
        ({"combined.phase1_share": 1}, "combined.phase1_share"),
    ],
)
def test_parameters_that_cannot_work_are_refused_by_name(tmp_path, changes, said):
    path = tmp_path / "params.yaml"
    path.write_text(micro.params(NEEDED))
    parameters.load(path)
    with pytest.raises(UserError, match=said):
        parameters.load(path, changes)
