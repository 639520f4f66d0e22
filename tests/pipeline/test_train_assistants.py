"""Stage train_assistants: a chain of models, each taught by the one before it, and the student at its end."""

import csv
import json
import math
import re
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distill.data.loading.prepared import Prepared
from distill.models import loading
from distill.models.predict import forward_of, predict_split
from distill.runtime import checkpoints
from distill.runtime.files import tree_hash
from distill.signals.cache import Cache
from distill.tasks.registry import load_task
from tests.helpers import bits, micro

pytestmark = pytest.mark.slow

TASK = load_task("qa")
WIDE = {
    "model_type": "deberta-v2",
    "num_hidden_layers": 1,
    "hidden_size": 24,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 128,
    "relative_attention": True,
    "max_relative_positions": 16,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
# Absolute positions, fewer than the windows have tokens.
SHORT = WIDE | {"position_biased_input": True, "max_position_embeddings": 8}


def link(config=None, **changes):
    values = {"init": "teacher_layers", "layers": [2], "num_layers": None} | changes
    return {"model": {"path": None, "revision": None, "config": config or {}}} | values


CHAIN = [link(), link(WIDE, init="random", layers="uniform")]
SETTINGS = {
    "methods": ["takd"],
    "assistant.chain": CHAIN,
    "assistant.max_steps": 12,
    "assistant.evaluations": 2,
    "assistant.learning_rate": 0.003,
    "assistant.warmup": 0.0,
    "assistant.seed": 5,
    "predict.batch_size": 16,
}


@pytest.fixture(scope="module")
def chain(base, stages, tmp_path_factory):
    """A repository whose chain of two is trained, and the number of file operations that it took."""
    repo = shutil.copytree(base, tmp_path_factory.mktemp("chain") / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS))
    stages.run(repo, "inputs")
    stages.run(repo, "plan")
    return repo, stages.run(repo, "train_assistants")


def contents(repo):
    """Relative name -> bytes of what the stage makes, without the record of the run."""
    files = [file for file in (repo / "data/assistant").rglob("*") if file.is_file()]
    files.append(repo / "metrics/curves/assistant.csv")
    return {file.relative_to(repo).as_posix(): file.read_bytes() for file in files}


def test_each_assistant_is_a_plain_checkpoint_of_its_own_shape(chain):
    folder = chain[0] / "data/assistant"
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "logits"]
    teacher = load_file(chain[0] / "data/models/teacher/model.safetensors")
    for number, width in ((1, 16), (2, 24)):
        model = loading.from_pretrained(str(folder / str(number)), TASK)
        assert (model.config.num_hidden_layers, model.config.hidden_size) == (1, width)
        assert (folder / str(number) / "tokenizer.json").is_file()
    assert set(load_file(folder / "1/model.safetensors")) < set(teacher)


def test_nothing_but_checkpoints_and_logits_is_published(chain):
    names = {path.name for path in (chain[0] / "data/assistant").rglob("*") if path.is_file()}
    assert not names & {checkpoints.MANIFEST, "result.json", "done.json", "weights.safetensors", "trainer_state.json"}
    assert not (chain[0] / ".scratch").exists()


def test_the_logits_are_those_of_the_last_assistant(chain):
    repo = chain[0]
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    identity = {
        "data": tree_hash(repo / "data/prepared/train/features.arrow"),
        "tokenizer": data.meta["tokenizer"]["fingerprint"],
        "teacher": tree_hash(repo / "data/assistant/2/model.safetensors"),
    }
    cache = Cache.open(repo / "data/assistant/logits", identity)
    logits = np.concatenate([cache.rows("logits", [i], n)[0] for i, n in enumerate(np.diff(cache.offsets))])
    for number, same in ((2, True), (1, False)):
        model = loading.from_pretrained(str(repo / "data/assistant" / str(number)), TASK)
        own = predict_split(forward_of(model, TASK), data, "train", 32, torch.device("cpu"), "fp32", "x", True)
        assert np.array_equal(own.offsets, cache.offsets)
        assert np.allclose(own.logits, logits, rtol=1e-4, atol=1e-5) is same


def test_the_curves_of_all_links_stand_one_after_another(chain):
    rows = list(csv.DictReader((chain[0] / "metrics/curves/assistant.csv").read_text().splitlines()))
    assert [(int(row["step"]), int(row["link"])) for row in rows] == [(s, 1 + (s > 12)) for s in range(2, 25, 2)]
    for row in rows:
        assert float(row["loss"]) == pytest.approx(float(row["task"]) + 10 * float(row["kl"]), rel=1e-4)


def test_its_weights_may_follow_a_schedule(chain, stages, tmp_path):
    """By the share of each assistant's own training."""
    repo = shutil.copytree(chain[0], tmp_path / "repo")
    schedule = {"value": 4, "schedule": "cosine_descent", "warmup": 0.0}
    changes = {"assistant.task_weight": schedule, "assistant.log_every": 1}
    (repo / "params.yaml").write_text(micro.params(SETTINGS | changes))
    stages.run(repo, "train_assistants")
    rows = list(csv.DictReader((repo / "metrics/curves/assistant.csv").read_text().splitlines()))
    assert len(rows) == 24
    for number, row in enumerate(rows):
        weight = 4 * math.cos(math.pi / 2 * (number % 12) / 11)
        assert float(row["loss"]) == pytest.approx(weight * float(row["task"]) + 10 * float(row["kl"]), rel=1e-4)


def test_each_link_learns_from_the_model_before_it(chain, stages, tmp_path):
    """Another first assistant is another second one; the teacher's own logits count for the first alone."""
    repo = shutil.copytree(chain[0], tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"assistant.chain": [link(layers=[1]), CHAIN[1]]}))
    stages.run(repo, "train_assistants")
    for number in ("1", "2"):
        name = f"data/assistant/{number}/model.safetensors"
        assert (repo / name).read_bytes() != (chain[0] / name).read_bytes()


def test_killed_anywhere_it_goes_on_and_ends_with_the_same_bytes(chain, stages, tmp_path):
    repo = shutil.copytree(chain[0], tmp_path / "repo")
    expected = contents(repo)
    shutil.rmtree(repo / "data/assistant")
    operations, lives, resumed = chain[1].operations, 0, 0
    while (
        done := stages.run(repo, "train_assistants", kill_at=max(operations * (3 + lives) // 12, 1), check=False)
    ).code:
        assert done.code == -signal.SIGKILL, done.err
        lives += 1
        resumed += "resumes from it" in done.out
    assert lives >= 3 and resumed >= 2
    assert contents(repo) == expected
    assert not (repo / ".scratch").exists()
    record = json.loads((repo / "data/runs/train_assistants.json").read_text())
    assert record["resumed"] and record["updates"] == 24


# All stages hand over by the same code (test_kill.py): `make test` asks at some steps whether a chain knows it is done.
@pytest.mark.parametrize("every", [9, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_killed_before_each_step_of_handing_over(chain, stages, tmp_path, every):
    repo = shutil.copytree(chain[0], tmp_path / "repo")
    expected = contents(repo)
    for step in range(1, 100, every):
        done = stages.run(repo, "train_assistants", kill_at=step, outside=f"{repo}/.scratch", check=False)
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, done.err
    assert step > 5
    assert contents(repo) == expected and not (repo / ".scratch").exists()


def test_the_student_learns_from_the_last_assistants_cache(chain, stages, tmp_path):
    repo = shutil.copytree(chain[0], tmp_path / "repo")
    stages.run(repo, "signals")
    done = stages.run(repo, "distill", "takd", "1")
    assert "the assistant's logits" in done.out
    student = repo / "data/models/distill/takd/1/model.safetensors"
    first = student.read_bytes()
    assert all(weight.isfinite().all() for weight in load_file(student).values())
    # Other logits, another student: it is these that it learns from, and not the teacher's.
    logits = repo / "data/assistant/logits/logits/00000.npy"
    np.save(logits, np.load(logits)[::-1])
    bits.reseal(repo / "data/assistant/logits")
    stages.run(repo, "signals")
    stages.run(repo, "distill", "takd", "1")
    assert student.read_bytes() != first


def test_where_no_method_needs_it_an_empty_artifact_says_so(base, stages, tmp_path):
    repo = shutil.copytree(base, tmp_path / "repo")
    done = stages.run(repo, "train_assistants")
    assert "no listed method needs it (assistant)" in done.out and not (repo / "data/assistant/logits").exists()
    assert (repo / "metrics/curves/assistant.csv").read_text() == "step,loss\n"


@pytest.mark.parametrize(
    ("chain_of", "message"),
    [
        ([link(layers=[1, 2])], "params.yaml: assistant.chain.0.model: student and teacher .* identical weights"),
        ([link({"hidden_size": 32})], "params.yaml: assistant.chain.0.model.config: teacher_layers copies"),
        ([link(SHORT, init="random", layers="uniform")], "features.max_length: windows of .* assistant.chain.0"),
        ([link(), link(layers=[2])], "assistant.chain.1"),
        ([link(WIDE | {"widht": 3}, init="random", layers="uniform")], "assistant.chain.0.model.config.widht"),
    ],
)
def test_an_assistant_that_cannot_be_is_refused_in_one_line(base, stages, tmp_path, chain_of, message):
    repo = shutil.copytree(base, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"assistant.chain": chain_of, "assistant.max_steps": 2}))
    stages.run(repo, "inputs")
    done = stages.run(repo, "plan", check=False)  # what the configurations tell
    done = done if done.code else stages.run(repo, "train_assistants", check=False)
    assert done.code == 2 and "Traceback" not in done.err
    assert re.search(message, done.err.replace("\n", " "))
