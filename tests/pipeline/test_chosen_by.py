"""Which score a training chooses its weights by: written down where one does, so that another trains nothing else."""

from types import SimpleNamespace

import yaml

from distill import parameters
from distill.config import reading
from distill.methods import registry
from pipeline.inputs import TRAININGS, chosen_by
from tests.helpers import micro

LAST = {"teacher_filters.keep": "last", "student_filters.keep": "last"}  # the project's filters keep their best weights


def metrics(**changes) -> dict[str, str | None]:
    """Training → the score that is written down for it."""
    changes = LAST | {name.replace("__", "."): value for name, value in changes.items()}
    text = micro.params({"evaluate.metric": "em"} | changes)
    return chosen_by(parameters.parse(reading.parse(text, "params.yaml"), "params.yaml"))


def choosing(**changes) -> list[str]:
    return sorted(name for name, metric in metrics(**changes).items() if metric == "em")


def test_trainings_that_keep_their_last_weights_hang_on_no_score():
    written = metrics(methods=["ft", "kd", "ted"])
    assert written == dict.fromkeys([*TRAININGS, "ft", "kd", "ted"])


def test_a_training_that_chooses_by_a_score_hangs_on_it_and_no_other():
    assert choosing(student__keep="best", teacher__evaluations=3, teacher__patience=1) == ["student", "teacher"]
    assert choosing(student_filters__keep="best") == ["student_filters"]
    early = {"method": "kd", "distill": {"keep": "best", "evaluations": 1}}
    assert choosing(methods=["kd", "kd-early"], **{"kd-early": early}) == ["kd-early"]
    members = {
        "ensemble.members": ["two", "three"],
        "two": {"teacher": {"keep": "best", "evaluations": 1}},
        "three": {"teacher": {}},
    }
    assert choosing(teacher__source="ensemble", methods=["ft", "kd"], **members) == ["two"]
    assert choosing(distill__keep="best", distill__evaluations=1, methods=["ft", "kd"]) == ["ft", "kd"]


def test_a_method_whose_phases_keep_their_best_weights_says_so():
    params = parameters.parse(reading.parse(micro.params(), "params.yaml"), "params.yaml")
    assert params.distill.keep == "last"
    by_phases = set()
    for name in registry.available():
        method = SimpleNamespace(config=params.sections[name], task=SimpleNamespace(has_classes=True))
        phases = registry.load(name).phases(method, params.distill)
        if any(phase.changes.get("keep") == "best" for phase in phases):
            by_phases.add(name)
    assert by_phases == {name for name in registry.available() if registry.load(name).chooses(params)} != set()


def test_stages_that_train_depend_on_what_is_written_down_and_not_on_the_parameter():
    stages = yaml.safe_load((micro.ROOT / "dvc.yaml").read_text())["stages"]
    names = [name for name, entry in stages.items() if {"evaluate", "evaluate.metric"} & set(entry.get("params", []))]
    assert all(name.startswith(("evaluate", "summarize", "export")) for name in names) and "summarize" in names
    for name, entry in stages.items():
        if "training" in entry.get("params", []) and name not in ("train_generator", "export"):
            wanted = ("data/inputs/chosen_by/", "data/inputs/methods/")
            assert any(dep.startswith(wanted) for dep in entry["deps"]), name
