"""What works with each family of models, found by trying it.

`python -m tests.helpers.family_table` tries every family with every task and method, in minutes, and writes
docs/families.md. Tests try less (`result`), and compare the page with what they find.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from distill.config.schema import Model
from distill.errors import UserError
from distill.methods import registry
from distill.models import architecture, loading, windows
from distill.models.forward import autocast, forward_pass, reads_token_types
from distill.models.initialization import from_layers
from distill.tasks.base import Task
from tests.helpers import families, family_methods
from tests.helpers.family_batches import TASKS, WIDTH, batch, rows
from tests.helpers.family_methods import Pair

NO_HEAD = "transformers has no head for the task"
#: Families that torch 2.13 does not export. All were tried; tests repeat a few, for each export takes seconds.
NOT_EXPORTED = ("longformer", "funnel", "xlnet")


def _heads() -> dict[str, list[str]]:
    heads: dict[str, list[str]] = {}
    for name in sorted(TASKS, key=lambda name: (name != "classification", name)):
        heads.setdefault(TASKS[name].auto_class().__name__, []).append(name)
    return {names[0]: names for names in heads.values()}


#: A task for each kind of head → all tasks whose models have that head; what works is the same for them.
HEADS = _heads()


@dataclass(frozen=True)
class Result:
    """What was tried with a family; an empty text where it works, else the reason of the refusal.

    Attributes:
        tasks: by task of `HEADS`, with the family's own tokenizer.
        shared: the same with BERT's tokenizer, as beside a BERT as teacher or student.
        half: training in bf16.
        layers: a student of the first and the last but one of four layers.
        types: whether its models tell two texts apart by token types.
        methods: by task of `HEADS` and method; without tasks that the family is refused for, with either tokenizer.
    """

    tasks: dict[str, str]
    shared: dict[str, str]
    half: str
    layers: str
    types: bool
    methods: dict[str, dict[str, str]] = field(default_factory=dict)


def result(family: str, everything: bool = False) -> Result:
    """Everything that is shown of a family.

    Stage plan's refusals are looked at for every kind of head and every method. Methods that are not refused are run:
    one for each column of the page for the first kind of head that the family has, kd for the others. The loss of ft is
    a term of kd's.

    Args:
        everything: runs every method for every task.

    Raises:
        AssertionError: what is not refused does not work, or tasks with the same head differ.
    """
    found = _result(family, list(HEADS), everything)
    for head, names in HEADS.items() if everything else ():
        for name in names[1:]:
            other = _result(family, [name], True)
            for part in ("tasks", "shared", "methods"):
                same = getattr(found, part).get(head, {}), getattr(other, part).get(name, {})
                assert not _differ(*same), f"{family}: {name} differs from {head}: {same}"
    return found


def _differ(one: str | dict[str, str], other: str | dict[str, str]) -> bool:
    """Whether one is refused and the other is not; methods that only one of two tasks has do not count."""
    if isinstance(one, dict):
        return any(bool(one[name]) != bool(other[name]) for name in one.keys() & other.keys())
    return bool(one) != bool(other)


def _result(family: str, names: list[str], everything: bool) -> Result:
    tasks, shared, methods, half, types = {}, {}, {}, "", False
    for name in names:
        task = TASKS[name]
        if type(families.config(family)) not in task.auto_class()._model_mapping:
            tasks[name] = shared[name] = NO_HEAD
            continue
        model = families.model(family, task)
        loading.silence_padding(model, 0)
        tasks[name] = shared[name] = refusal(model, task, family)
        if family in families.TEMPLATES:
            shared[name] = refusal(model, task, "bert")
        assert planned(family, task) == ("padding a row to" in shared[name]), f"{family}: {name}: stage plan differs"
        if name == "classification":
            half, types = in_half_precision(model, task), reads_token_types(model)
        if not tasks[name] or not shared[name]:
            run = family_methods.columns().keys() - {"ft"} if not methods else {"kd"}
            methods[name] = of_methods(
                family, task, "bert" if tasks[name] else family, model, None if everything else run
            )
    return Result(tasks, shared, half, copied(family), types, methods)


def of_methods(
    family: str, task: Task, template: str, student: PreTrainedModel, run: Set[str] | None
) -> dict[str, str]:
    """Why each method that learns the task is refused with the family; empty where it is not.

    Args:
        template: the family whose tokenizer is taken.
        student: a model of the family.
        run: the methods to run besides; None: all.
    """
    pair = Pair(family, task, template, batch(task, template), student)
    listed = [name for name in registry.available() if family_methods.fits_task(name, task.name)]
    reasons = {name: pair.refusal(name) for name in listed}
    for name in listed:
        if not reasons[name] and (run is None or name in run):
            pair.check(name)
    return reasons


def refusal(model: PreTrainedModel, task: Task, template: str) -> str:
    """Why the pipeline refuses a model with the tokenizer of the family `template`; empty where it works."""
    try:
        made = rows(task, template)
        windows.check_window(model, task, made, 0, "fp32", "teacher")
        windows.check_padding(model, task, made, 0, "teacher", WIDTH)
    except UserError as error:
        return str(error)
    check_states(model, task, made)
    return ""


def planned(family: str, task: Task) -> bool:
    """Whether stage plan refuses the family, by its configuration alone."""
    try:
        architecture.check(families.config(family), task, "teacher", separators=lambda: architecture.MOST_SEPARATORS)
    except UserError:
        return True
    return False


def check_states(model: PreTrainedModel, task: Task, made: list[windows.Row]) -> None:
    """The hidden states that methods read are one per token of every layer, embeddings first."""
    batch = windows.batch_of(made[0], WIDTH, 0)
    with torch.no_grad():
        outputs = forward_pass(model, task, batch, hidden=True)
    assert len(outputs.hidden) == model.config.num_hidden_layers + 1
    assert {tuple(state.shape) for state in outputs.hidden} == {(1, WIDTH, model.config.hidden_size)}


def copied(family: str) -> str:
    """Why no student can be made of the family's layers; empty where it works."""
    task = TASKS["classification"]
    field = {"xlnet": "n_layer", "flaubert": "n_layers", "xlm": "n_layers", "distilbert": "n_layers"}.get(family)
    fields = {"block_sizes": [2, 2]} if family == "funnel" else {field or "num_hidden_layers": 4}
    if family == "longformer":
        fields["attention_window"] = [8] * 4
    try:
        student = from_layers(
            Model(path=None, revision=None, config={}), families.model(family, task, **fields), [1, 3], task, 0
        )
    except UserError as error:
        return str(error)
    assert student.config.num_hidden_layers == 2
    return ""


def in_half_precision(model: PreTrainedModel, task: Task) -> str:
    """Why a model is not trained in bf16; empty where it is."""
    try:
        windows.check_window(model, task, rows(task, "bert"), 0, "bf16", "teacher")
    except UserError as error:
        return str(error)
    batch = windows.batch_of(rows(task, "bert")[0], WIDTH, 0)
    with autocast("cpu", "bf16"):
        forward_pass(model.train(), task, batch).logits.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    model.eval()
    return ""


if __name__ == "__main__":
    from tests.helpers import family_page

    family_page.PAGE.write_text(
        family_page.page({family: result(family, everything=True) for family in families.SHAPES}), encoding="utf-8"
    )
