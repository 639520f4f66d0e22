"""Which slow libraries a stage imports before it works: the seconds themselves differ from machine to machine."""

import json
import os
import subprocess
import sys

from pipeline.stage import definition
from tests.helpers import micro

#: Stages that import no more than their list, in rising order, and what each list adds. Every stage reads params.yaml,
#: whose types the methods give, and with them torch.
STEPS = {
    "parameters": ("augment", "corpus", "inputs", "plan", "signals"),
    "tables": ("summarize",),
    "tokenizers": ("prepare",),
    "models": ("cost", "evaluate", "evaluate_member", "evaluate_teacher", "predict", "predict_member", "retrieve"),
    "trainings": (
        "control",
        "distill",
        "finetune",
        "finetune_member",
        "train_assistants",
        "train_filters",
        "train_generator",
        "export",
    ),
}
ADDED = {
    "parameters": {"torch", "tokenizers"},
    "tables": {"pandas", "matplotlib", "scipy", "jinja2", "seqeval"},
    "tokenizers": {"transformers"},
    "models": {"transformers.modeling_utils", "accelerate", "torch._dynamo", "sympy", "datasets"},
    "trainings": {"transformers.trainer", "onnx"},
}
#: What a user's own program asks a student by; they need no more than a training does.
COMMANDS = ("distill.answer", "distill.classify")
#: Imported by none of these before it needs them.
NEVER = {"dvc", "evaluate", "fastapi", "mlflow", "onnxruntime", "onnxscript", "openvino", "sklearn"}
SCRIPT = """
import importlib, json, sys
from pipeline.stage import paths
watched, steps, commands = json.loads(sys.argv[1])
for step, stages in steps.items():
    for stage in stages:
        importlib.import_module(f"pipeline.{stage}")
        if stage == "augment":
            paths.params(pinned=False)
    if step == "trainings":
        for command in commands:
            importlib.import_module(command)
    print(json.dumps([step, sorted(name for name in watched if name in sys.modules)]))
"""


def test_a_stage_imports_no_slow_library_that_it_does_not_need():
    """`torch` takes a second or two, what runs models three more, what trains them another: docs/scale.md."""
    assert sorted(name for names in STEPS.values() for name in names) == sorted(definition.scripts())
    watched = set().union(*ADDED.values(), NEVER)
    command = [sys.executable, "-c", SCRIPT, json.dumps([sorted(watched), STEPS, COMMANDS])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(micro.ROOT / "src"), str(micro.ROOT)])}
    done = subprocess.run(command, cwd=micro.ROOT, env=environment, capture_output=True, text=True, check=True)
    allowed: set[str] = set()
    for line in done.stdout.splitlines():
        step, imported = json.loads(line)
        allowed |= ADDED[step]
        assert set(imported) <= allowed, step
    assert {"torch", "transformers.trainer"} <= set(imported)
