"""A pipeline that runs in seconds: micro parameters, and scratch repositories to run it in."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from distill.experiments import params_file, presets

ROOT = Path(__file__).resolve().parents[2]
#: params.yaml as the project ships it. The user's own may say anything, and is read by no test.
PARAMS = ROOT / "tests/params.yaml"

# What a run needs: code, parameters and configuration, none of the data.
COPIED = (
    "pipeline",
    "src",
    "presets",
    "extra_metrics",
    "dvc.yaml",
    "params.yaml",
    "pyproject.toml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots",
    ".dvcignore",
    ".gitignore",
    "data/.gitignore",
    "data/none",
    "data/members/.gitkeep",
    "data/samples/.gitkeep",
)

# In this order each stage finds what it needs.
TAUGHT = (
    *((name,) for name in ("inputs", "corpus", "prepare")),
    *(("finetune", role) for role in ("teacher", "student")),
    *((name,) for name in ("plan", "predict")),
)
# Where no listed method needs what they make, they write empty outputs.
OPTIONAL = (
    *(("train_filters", role) for role in ("teacher", "student")),
    *((name,) for name in ("train_assistants", "train_generator", "retrieve", "augment")),
)
BASE = (*TAUGHT, *OPTIONAL, ("signals",))
# What DVC calls these stages, but for signals, which are each method's: `dvc commit -f` writes down that they ran.
BASE_IN_DVC = (
    *("inputs", "corpus", "prepare", "finetune_teacher", "finetune_student", "plan", "predict_teacher"),
    *("train_teacher_filters", "train_student_filters", "train_assistants", "train_generator", "retrieve", "augment"),
)

_TRAINING = {"max_steps": 8, "batch_size": 8, "log_every": 2}
_SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 128,
}
# DeBERTa's attention is the dearest part of a micro stage: `DEBERTA` brings it back.
_BERT = {
    "model_type": "bert",
    **_SIZES,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.125,
}


def _shapes(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A configuration for each model: the student has one layer."""
    roles = {role: dict(config) for role in ("teacher", "student", "generator")}
    roles["student"]["num_hidden_layers"] = 1
    return {f"{role}.model.config": values for role, values in roles.items()}


SMALL: dict[str, Any] = {
    "atlas.train_questions": 240,
    "atlas.validation_questions": 60,
    "atlas.text_train": 240,
    "atlas.text_validation": 60,
    "features.tokenizer.vocab_size": 600,
    "features.max_length": 128,
    "features.doc_stride": 32,
    "cost.batch_sizes": [1, 8],
    "cost.seconds": 0.05,
    # Whatever int8 loses of the scores of a model that is hardly trained, no search follows.
    "export.max_loss": 100,
    "export.calibration_rows": 32,
    **{f"training.{name}": value for name, value in _TRAINING.items()},
    "assistant.chain": [
        {
            "model": {"path": None, "revision": None, "config": {}},
            "init": "teacher_layers",
            "layers": [2],
            "num_layers": None,
        }
    ],
    "teacher_filters.filter_output_dim": 8,
    "student_filters.filter_output_dim": 8,
    "runtime.checkpoint_steps": 2,
}


#: Overrides: the architecture that params.yaml ships for every model, in micro sizes.
DEBERTA = _shapes(
    {
        "model_type": "deberta-v2",
        **_SIZES,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "type_vocab_size": 0,
        "initializer_range": 0.125,
        "position_biased_input": False,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": False,
        "norm_rel_ebd": "layer_norm",
        "position_buckets": 32,
        "max_relative_positions": 16,
    }
)


@functools.cache  # presets by the dozen, of which several tests look at the same
def shipped(preset: str = "") -> str:
    """params.yaml as the project ships it, with a preset where one is named."""
    text = PARAMS.read_text(encoding="utf-8")
    return presets.merge(text, presets.load(preset)) if preset else text


def params(overrides: dict[str, Any] | None = None) -> str:
    """The project's params.yaml in micro sizes, comments and all.

    Args:
        overrides: dotted names to values, on top; what the file does not have is added to it.
    """
    return _params(json.dumps(SMALL | (overrides or {})))


@functools.cache  # a tenth of a second each, and tests ask for the same ones
def _params(changes: str) -> str:
    return _replaced(_shaped(), json.loads(changes))


@functools.cache
def _shaped() -> str:
    """With BERT for each model: overrides may change single fields of it."""
    return _replaced(shipped(), _shapes(_BERT))


def _replaced(text: str, values: dict[str, Any]) -> str:
    return params_file.replace(text, {tuple(name.split(".")): value for name, value in values.items()})


def repo(folder: Path, overrides: dict[str, Any] | None = None) -> Path:
    """A Git and DVC repository of its own in `folder`: the working tree's pipeline with micro parameters, committed."""
    shutil.copytree(_template(), folder, dirs_exist_ok=True)
    (folder / "params.yaml").write_text(params(overrides))
    for words in (["add", "-A"], ["commit", "-q", "--amend", "-m", "start"]):
        run(folder, "git", *words)
    return folder


_FOLDER = tempfile.TemporaryDirectory(prefix="micro-")


@functools.cache
def _template() -> Path:
    """The repository before it has parameters, made once.

    Git has its objects in one file: every copy would make 500 small ones.
    """
    folder = Path(_FOLDER.name) / "repo"
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"], ["repack", "-adq"]):
        run(folder, "git", *words)
    return folder


def environment(**changes: str) -> dict[str, str]:
    """The environment that `run` gives: this interpreter's programs first, nothing of the outer DVC, MLflow or Git.

    But for the folder in which the DVC of tests remembers projects.
    """
    outer = {
        k: v
        for k, v in os.environ.items()
        if k == "DVC_SITE_CACHE_DIR" or not k.startswith(("DVC_", "MLFLOW_", "GIT_", "DISTILL_", "PYTEST_"))
    }
    programs = Path(sys.executable).parent
    return outer | {
        "PATH": f"{programs}{os.pathsep}{outer.get('PATH', '')}",
        "VIRTUAL_ENV": str(programs.parent),
        "DISTILL_TRACKING": "off",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "micro@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        **changes,
    }


def with_programs(folder: Path) -> dict[str, str]:
    """A change of the environment: the programs of a folder, such as those of `tests/helpers/warm.py`, come first."""
    return {"PATH": f"{folder}{os.pathsep}{environment()['PATH']}"}


def run(
    repo: Path, *words: str, env: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository, output captured as text.

    Args:
        env: on top of `environment()`, e.g. {"DISTILL_TRACKING": "on"}.
        check: fail with the command's output where it ends with another code than 0.
    """
    done = subprocess.run(words, cwd=repo, env=environment(**(env or {})), text=True, capture_output=True)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def newest_checkpoint(repo: Path) -> int:
    """Number of the newest complete checkpoint of an interrupted stage, 0 for none."""
    found = repo.glob(".scratch/*/checkpoints/checkpoint-*/complete.json")
    return max((int(path.parent.name.split("-")[1]) for path in found), default=0)
