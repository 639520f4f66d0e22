"""Bad input at the stages: one line that names file, field, value and fix, exit code 2, nothing overwritten."""

import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.helpers import bits, micro

pytestmark = pytest.mark.slow


def tree(repo):
    """Relative name -> bytes of all results."""
    files = [file for part in ("data", "metrics") for file in (repo / part).rglob("*") if file.is_file()]
    return {file.relative_to(repo).as_posix(): file.read_bytes() for file in files}


@pytest.fixture
def refused(repo, stages):
    """Runs a stage that must refuse its input; gives its error line."""

    def run(command, overrides=None, **options):
        (repo / "params.yaml").write_text(micro.params(overrides))
        return run_as_is(command, **options)

    def run_as_is(command, **options):
        before = tree(repo)
        done = stages.run(repo, *command.split(), check=False, **options)
        lines = [line for line in done.err.splitlines() if not line.startswith("[transformers]")]
        assert done.code == 2, f"{done.code}\n{done.out}\n{done.err}"
        assert [line.startswith("error: ") for line in lines] == [True], done.err
        assert tree(repo) == before
        assert not list((repo / ".scratch").glob("*.lock")), "a lock was left"
        return lines[0]

    run.as_is = run_as_is
    return run


def holds(line, *words):
    missing = [word for word in words if word not in line]
    assert not missing, f"{missing} not in: {line}"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("mse_alpha: 1000", "mse_alhpa: 1000"), ["ted.mse_alhpa: unknown parameter", "did you mean 'mse_alpha'"]),
        (("temperature: 2\n  filter", "temprature: 2\n  filter"), ["ted.temprature", "did you mean 'temperature'"]),
        (("  adam_beta1", "  adam_beta_1"), ["training.adam_beta_1", "did you mean 'adam_beta1'"]),
        (("\nevaluate:", "\nevalute:"), ["evalute", "did you mean 'evaluate'"]),
        (("batch_size: 8 ", "batch_size: eight "), ["training.batch_size", "'eight'", "integer"]),
        (("lr_scheduler: linear", "lr_scheduler: lineal"), ["training.lr_scheduler", "'lineal'", "'linear'"]),
        (("- lwd\n", "- lwdd\n"), ["methods: no method 'lwdd'", "did you mean 'lwd'"]),
        (("- lwd\n", "- kd\n"), ["'kd' is listed twice"]),
        (("seeds:\n- 1\n", "seeds:\n- 1\n- 1\n"), ["seeds: [1, 1]", "each once"]),
        (("task: qa", "task: 'qa"), ["not valid YAML", "line"]),
    ],
)
def test_a_parameter_that_is_unknown_mistyped_or_malformed(repo, refused, edit, said):
    text = (repo / "params.yaml").read_text()
    assert edit[0] in text
    (repo / "params.yaml").write_text(text.replace(*edit, 1))
    holds(refused.as_is("prepare"), "params.yaml", *said)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"teacher.keep": "best", "teacher.evaluations": 0}, ["keep", "best", "evaluations is 0"]),
        ({"features.doc_stride": 128}, ["doc_stride 128", "max_length 128"]),
        ({"student.init": "pretrained"}, ["student", "model.path is null"]),
        ({"distill.init": "random"}, ["distill.init is 'random'", "'ted'", "out of methods"]),
        ({"distill.init": "pretrained"}, ["distill.init is 'pretrained'", "student.model.path is null"]),
        ({"data.source": "hub"}, ["data", "name is empty", "rajpurkar/squad_v2"]),
        ({"augment.methods": ["ted"]}, ["augment.methods: 'ted' cannot learn from copies"]),
        ({"student_filters.filter_output_dim": 9}, ["filter_output_dim", "8", "9"]),
        ({"student_filters.filter_interval": 2}, ["filter_interval", "2", "none"]),
        ({"teacher_filters.filter_interval": 1}, ["filter_interval", "2", "1", "counts"]),
        ({"student.gradient_accumulation": 3}, ["student", "gradient_accumulation", "3", "batch_size", "8"]),
        ({"distill.log_every": 9, "runtime.checkpoints_kept": 1}, ["runtime.checkpoints_kept", "1"]),
    ],
)
def test_an_impossible_combination_is_found_before_anything_runs(refused, overrides, said):
    holds(refused("prepare", overrides), "params.yaml", *said)


def test_filters_that_no_method_uses_may_differ(repo, stages):
    (repo / "params.yaml").write_text(micro.params({"student_filters.filter_output_dim": 9, "methods": ["ft", "kd"]}))
    stages.run(repo, "prepare")


def squad(questions, context="Ada lives in Paris.", titles=("a", "b", "c")):
    return {
        "version": "v2.0",
        "data": [
            {
                "title": title,
                "paragraphs": [
                    {
                        "context": context,
                        "qas": [{**question, "id": f"{title}-{question['id']}"} for question in questions],
                    }
                ],
            }
            for title in titles
        ],
    }


PARIS = {"id": "1", "question": "Where?", "answers": [{"text": "Paris", "answer_start": 13}], "is_impossible": False}
OWN = {"data.source": "files", "data.train": "data/raw/mine.json"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, ["data.train", "data/raw/mine.json", "no such file", "name a SQuAD JSON file"]),
        ('{"data": [', ["data/raw/mine.json", "malformed JSON", "line 1"]),
        ('{"rows": []}', ["data/raw/mine.json", '"data" is missing']),
        (
            squad([PARIS | {"answers": [{"text": "Paris", "answer_start": 12}]}]),
            ["data/raw/mine.json", "answer_start = 12", "Paris", "set answer_start to 13"],
        ),
        (squad([PARIS, PARIS]), ["data/raw/mine.json", 'id = "a-1"', "already used", "an id of its own"]),
        (squad([PARIS], context="  "), ["data/raw/mine.json", "context", "blank", "fill in the context"]),
        (
            squad([PARIS | {"answers": [], "is_impossible": True}]),
            ["data/raw/mine.json", "none of the 3 questions has an answer", "add answerable questions"],
        ),
        (
            squad([PARIS | {"question": "where " * 200}]),
            ["data/raw/mine.json", "200 tokens", "features.max_length = 128", "raise features.max_length"],
        ),
    ],
    ids=["missing", "malformed", "shape", "offset", "duplicate", "context", "unanswerable", "long"],
)
def test_data_of_one_s_own_that_is_wrong(repo, refused, content, said):
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        (repo / "data" / "raw" / "mine.json").write_text(text)
    holds(refused("prepare", OWN), *said)


def test_a_student_with_another_tokenizer_is_found_before_any_training(repo, refused):
    other = other_tokenizer(repo)
    own = {"features.tokenizer.path": "data/prepared/tokenizer", "student.init": "pretrained"}
    shutil.copytree(repo / "data" / "prepared" / "tokenizer", repo / "kept")
    own["features.tokenizer.path"] = "kept"
    line = refused("prepare", own | {"student.model.path": str(other.relative_to(repo)), "student.model.config": {}})
    holds(line, "params.yaml", "student.model.path", "'other'", "share one tokenizer", "features.tokenizer.path")


def test_a_student_with_another_tokenizer_is_refused_by_its_own_stage_too(repo, refused):
    other_tokenizer(repo)
    own = {"features.tokenizer.path": "other", "student.model.path": "other", "student.model.config": {}}
    line = refused("finetune student", own | {"student.init": "pretrained"})
    holds(line, "params.yaml", "student.model.path", "'other'", "share one tokenizer", "features.tokenizer.path")


def other_tokenizer(repo):
    """A model of other words: the student's weights with the vocabulary in another order."""
    folder = shutil.copytree(repo / "data" / "models" / "student", repo / "other")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    last, before = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[last], vocabulary[before] = vocabulary[before], vocabulary[last]
    path.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("output_dim", 9, ["filters", "cannot be read"]),
        ("layers", [1, 2], ["filters", "cannot be read"]),
    ],
)
def test_filters_that_are_not_what_they_say(repo, refused, field, value, said):
    path = repo / "data" / "signals" / "ted" / "filters" / "student" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    holds(refused.as_is("distill ted 1"), *said, "data/signals/ted/filters/student", "dvc checkout")


def test_filters_of_different_counts(repo, stages, refused):
    """Trained one after the other with parameters that changed in between."""
    (repo / "params.yaml").write_text(
        micro.params({"teacher_filters.filter_interval": 1, "student.model.config.num_hidden_layers": 2})
    )
    stages.run(repo, "train_filters", "teacher")
    stages.run(repo, "signals")
    line = refused("distill ted 1")
    holds(line, "teacher has 2 filters", "student 1", "teacher_filters.filter_interval")


def test_student_filters_that_would_not_match_are_not_trained(repo, refused):
    """The counts come from the models that are there, whatever params.yaml can know."""
    config = repo / "data" / "models" / "teacher" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 4}))
    bits.reseal(config.parent)
    line = refused.as_is("train_filters student")
    holds(line, "params.yaml", "filter_interval", "2", "1")


def test_a_teacher_identical_with_the_student(repo, refused):
    shutil.rmtree(repo / "data" / "models" / "student")
    shutil.copytree(repo / "data" / "models" / "teacher", repo / "data" / "models" / "student")
    for command in ("distill kd 1", "distill lwd 1"):  # ft has no teacher
        line = refused.as_is(command)
        holds(line, "params.yaml", "student.model", "data/models/teacher", "identical weights", "fewer layers")


# Without weight in the first half.
LATE = {"value": 1e300, "schedule": "linear", "warmup": 0.5}


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("command", "file", "damage"),
    [
        ("predict", "data/models/teacher/model.safetensors", cut),
        ("signals", "data/models/teacher/model.safetensors", cut),
        ("signals", "data/teacher/meta.json", cut),
        ("signals", "data/states/meta.json", Path.unlink),
        ("signals", "data/plan/signals.json", cut),
        ("distill ted 1", "data/signals/ted/teacher/config.json", cut),
        ("distill kd 1", "data/signals/kd/signals.json", cut),
        ("distill kd 1", "data/models/student/model.safetensors", cut),
        ("distill kd 1", "data/models/student/config.json", Path.unlink),
        ("distill kd 1", "data/signals/kd/logits/logits/00000.npy", cut),
        ("distill kd 1", "data/signals/kd/logits/meta.json", cut),
        ("train_filters teacher", "data/models/teacher/model.safetensors", Path.unlink),
        ("train_filters student", "data/models/student/model.safetensors", cut),
        ("distill ted 1", "data/signals/ted/filters/teacher/filters.safetensors", cut),
        ("evaluate student", "data/models/student/model.safetensors", cut),
        ("evaluate student", "data/models/student/config.json", cut),
        ("finetune teacher", "data/prepared/train/features.arrow", cut),
        ("finetune teacher", "data/prepared/meta.json", cut),
        ("predict", "data/prepared/tokenizer/tokenizer.json", cut),
    ],
)
def test_an_input_that_is_truncated_or_missing(repo, refused, command, file, damage):
    damage(repo / file)
    line = refused.as_is(command)
    holds(line, str(Path(file).parent), "dvc")


def test_a_configuration_that_does_not_fit_its_weights(repo, refused):
    path = repo / "data" / "models" / "teacher" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_size": 32}))
    bits.reseal(path.parent)
    holds(refused.as_is("predict"), "data/models/teacher", "(16,)", "(32,)", "dvc checkout")


@pytest.mark.parametrize(
    ("command", "overrides", "said"),
    [
        ("finetune teacher", {"teacher.learning_rate": 1e20, "teacher.max_grad_norm": 0}, ["task"]),
        ("train_filters student", {"student_filters.learning_rate": 1e30}, ["layer_1"]),
        ("distill ted 1", {"ted.mse_alpha": 1e39}, ["mse = ", "1e+39 times"]),
        ("distill kd 1", {"kd.kl_alpha": LATE}, ["step 5", "kl = ", "e+299 times"]),
    ],
)
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(repo, refused, command, overrides, said):
    section = next(iter(overrides)).split(".")[0]
    section = section if section in ("teacher", "student_filters") else "distill"
    line = refused(command, {f"{section}.log_every": 1, "runtime.checkpoint_steps": 1} | overrides)
    holds(line, "not finite", "lower", "the last good checkpoint is kept", *said)
    kept = {path.parent.name: path.parent for path in repo.glob(".scratch/*/checkpoints/*/complete.json")}
    for folder in kept.values():
        weights = load_file(folder / "model.safetensors")
        assert all(np.isfinite(values).all() for values in weights.values())
    if "step 5" in said:
        assert sorted(kept) == ["checkpoint-3", "checkpoint-4"]


def test_weights_that_are_not_finite_are_never_handed_over(repo, refused):
    """The last update breaks them: no loss is computed after it that could show it."""
    overrides = {"teacher.learning_rate": 1e38, "teacher.max_steps": 1, "teacher.max_grad_norm": 0, "teacher.warmup": 0}
    line = refused("finetune teacher", overrides | {"teacher.adam_epsilon": 1e-30, "teacher.weight_decay": 1e5})
    holds(line, "step 1", "weights are not finite", "learning_rate")


DISK = 304  # kB


@pytest.fixture
def small_disk(repo):
    """The repository's scratch on a small file system of its own."""
    scratch = repo / ".scratch"
    scratch.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}k", "micro", str(scratch)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield scratch
    subprocess.run(["umount", "-l", str(scratch)], check=True)


@pytest.mark.parametrize(
    ("command", "free"),
    [
        ("prepare", 100),
        ("finetune teacher", 150),
        ("predict", 60),
        ("train_filters teacher", 150),
        ("distill ted 1", 150),
    ],
)
def test_a_full_disk(repo, refused, small_disk, command, free):
    """Too small for the stage's checkpoints or its result, `free` being kB."""
    (small_disk / "filler").write_bytes(b"0" * (DISK - free) * 1024)
    holds(refused.as_is(command), "disk full", "no space left", ".scratch", "Free some space")


def test_an_unreachable_mlflow_server_changes_nothing(repo, stages):
    stages.run(repo, "finetune", "student")
    quiet = tree(repo)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = stages.run(repo, "finetune", "student", env={"DISTILL_TRACKING": "on", "MLFLOW_TRACKING_URI": address})
    said = [line for line in done.err.splitlines() if "tracking of" in line]
    assert len(said) == 1, done.err
    holds(said[0], address, "the stage goes on without it", "Start that server")
    assert same_results(tree(repo), quiet)


def test_a_slow_mlflow_server_changes_nothing(repo, stages):
    stages.run(repo, "finetune", "student")
    quiet = tree(repo)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(20)
        held = []
        threading.Thread(target=lambda: hold(server, held), daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        environment = {"DISTILL_TRACKING": "on", "MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
        done = stages.run(repo, "finetune", "student", env=environment)
        assert held, "the stage never called"
    said = [line for line in done.err.splitlines() if "tracking of" in line]
    assert len(said) == 1, done.err
    holds(said[0], address, "the stage goes on without it")
    assert same_results(tree(repo), quiet)


def hold(server, held):
    """Accepts every connection and never answers."""
    while True:
        try:
            held.append(server.accept()[0])
        except OSError:
            return


def same_results(one, other):
    """All but the record of times."""
    return {k: v for k, v in one.items() if "data/runs/" not in k} == {
        k: v for k, v in other.items() if "data/runs/" not in k
    }


def test_wrong_words_on_the_command_line(refused):
    holds(refused("finetune professor"), "professor`", "finetune teacher` or", "finetune student`")
    holds(refused("distill"), "expected `python -m pipeline distill <method> <seed>`")
    holds(refused("distill tedd 1"), "'tedd'", "ted")
    holds(refused("distill ted one"), "seed 'one'", "whole number")


def test_a_stage_before_its_turn(repo, refused):
    shutil.rmtree(repo / "data" / "signals")
    holds(refused.as_is("distill ted 1"), "data/signals/ted: missing", "dvc repro")
