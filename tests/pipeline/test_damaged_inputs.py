"""A damaged input of any stage: refused in one line, or the same result. `DAMAGED_INPUTS=200` tries more of them.

A stage may trust what it reads only as far as it can check it. What a person writes (own data, params.yaml) has no hash
to be checked by: another text is another input. Scores and records that people read are text files in Git; DVC knows
their hashes, and makes them again.
"""

import contextlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from distill.runtime.files import file_hash
from pipeline.stage import definition
from tests.helpers import micro

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

COUNT = int(os.environ.get("DAMAGED_INPUTS", "12"))
SEED = int(os.environ.get("DAMAGED_SEED", "1"))
#: With these every stage has something to do; those of `FEW` need the stages that most methods need.
ALL, FEW = ("kd", "ted", "mate", "minimax_knn", "takd"), ("kd", "ted")
SETTINGS = {
    "augment.copies": 1,
    "retrieve.candidates": 3,
    "export.methods": ["kd"],
    "generator.max_steps": 4,
    "assistant.max_steps": 4,
}
OPTIONAL = tuple((name,) for name in ("train_assistants", "train_generator", "retrieve", "augment"))


def commands(students: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The stages that have something to do.

    Not signals: it links what students read into a folder of each, and their own stages open it.
    """
    return (
        *((name,) for name in ("prepare", "plan", "predict")),
        *((name, role) for name in ("finetune", "train_filters") for role in ("teacher", "student")),
        *(OPTIONAL if students == ALL else ()),
        *finish(students),
    )


def finish(students: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Those from the students on."""
    scored = (("evaluate_teacher",), ("evaluate", "student"))
    trained, evaluated = (tuple((name, method, "1") for method in students) for name in ("distill", "evaluate"))
    return (*trained, *scored, *evaluated, ("cost",), ("export", "kd", "1"), ("summarize",))


#: Files that a person writes, or whose content DVC alone can vouch for.
NOT_CHECKED = ("data/raw/", "data/none", "metrics/", "data/runs/", "data/inputs/", "data/plan/", "data/samples/")


class Damage(NamedTuple):
    """A stage, one of the files that it reads, and what happens to the file."""

    command: tuple[str, ...]
    file: str
    kind: str
    seed: int


def flipped(content: bytes, draw: random.Random) -> bytes:
    """With one bit turned over."""
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


KINDS = {
    "gone": lambda content, draw: None,
    "empty": lambda content, draw: b"",
    "cut": lambda content, draw: content[: draw.randrange(len(content))],
    "longer": lambda content, draw: content + content[-16:],
    "zeros": lambda content, draw: bytes(len(content)),
    "flipped": flipped,
    "markers": lambda content, draw: b"<<<<<<< HEAD\n" + content + b"=======\n>>>>>>> other\n",
    "page": lambda content, draw: b"<html><body>502 Bad Gateway</body></html>\n",
}


def read_by(repo: Path, command: tuple[str, ...]) -> list[str]:
    """The files of data that a stage declares, which have some content."""
    files = []
    for dep in definition.define(*command).deps:
        if dep.parts[0] in ("data", "metrics"):
            path = repo / dep
            files += [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [file.relative_to(repo).as_posix() for file in files if file.stat().st_size]


def written_by(repo: Path, command: tuple[str, ...]) -> dict[str, str]:
    """Hashes of a stage's outputs, without those that say how long something took: records, costs, speeds, the card."""
    hashes = {}
    for out in definition.define(*command).outs:
        if out.parts[:2] in (("data", "runs"), ("metrics", "export")) or out.name == "cost.json":
            continue
        path = repo / out
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and file.name != "README.md":
                hashes[file.relative_to(repo).as_posix()] = file_hash(file)
    return hashes


def drawn(repo: Path, students: tuple[str, ...], count: int, seed: int) -> list[Damage]:
    """Damages of a fixed seed: first a stage, then one of its files, then what happens to that."""
    draw = random.Random(seed)
    files = {command: read_by(repo, command) for command in commands(students)}
    possible = [command for command, read in files.items() if read]
    return [
        Damage(command := draw.choice(possible), draw.choice(files[command]), draw.choice(sorted(KINDS)), number)
        for number in range(count)
    ]


@contextlib.contextmanager
def as_it_was(repo: Path) -> Iterator[None]:
    """At the end, data and metrics stand as they stood before."""
    kept = repo.with_name("kept")
    for name in ("data", "metrics"):
        shutil.copytree(repo / name, kept / name)
    try:
        yield
    finally:
        for name in ("data", "metrics"):
            shutil.rmtree(repo / name)
            shutil.move(kept / name, repo / name)


@pytest.mark.parametrize("students", [FEW, pytest.param(ALL, marks=pytest.mark.exhaustive)], ids=["few", "all"])
def test_it_is_refused_in_one_line_or_changes_nothing(stages, tmp_path, monkeypatch, students):
    changes = {"methods": list(students), "augment.methods": ["kd"] if students == ALL else []}
    whole = micro.repo(tmp_path / "repo", SETTINGS | changes)
    stages.run_all(whole, (*micro.BASE, *finish(students)))
    monkeypatch.chdir(whole)
    outcomes, wrong = {}, []
    for damage in drawn(whole, students, COUNT, SEED):
        expected, path = written_by(whole, damage.command), whole / damage.file
        content, draw = path.read_bytes(), random.Random(damage.seed)
        with as_it_was(whole):
            path.unlink()
            if (damaged := KINDS[damage.kind](content, draw)) is not None:
                path.write_bytes(damaged)
            done = stages.run(whole, *damage.command, check=False)
            lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
            same = written_by(whole, damage.command) == expected
        outcome = "refused" if done.code == 2 else "the same" if same else "another"
        if done.code not in (0, 2) or "Traceback" in done.err or len(lines) != (done.code == 2):
            wrong.append((damage, "crash", done.err[-2000:]))
        elif outcome == "another" and not damage.file.startswith(NOT_CHECKED):
            wrong.append((damage, "another result", done.out[-500:]))
        elif outcome == "refused" and not same:
            wrong.append((damage, "refused, and yet it wrote", done.err))
        outcomes.setdefault(outcome, []).append(damage)
    print(json.dumps({outcome: len(damages) for outcome, damages in outcomes.items()}))
    for damage in outcomes.get("another", ()):
        print("another:", damage)
    assert not wrong, "\n\n".join(f"{damage}\n{what}\n{text}" for damage, what, text in wrong)
