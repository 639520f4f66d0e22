"""Stage retrieve: neighbours from the training texts or a file, the teacher's logits for them, and kills."""

import json
import shutil
import signal

import datasets
import numpy as np
import pytest
import torch

from distill.augmentation import retrieval
from distill.augmentation.candidates import Candidates
from distill.data.loading.prepared import Prepared
from distill.models import loading
from distill.models.forward import forward_pass, freeze
from distill.runtime.files import tree_hash
from distill.tasks.registry import load_task
from tests.helpers import micro

pytestmark = pytest.mark.slow

QUESTIONS = {"methods": ["knn", "minimax_knn"], "retrieve.candidates": 3, "teacher.max_steps": 2}
PAIRS = QUESTIONS | {
    "task": "classification",
    "data.embedded": "pairs",
    "data.text": "sentence1",
    "data.text_pair": "sentence2",
    "atlas.text_train": 120,
    "atlas.text_validation": 30,
    "features.max_length": 24,
}
SETTINGS = {"qa": QUESTIONS, "pairs": PAIRS}


@pytest.fixture(scope="module")
def bare(stages, tmp_path_factory):
    """By kind of data, a repository with a teacher; not to be changed."""
    made = {}
    for kind, settings in SETTINGS.items():
        made[kind] = micro.repo(tmp_path_factory.mktemp(kind) / "repo", settings)
        stages.run_all(made[kind], (("inputs",), ("corpus",), ("prepare",), ("plan",), ("finetune", "teacher")))
    return made


@pytest.fixture(scope="module")
def made(bare, stages, tmp_path_factory):
    """The same after the stage, and what it did."""
    repos = {kind: shutil.copytree(repo, tmp_path_factory.mktemp(kind) / "repo") for kind, repo in bare.items()}
    return {kind: (repo, stages.run(repo, "retrieve")) for kind, repo in repos.items()}


@pytest.fixture
def repo(bare, tmp_path):
    """A copy of `bare`, of questions."""
    return shutil.copytree(bare["qa"], tmp_path / "repo")


def contents(repo):
    folder = repo / "data/candidates"
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def opened(repo, kind):
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    task = load_task("qa" if kind == "qa" else "classification", labels=data.meta.get("labels", ()))
    identity = {"data": tree_hash(repo / "data/prepared/train/features.arrow")}
    return data, task, Candidates.load(repo / "data/candidates", identity, task, data.tokenizer().pad_token_id)


def words(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_the_stored_logits_are_the_teachers(made, kind):
    repo = made[kind][0]
    _, task, found = opened(repo, kind)
    teacher = freeze(loading.from_pretrained(str(repo / "data/models/teacher"), task))
    batch, logits = found.of(torch.tensor([5, 0, 17]))
    own = forward_pass(teacher, task, batch).logits
    if task.per_token:
        own = own * batch["attention_mask"].unsqueeze(-1)
    torch.testing.assert_close(logits, own, rtol=1e-4, atol=1e-5)


def test_each_window_has_its_own_context_and_its_neighbours_questions(made):
    repo = made["qa"][0]
    data, _, found = opened(repo, "qa")
    queries = retrieval.texts(data.examples("train"))
    pool = retrieval.unique(queries)
    scored = [text for split in ("selection", "validation") for text in retrieval.texts(data.examples(split))]
    pool = retrieval.without(pool, scored)
    nearest = retrieval.neighbours(queries, pool, 3)
    tokenizer, features = data.tokenizer(), data.features("train")
    for row in range(0, len(features), 11):
        window = features[row]
        context = [t for t, start in zip(window["input_ids"], window["offset_start"], strict=True) if start >= 0]
        for place, near in zip(found.neighbours[row], nearest[window["example_index"]], strict=True):
            question = tokenizer(pool[near][0], add_special_tokens=False)["input_ids"]
            ids = found.rows.features[int(place)]["input_ids"]
            assert ids[1 : 1 + len(question)] == question
            assert ids[len(question) + 2 : -1] == context


def test_pairs_are_replaced_as_pairs_and_stored_once(made):
    repo = made["pairs"][0]
    data, _, found = opened(repo, "pairs")
    tokenizer, examples = data.tokenizer(), data.examples("train")
    known = {
        tuple(tokenizer(first, second, truncation=True, max_length=24)["input_ids"])
        for first, second in zip(examples["text"], examples["text_pair"], strict=True)
    }
    own = data.features("train")["input_ids"]
    assert len(found.rows) <= len(known)
    for row, places in enumerate(found.neighbours):
        near = [tuple(found.rows.features[int(place)]["input_ids"]) for place in places]
        assert set(near) <= known and tuple(own[row]) not in near


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_never_from_selection_or_validation(made, kind):
    repo = made[kind][0]
    data, _, found = opened(repo, kind)
    tokenizer = data.tokenizer()
    scored = {key for split in ("selection", "validation") for key in map(retrieval.key, _texts(data, split))}
    held_out = {words(tokenizer, ids) for ids in _parts(tokenizer, [key.split("\t") for key in scored])}
    retrieved = {words(tokenizer, row["input_ids"]) for row in found.rows.features}
    assert len(held_out) > 20 and len(retrieved) > 20
    for text in retrieved:
        question = text.split(" [SEP]")[0] if kind == "qa" else text
        assert question.removeprefix("[CLS] ") not in held_out and text not in held_out


def _texts(data, split):
    return retrieval.texts(data.examples(split))


def _parts(tokenizer, keys):
    for parts in keys:
        yield tokenizer(*parts, add_special_tokens=len(parts) > 1, truncation=True, max_length=24)["input_ids"]


def test_texts_of_selection_and_validation_are_left_out_of_a_file_too(repo, stages):
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    (seen, _), *_ = _texts(data, "validation")
    mine = ["who built the mill of Penhaven", "when was the mill of Penhaven built", "what is the mill of Penhaven"]
    (repo / "data/pool.txt").write_text("\n".join([seen.upper(), *mine, mine[0], "where is it"]) + "\n")
    (repo / "params.yaml").write_text(micro.params(QUESTIONS | {"retrieve.pool": "data/pool.txt"}))
    done = stages.run(repo, "retrieve")
    assert "4 different texts; 1 of selection or validation left out" in done.out
    tokenizer = data.tokenizer()
    allowed = {words(tokenizer, ids) for ids in _parts(tokenizer, [[text] for text in [*mine, "where is it"]])}
    rows = opened(repo, "qa")[2].rows.features
    assert {words(tokenizer, row["input_ids"]).split(" [SEP]")[0].removeprefix("[CLS] ") for row in rows} <= allowed


def test_the_same_again_gives_the_same_bytes(made, bare, stages, tmp_path):
    repo = shutil.copytree(bare["pairs"], tmp_path / "repo")
    stages.run(repo, "retrieve")
    assert contents(repo) == contents(made["pairs"][0])
    meta = json.loads((repo / "data/candidates/logits/meta.json").read_text())
    assert meta["data"] == tree_hash(repo / "data/prepared/train/features.arrow")
    assert set(contents(repo)) == {"checksums.json", "features.arrow", "neighbours.npy"} | {
        f"logits/{name}" for name in ("logits/00000.npy", "offsets.npy", "meta.json")
    }


# While it writes the logits; test_kill.py has stages that are killed before and after what they write part by part.
@pytest.mark.parametrize("share", [0.6, *(pytest.param(share, marks=pytest.mark.exhaustive) for share in (0.3, 0.9))])
def test_a_kill_changes_no_byte(made, repo, stages, share):
    done = stages.run(repo, "retrieve", kill_at=int(made["qa"][1].operations * share), check=False)
    assert done.code == -signal.SIGKILL
    stages.run(repo, "retrieve")
    assert contents(repo) == contents(made["qa"][0])
    assert not (repo / ".scratch").exists()


def test_what_was_found_before_a_kill_is_not_looked_for_again(made, repo, stages):
    scratch = repo / ".scratch"
    done = stages.kill_when(
        repo, "retrieve", condition=lambda: any(scratch.glob("retrieve-*/candidates/logits/logits/00000.npy"))
    )
    assert done.code == -signal.SIGKILL and "pool" in done.out
    again = stages.run(repo, "retrieve")
    assert "pool" not in again.out and "resumes from it" in again.out
    assert contents(repo) == contents(made["qa"][0])


def test_nothing_is_retrieved_where_no_method_needs_it(repo, stages):
    (repo / "params.yaml").write_text(micro.params({"methods": ["ft"]}))
    stages.run(repo, "plan")
    stages.run(repo, "retrieve")
    assert [path.name for path in (repo / "data/candidates").iterdir()] == ["not-needed.json"]
    assert (repo / "data/runs/retrieve.json").is_file()


@pytest.mark.parametrize(("changes", "said"), [
    ({"retrieve.candidates": 5000}, "params.yaml: retrieve.candidates: 5000: the pool has"),
    ({"retrieve.pool": "data/missing.txt"}, "data/missing.txt: missing"),
    ({"retrieve.pool": "data"}, "params.yaml: retrieve.pool: data: "),
])  # fmt: skip
def test_what_cannot_be_is_refused(repo, stages, changes, said):
    (repo / "params.yaml").write_text(micro.params(QUESTIONS | changes))
    done = stages.run(repo, "retrieve", check=False)
    assert done.code == 2 and said in done.err
    assert not (repo / "data/candidates").exists()


def test_the_student_is_distilled_on_them(made, stages, tmp_path):
    repo = shutil.copytree(made["pairs"][0], tmp_path / "repo")
    learned = (("distill", name, "1") for name in ("knn", "minimax_knn"))
    stages.run_all(repo, (("finetune", "student"), ("predict",), *micro.OPTIONAL, ("signals",), *learned))
    curves = datasets.load_dataset("csv", data_files=str(repo / "metrics/curves/minimax_knn-1.csv"), split="train")
    # Farther from the teacher than the nearest ones, with the same start.
    nearest = datasets.load_dataset("csv", data_files=str(repo / "metrics/curves/knn-1.csv"), split="train")
    assert curves["candidate_kl"][0] > nearest["candidate_kl"][0] > 0
    assert np.isfinite(curves["loss"]).all()
