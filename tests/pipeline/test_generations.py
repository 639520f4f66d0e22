"""Born-again students in stage distill: every generation before the last, and the last, which is the method's."""

import csv
import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distill import parameters
from distill.data.loading.prepared import Prepared
from distill.models import loading
from distill.models.predict import forward_of, predict_split
from distill.tasks.registry import load_task
from tests.helpers import bits, micro

pytestmark = pytest.mark.slow

TASK = load_task("qa")
SETTINGS = {
    "methods": ["born_again"],
    "born_again.generations": 3,
    "distill.max_steps": 12,
    "distill.learning_rate": 0.003,
    "distill.warmup": 0.0,
}
WORDS = ("distill", "born_again", "1")


@pytest.fixture(scope="module")
def family(base, stages, tmp_path_factory):
    """A repository with three generations, and the number of file operations that they took."""
    repo = begin(base, stages, tmp_path_factory.mktemp("family"), SETTINGS)
    return repo, stages.run(repo, *WORDS)


def begin(base, stages, folder, settings):
    """A repository in which born_again has its signals."""
    repo = shutil.copytree(base, folder / "repo")
    (repo / "params.yaml").write_text(micro.params(settings))
    stages.run_all(repo, (("inputs",), ("plan",), ("signals",)))
    return repo


def student(repo, seed=1):
    return repo / f"data/models/distill/born_again/{seed}"


def made(repo, seed=1):
    return student(repo, seed) / "generations"


def curves(repo):
    return repo / "metrics/curves/born_again-1.csv"


def contents(repo):
    files = [file for file in student(repo).rglob("*") if file.is_file()]
    return {file.relative_to(repo).as_posix(): file.read_bytes() for file in [*files, curves(repo)]}


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_every_generation_but_the_last_is_a_plain_checkpoint_of_the_students_shape(family):
    assert sorted(path.name for path in made(family[0]).iterdir()) == ["0", "1", "2"]
    assert weights(made(family[0]) / "0") == weights(family[0] / "data/models/student")
    first = load_file(family[0] / "data/models/student/model.safetensors")
    for number in ("1", "2"):
        own = load_file(made(family[0]) / number / "model.safetensors")
        assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in first.items()}
        loading.from_pretrained(str(made(family[0]) / number), TASK)
        names = {path.name for path in (made(family[0]) / number).iterdir()}
        assert not names & {"complete.json", "result.json", "trainer_state.json"}


def test_each_learns_from_the_one_before_it(family, stages, tmp_path):
    """With the task's weight at 0 a generation knows of the data only what the one before it says."""
    repo = shutil.copytree(family[0], tmp_path / "repo")
    only = SETTINGS | {"born_again.task_weight": 0}
    (repo / "params.yaml").write_text(micro.params(only))
    done = stages.run(repo, *WORDS)
    reads = [line.split()[1] for line in done.out.splitlines() if "runs along" in line]
    assert reads[0] == "data/models/student" and reads[1].endswith("link-1/done/model")
    first = {number: weights(made(repo) / number) for number in ("1", "2")}
    shutil.copyfile(made(family[0]) / "2/model.safetensors", repo / "data/models/student/model.safetensors")
    bits.reseal(repo / "data/models/student")
    stages.run(repo, *WORDS)
    assert all(weights(made(repo) / number) != first[number] for number in ("1", "2"))


def test_every_generation_starts_afresh(base, stages, tmp_path):
    """With updates too small to move a weight the generations are their starts: all different."""
    still = SETTINGS | {"distill.learning_rate": 1e-30, "distill.weight_decay": 0.0, "distill.max_steps": 1}
    repo = begin(base, stages, tmp_path, still)
    stages.run(repo, *WORDS)
    assert len({weights(folder) for folder in [*made(repo).iterdir(), student(repo)]}) == 4


def test_the_curves_are_those_of_the_last_generation(family):
    """As of every other student: as many updates as any method's."""
    rows = list(csv.DictReader(curves(family[0]).read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(2, 13, 2))
    for row in rows:
        assert float(row["loss"]) == pytest.approx(float(row["task"]) + float(row["kl"]), rel=1e-4)


def test_killed_anywhere_it_goes_on_and_ends_with_the_same_bytes(family, stages, tmp_path):
    repo = shutil.copytree(family[0], tmp_path / "repo")
    expected = contents(repo)
    operations, lives = family[1].operations, 0
    while (done := stages.run(repo, *WORDS, kill_at=max(operations * (3 + lives) // 12, 1), check=False)).code:
        assert done.code == -signal.SIGKILL, done.err
        lives += 1
    assert lives >= 3 and contents(repo) == expected and not (repo / ".scratch").exists()
    record = json.loads((repo / "data/runs/distill-born_again-1.json").read_text())
    assert record["resumed"] and record["updates"] == 12 and "earlier_seconds" in record


def test_one_generation_learns_from_the_fine_tuned_student_and_needs_no_others(base, stages, tmp_path):
    repo = begin(base, stages, tmp_path, SETTINGS | {"born_again.generations": 1})
    done = stages.run(repo, *WORDS)
    assert [line.split()[1] for line in done.out.splitlines() if "runs along" in line] == ["data/models/student"]
    assert [path.name for path in made(repo).iterdir()] == ["0"]


def test_seeds_of_a_run_give_other_generations(family, stages, tmp_path):
    repo = shutil.copytree(family[0], tmp_path / "repo")
    stages.run(repo, "distill", "born_again", "2")
    for number in ("1", "2"):
        assert weights(made(repo, 2) / number) != weights(made(repo) / number)


def test_the_evaluation_scores_the_last_and_the_ensemble_of_all(family, stages, tmp_path):
    repo = shutil.copytree(family[0], tmp_path / "repo")
    stages.run(repo, "evaluate", "born_again", "1")
    scores = json.loads((repo / "metrics/runs/born_again-1.json").read_text())
    folders = [repo / "data/models/student", made(repo) / "1", made(repo) / "2", student(repo)]
    data = Prepared(repo / "data/prepared", repo / "data/reported")
    settings = parameters.load(repo / "params.yaml").evaluate
    split = {part: [over(folder, data, part) for folder in folders] for part in ("selection", "validation")}
    together = {
        part: replace(runs[0], logits=np.mean([run.logits for run in runs], axis=0)) for part, runs in split.items()
    }
    expected = TASK.report(together["selection"], together["validation"], settings).scores
    alone = TASK.report(split["selection"][-1], split["validation"][-1], settings).scores
    for name in ("em", "f1", "selection_f1", "tuned_f1"):
        assert scores[f"ensemble_{name}"] == pytest.approx(expected[name])
        assert scores[name] == pytest.approx(alone[name])


def over(folder, data, part):
    model = loading.from_pretrained(str(folder), TASK)
    return predict_split(forward_of(model, TASK), data, part, 32, torch.device("cpu"), "fp32", "x", True)
