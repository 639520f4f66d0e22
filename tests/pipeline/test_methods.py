"""Every method on the embedded corpus, through its stages: its terms fall, and a kill changes no byte of a student."""

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from distill.methods import registry
from distill.methods.base import Method
from tests.helpers import bits, forked, micro

pytestmark = pytest.mark.slow

# The terms of each method that must fall while it trains. Not listed: `generator` of mate, cilda and combined, which
# is maximised, and `kl` of tfkd_self, 0 at the start: the target is the fine-tuned student, and so is the start.
# Nor `kl` of pro_kd, whose target is another one with each of the teacher's checkpoints.
# `adversarial` is listed: the student learns faster than so few steps of the generator make the texts harder.
FALLING = {
    "adv": ["task", "adversarial"],
    "alp": ["task", "kl", "attended"],
    "annealing": ["mse", "task"],
    "born_again": ["task", "kl"],
    "cilda": ["task", "kl", "contrastive", "adversarial", "adversarial_contrastive"],
    "ckd": ["task", "kl", "internal"],
    "combined": ["mse", "adversarial", "task"],
    "context": ["task", "kl", "word", "layer"],
    "dist": ["task", "row"],
    "freelb": ["task", "kl"],
    "ft": ["task"],
    "hidden": ["task", "kl", "hidden"],
    "kd": ["task", "kl"],
    "knn": ["task", "kl", "candidate_kl"],
    "lwd": ["task", "kl", "mse"],
    "mate": ["task", "kl", "adversarial"],
    "minimax_knn": ["task", "kl", "candidate_kl"],
    "pkd": ["task", "kl", "patient"],
    "pro_kd": ["task"],
    "rail": ["task", "kl", "layers"],
    "relation": ["task", "kl", "query", "key", "value"],
    "rkd": ["task", "kl"],
    "rw_kd": ["task", "kl"],
    "takd": ["task", "kl"],
    "ted": ["task", "kl", "mse"],
    "tfkd_reg": ["task", "kl"],
    "tfkd_self": ["task"],
    "tinybert": ["attention", "hidden", "soft"],
}
# Per training row: rows whose labels count, passes of the student, passes of a teacher that runs along.
# Not listed: (1, 1, 0). Generators learn for 2 steps in every 10 updates (combined: 1 in 5), with a pass of both.
PASSES = {
    "adv": (1, 2.2, 0),
    "annealing": (0.3, 1, 0),
    "born_again": (3, 3, 3),
    "cilda": (1, 2.2, 2.2),
    "combined": (0.25, (15 * 2 + 3 + 5) / 20, (15 * 2 + 3) / 20),
    "freelb": (1, 3, 0),
    "knn": (1, 3, 0),
    "mate": (1, 2.2, 2.2),
    "minimax_knn": (1, 1 + 3 + 2, 0),  # of 3 candidates 2 are chosen
    "pro_kd": (0.3, 1, 0),
    "relation": (1, 1, 1),
    "rw_kd": (1, 3, 0),
    "tfkd_self": (1, 1, 1),
    "tinybert": (0, 1, 1),
}
# Which of a row's texts changes, in methods that learn from changed texts.
CHANGED = {"adv": "context", "cilda": "context", "combined": "context", "mate": "context"}
CHANGED |= {"knn": "question", "minimax_knn": "question"}
STAGES = (
    ("inputs",),
    ("finetune", "teacher"),
    ("finetune", "student"),
    ("plan",),
    ("predict",),
    ("train_filters", "teacher"),
    ("train_filters", "student"),
    ("train_assistants",),
    ("train_generator",),
    ("retrieve",),
    ("augment",),
    ("signals",),
)


SETTINGS = {
    "methods": registry.available(),
    # A teacher that knows something, and a student that has it to learn.
    "teacher.model.config.num_hidden_layers": 4,
    "student.model.config.num_hidden_layers": 2,
    "teacher.max_steps": 80,
    "teacher.learning_rate": 0.003,
    "teacher.snapshots": 2,
    "assistant.max_steps": 8,
    "assistant.log_every": 2,
    "generator.max_steps": 8,
    "generator.log_every": 2,
    "augment.copies": 1,
    "retrieve.candidates": 3,
    "distill.learning_rate": 0.003,
    "distill.warmup": 0.0,
    "annealing.tau_max": 1,  # or the targets grow, and with them the term
    "combined.tau_max": 1,
    "mate.student_steps": 10,
    "mate.generator_steps": 2,
    "cilda.student_steps": 10,
    "cilda.generator_steps": 2,
    "rw_kd.held_out_batch": 8,  # as large as a batch
    "adv.student_steps": 10,
    "adv.generator_steps": 2,
    "combined.student_steps": 5,
    "combined.generator_steps": 1,
}


@pytest.fixture(scope="module")
def ready(base, stages, tmp_path_factory) -> Path:
    """What every method needs has been made."""
    repo = shutil.copytree(base, tmp_path_factory.mktemp("methods") / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS))
    stages.run_all(repo, STAGES)
    return repo


def has_parts(method: str) -> bool:
    """Whether a training consists of several: then it is killed in several places, and otherwise in the middle."""
    own = registry.load(method)
    several = own.phases is not Method.phases or own.trainer_steps is not Method.trainer_steps
    return several or own.taught_by == "generation"


def updates(method: str) -> int:
    """Enough for the terms to fall: where a training consists of several parts, half as many are."""
    return 20 if has_parts(method) else 40


# What a method overrides where stage distill and the trainer do something else for it.
HOOKS = ("columns", "phases", "trainer_steps", "learning_rates", "compute", "changed_texts")


def path(method: str) -> tuple[Any, ...]:
    """What decides the code that a method's training goes through, other than its own loss terms.

    Which teacher it learns from, whether that is there as a model, what earlier stages make for it, and what it
    overrides of `Method`. Not what else a teacher supplies to its terms: signals hand over all kinds of it in the same
    way (test_states.py).
    """
    own = registry.load(method)
    overrides = tuple(getattr(own, hook) is not getattr(Method, hook) for hook in HOOKS)
    return own.taught_by, own.artifacts, "model" in own.needs, overrides


def by_path() -> list[Any]:
    """Of the methods with the same path all but the first are exhaustive, and new ones never.

    What is left of a method is its terms: tests/methods has them in float64, and kills of those that keep something.
    """
    seen = set()
    names: list[Any] = []
    for method in registry.available():
        repeats = method in FALLING and path(method) in seen
        names.append(pytest.param(method, marks=pytest.mark.exhaustive) if repeats else method)
        seen |= {path(method)} if method in FALLING else set()
    return names


@pytest.mark.parametrize("method", by_path())
def test_it_trains_and_a_kill_changes_nothing(ready, stages, tmp_path, method):
    # Each part has checkpoints of its own, and the last generation of born_again is killed soon after it begins.
    steps = 1 if registry.load(method).taught_by == "generation" else 3 if has_parts(method) else 5
    sizes = {"distill.max_steps": updates(method), "distill.log_every": 1, "runtime.checkpoint_steps": steps}
    (ready / "params.yaml").write_text(micro.params(SETTINGS | sizes))
    done = stages.run(ready, "distill", method, "1", photos=tmp_path)
    student, curves = ready / "data/models/distill" / method / "1", ready / "metrics/curves" / f"{method}-1.csv"
    sample = ready / f"data/samples/{method}-1.json"
    if method in FALLING:  # nobody has written down yet what to expect of a new method
        assert_falls(curves, FALLING[method])
        asked = ("teacher", "student") if registry.load(method).needs else ("student",)
        assert_texts_change(json.loads(sample.read_text()), CHANGED.get(method), asked)
    # A plain checkpoint: the same weights as the fine-tuned student has, nothing of the method's.
    assert set(load_file(student / "model.safetensors")) == set(
        load_file(ready / "data/models/student/model.safetensors")
    )
    record = json.loads((ready / f"data/runs/distill-{method}-1.json").read_text())
    used = (record["labelled_rows"] / (8 * updates(method)), record["student_passes"], record["teacher_passes"])
    assert used == pytest.approx(PASSES.get(method, (1, 1, 0)), rel=0.03) or method not in FALLING
    expected = content(student) | {"curves": curves.read_bytes(), "sample": sample.read_bytes()}
    first, further = (5, 4) if has_parts(method) else (9, 8)
    # The first of its lives is the one above.
    forked.as_killed_at(done.operations * first // 16, tmp_path, ready)
    shutil.rmtree(student)
    curves.unlink()
    sample.unlink()
    lives, words = 1, ("distill", method, "1")
    while (
        again := stages.run(ready, *words, kill_at=done.operations * (first + further * lives) // 16, check=False)
    ).code:
        assert again.code == -signal.SIGKILL, again.err
        lives += 1
    assert lives >= (2 if has_parts(method) else 1)
    assert content(student) | {"curves": curves.read_bytes(), "sample": sample.read_bytes()} == expected
    record = json.loads((ready / f"data/runs/distill-{method}-1.json").read_text())
    assert record["resumed"] and record["resumed_from"] > 0


def test_a_kill_after_a_level_of_annealing_changes_nothing(ready, stages, tmp_path):
    """Of 12 updates of phase 1 the first 4 have τ = 3, the next 4 τ = 2, the last 4 τ = 1; a checkpoint every 2."""
    repo, words = shutil.copytree(ready, tmp_path / "repo"), ("distill", "annealing", "1")
    changes = {"annealing.tau_max": 3, "annealing.phase1_share": 0.75, "annealing.evaluations": 1}
    (repo / "params.yaml").write_text(micro.params(SETTINGS | changes | {"distill.max_steps": 16}))
    done = stages.run(repo, *words)
    student, curves = repo / "data/models/distill/annealing/1", repo / "metrics/curves/annealing-1.csv"
    expected = content(student) | {"curves": curves.read_bytes()}
    resumed = []
    for kill_at in range(done.operations // 12, done.operations, done.operations // 12):
        again = stages.run(repo, *words, kill_at=kill_at, check=False)
        if again.code == 0:
            break
        resumed.append(newest_checkpoint(repo, "phase-1"))
    else:
        stages.run(repo, *words)
    assert content(student) | {"curves": curves.read_bytes()} == expected
    assert any(4 <= step < 12 for step in resumed), resumed


def assert_falls(curves: Path, names: list[str]) -> None:
    rows = list(csv.DictReader(curves.read_text().splitlines()))
    for name in names:
        values = [float(row[name]) for row in rows if row[name]]
        third = max(len(values) // 3, 1)
        first, last = sum(values[:third]) / third, sum(values[-third:]) / third
        assert last < first, f"{name}: {values}"


def assert_texts_change(sample: list[dict], name: str | None, asked: tuple[str, ...]) -> None:
    """In most rows text `name` has other words, and nothing else has; None: there is no sample.

    `asked` are the models that have said what they make of a text.
    """
    assert len(sample) == (20 if name else 0)
    pairs = [(entry["original"], changed) for entry in sample for changed in entry["changed"]]
    for original, changed in pairs:
        same = [part for part in original["text"] if part != name]
        assert all(original["text"][part] == changed["text"][part] for part in same)
        answers = [side[model] for side in (original, changed) for model in asked]
        assert all(("teacher" in side) == ("teacher" in asked) for side in (original, changed))
        assert all(0 <= value <= 1 for answer in answers for value in answer.values())
    different = sum(original["text"] != changed["text"] for original, changed in pairs)
    assert different >= len(pairs) / 2
    if name == "context":  # a gold answer is never changed
        assert all(
            answer.lower() in changed["text"][name]
            for entry in sample
            for changed in entry["changed"]
            for answer in entry["gold"]
            if answer.lower() in entry["original"]["text"][name]
        )


def newest_checkpoint(repo: Path, phase: str) -> int:
    """Number of the newest complete checkpoint of an interrupted phase, 0 for none."""
    found = repo.glob(f".scratch/*/{phase}/checkpoints/checkpoint-*/complete.json")
    return max((int(path.parent.name.split("-")[1]) for path in found), default=0)


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_copies_give_no_method_more_updates_and_those_of_other_data_are_refused(ready, stages, tmp_path):
    repo = shutil.copytree(ready, tmp_path / "repo")
    settings = SETTINGS | {"distill.max_steps": None, "distill.epochs": 0.5}
    settings |= {"methods": ["ft", "kd"], "augment.methods": ["kd"]}
    (repo / "params.yaml").write_text(micro.params(settings))
    stages.run_all(repo, (("plan",), ("augment",), ("signals",), ("distill", "ft", "1"), ("distill", "kd", "1")))
    records = [json.loads((repo / f"data/runs/distill-{name}-1.json").read_text()) for name in ("ft", "kd")]
    assert records[0]["updates"] == records[1]["updates"] > 10

    meta = repo / "data/signals/kd/augmented/meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"data": "0" * 32}))
    bits.reseal(meta.parent)
    done = stages.run(repo, "distill", "kd", "1", check=False)
    assert done.code == 2 and "made from other training features: run `dvc repro augment`" in done.err


def test_the_students_updates_are_counted_and_not_the_generators(ready, stages):
    record = ready / "data/runs/distill-mate-1.json"
    if not record.exists():
        (ready / "params.yaml").write_text(micro.params(SETTINGS | {"distill.max_steps": updates("mate")}))
        stages.run(ready, "distill", "mate", "1")
    counts = json.loads(record.read_text())
    assert (counts["updates"], counts["trainer_steps"]) == (20, 24)
