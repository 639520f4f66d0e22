"""Damaged and hostile files, through whole stages and commands: exit code 0, or 2 with one line; never a traceback."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.experiments import params_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WILD_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([-1, 0, 2**63, -(2**70), 1e308, float("nan"), "", "x", "\ud800", "\x00", "=1+1", "../../x"]),
        st.text(max_size=4),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
MARKERS = b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n"
# What happens to a file: content → other content, or None: it is gone.
DAMAGES = {
    "gone": lambda content, wild: None,
    "empty": lambda content, wild: b"",
    "cut": lambda content, wild: content[: len(content) // 2],
    "markers": lambda content, wild: MARKERS + content,
    "deep": lambda content, wild: b"[" * 100_000,
    "digits": lambda content, wild: b'{"a": ' + b"1" * 5000 + b"}",
    "latin": lambda content, wild: "{é: 1}".encode("latin-1"),
    "zeros": lambda content, wild: b"\0" * len(content),
    "other": lambda content, wild: json.dumps(wild).encode(),
    "value": lambda content, wild: with_value(content, wild),
}


def with_value(content: bytes, wild: object) -> bytes:
    """JSON with one of its values replaced, the same for the same content; other files as they are."""
    try:
        values = json.loads(content)
    except ValueError:
        return content + b"\n"
    node = values
    while isinstance(node, (dict, list)) and node:
        key = sorted(node)[len(str(wild)) % len(node)] if isinstance(node, dict) else len(str(wild)) % len(node)
        if not isinstance(node[key], (dict, list)) or not node[key] or len(str(wild)) % 3 == 0:
            node[key] = wild
            break
        node = node[key]
    return json.dumps(values).encode()


# Stage and words → the files that it reads, which may be damaged.
STAGES = {
    "prepare": ["data/raw/mine/train.json", "data/raw/mine/validation.json", "data/inputs/data.json"],
    "plan": ["data/inputs/teacher.json", "data/inputs/data.json"],
    "evaluate student": ["data/models/student/config.json", "data/models/student/model.safetensors"]
    + ["data/prepared/meta.json", "data/prepared/tokenizer/tokenizer.json"],
    "export kd 1": ["metrics/runs/teacher.json", "metrics/runs/student.json", "metrics/runs/kd-1.json"]
    + ["data/models/distill/kd/1/config.json", "data/prepared/meta.json"],
    "summarize": ["metrics/runs/kd-1.json", "metrics/cost.json", "metrics/curves/kd-1.csv"]
    + ["data/runs/distill-kd-1.json", "data/predictions/kd-1.json", "data/predictions/kd-1.examples.csv"],
    "signals": ["data/plan/signals.json", "data/teacher/meta.json", "data/states/meta.json"],
}
# Reads these files as summarize and evaluate do.
REPEATS = "export kd 1"


@pytest.fixture(scope="module")
def whole(base, stages, tmp_path_factory) -> Path:
    """A repository in which everything has run that the commands need."""
    repo = shutil.copytree(base, tmp_path_factory.mktemp("wild") / "repo")
    shutil.copytree(repo / "data/raw/atlas", repo / "data/raw/mine")
    changes = {
        ("methods",): ["kd"],
        ("export", "methods"): ["kd"],
        ("export", "int8"): "none",
        ("data", "source"): "files",
    }
    changes |= {("data", split): f"data/raw/mine/{split}.json" for split in ("train", "validation")}
    (repo / "params.yaml").write_text(params_file.replace((repo / "params.yaml").read_text(), changes))
    made = ("inputs", "plan", "signals", "distill kd 1", "evaluate_teacher", "evaluate student", "evaluate kd 1")
    stages.run_all(repo, [tuple(words.split()) for words in (*made, "cost", "summarize")])
    return repo


@pytest.fixture
def reads_or_refuses(whole, stages):
    """Damages a file, runs a stage, and mends the file."""

    def check(command, file, damage, wild):
        path = whole / file
        content = path.read_bytes()
        shutil.copy(path, whole / "kept")
        try:
            path.unlink()
            if (damaged := DAMAGES[damage](content, wild)) is not None:
                path.write_bytes(damaged)
            done = stages.run(whole, *command.split(), check=False)
            assert done.code in (0, 2), done.err[-3000:]
            lines = [line for line in done.err.splitlines() if "Traceback" in line or line.startswith("error: ")]
            assert len(lines) == (1 if done.code else 0) and not any("Traceback" in line for line in lines), done.err
        finally:
            path.unlink(missing_ok=True)
            shutil.move(whole / "kept", path)

    return check


# Values in place of one of a file's, or of all of them.
WILD = (None, -(2**70), float("nan"), "\ud800", [], {"x": {}})


@pytest.mark.parametrize(
    "command", [pytest.param(each, marks=[pytest.mark.exhaustive] if each == REPEATS else []) for each in STAGES]
)
def test_a_stage_reads_what_is_damaged_or_refuses_it_in_one_line(reads_or_refuses, whole, stages, command):
    """Every damage to one of its files, and a wild value to each."""
    files = STAGES[command]
    for file, damage in ((files[0], "markers"), (files[0], "deep"), (files[-1], "digits"), (files[-1], "latin")):
        reads_or_refuses(command, file, damage, None)
    for n, damage in enumerate(("gone", "empty", "cut", "zeros", "other")):
        reads_or_refuses(command, files[n % len(files)], damage, WILD[n])
    for n, file in enumerate(files):
        reads_or_refuses(command, file, "value", WILD[n])
    stages.run(whole, *command.split())


@pytest.mark.exhaustive
@pytest.mark.parametrize("command", STAGES)
def test_a_stage_reads_any_damage_or_refuses_it_in_one_line(reads_or_refuses, command):
    @given(st.sampled_from(STAGES[command]), st.sampled_from(sorted(DAMAGES)), WILD_JSON)
    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(file, damage, wild):
        reads_or_refuses(command, file, damage, wild)

    check()
