"""What works with each family of models, found by trying it, and the page that shows it.

`python -m tests.helpers.family_table` writes docs/families.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch
from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto

from distill.config.schema import Model
from distill.data.features import question_features, text_features
from distill.data.loading.template import with_token_types
from distill.errors import UserError
from distill.models import loading, windows
from distill.models.forward import autocast, forward_pass, reads_token_types
from distill.models.initialization import from_layers
from distill.tasks.base import Task
from distill.tasks.registry import load_task
from tests.helpers import families, text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
TASKS = {
    "qa": load_task("qa"),
    "classification": load_task("classification", labels=("a", "b", "c")),
    "regression": load_task("regression"),
}
#: Tokens that rows are padded to.
WIDTH = 128
# Rows of odd and even lengths: some architectures lose the last token of one kind.
_WORDS = [" ".join(f"w{(3 * number + length) % 35}" for number in range(length)) for length in (60, 8, 9, 21)]
_MAPPINGS = {
    "qa": modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    "classification": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "regression": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
}

_NO_HEAD = "transformers has no head for the task"
#: Part of a refusal → what the page says of it.
_NOTES = {
    "padding a row to": "Padding moves its logits: it computes with padding as with words, so a score would depend on"
    " the other rows of the batch. Refused by the stage that trains it, before the first update.",
    "puts no cls token": "Its tokenizer puts no cls token in front of a text, where the heads read. Refused by stage"
    " `prepare`.",
    "separator": "Its head for questions finds the question by the three separators that RoBERTa's tokenizer puts"
    " around a pair. Refused by the stage that trains it, before the first update.",
    "precision: bf16": "Its code mixes the two precisions. Refused by the stage that trains it, before the first"
    " update.",
    "no numbered layers": "Its layers share one set of weights, or their parts are not numbered together. Take another"
    " `student.init`.",
    "cannot export": "torch 2.13 cannot export it. Refused by stage `export`; the checkpoint itself works.",
    "cannot be built": "Its layers stand in blocks of given sizes. Take another `student.init`.",
}
#: Families that torch 2.13 does not export. All were tried; tests repeat a few, for each export takes seconds.
NOT_EXPORTED = ("longformer", "funnel", "xlnet")
_PAGE = """# Families of models

<!-- Written by `python -m tests.helpers.family_table` and compared with what the tests find. -->

The pipeline takes any encoder of transformers that has the task's head. This table says what works with which family;
tests try every cell with tiny models of random weights. A family is named by its `model_type`.

| family | questions | classes | numbers | bf16 | layers to copy | token types | ONNX |
|---|---|---|---|---|---|---|---|
{table}

- **questions, classes, numbers** (tasks `qa`, `classification`, `regression`): "yes" means that its tokenizer's
  template has the special tokens that the head reads, that padding a row to {width} tokens moves no logit by more than
  {tolerance:g} standard deviations, and that methods can read a hidden state for every token of every layer. "with
  BERT's" is the same with BERT's tokenizer, where that differs. Any two rows can be teacher and student: with one
  tokenizer for both, or [each with its own](two-tokenizers.md), which not every method can do with. "–" means that
  transformers has no such head.
- **bf16**: it trains under bfloat16 autocast (`precision: bf16`).
- **layers to copy**: a student may be made of a teacher's layers (`init: teacher_layers`). Each layer keeps its own
  kind (ModernBERT's and Longformer's attention). A ModernBERT's first layer has no norm before its attention: another
  layer in its place loses that norm, and the teacher's first layer can only be the student's first.
- **token types**: it tells two texts apart by them. They come from the template of the tokenizer; where that has none,
  all are 0 and the stage says so. Models with one type, or none, get none.
- **ONNX**: stage `export` writes it, with PyTorch's logits. The stage compares them again for every model.

{notes}

The tokenizers of XLM and FlauBERT are no fast ones: these two work with another family's tokenizer alone.

Three families are changed a little when a checkpoint is loaded, so that they work:

- **MobileBERT** reads the embeddings of neighbouring words. The embedding of padding is set to zeros, which is what it
  sees at the end of an unpadded row.
- **BigBird** attends to blocks of words in long batches and to all words after its first short one. It is set to
  `attention_type: original_full`, for windows of up to 4,096 tokens.
- **DeBERTa** (the first) masks with a number that bfloat16 does not have. It is limited to the least that there is.
"""


@dataclass(frozen=True)
class Result:
    """What was tried with a family; an empty text where it works, else the reason of the refusal.

    Attributes:
        tasks: by task, with the family's own tokenizer.
        shared: by task, with BERT's tokenizer, as beside a BERT as teacher or student.
        half: training in bf16.
        layers: a student of the first and the last but one of four layers.
        types: whether its models tell two texts apart by token types.
    """

    tasks: dict[str, str]
    shared: dict[str, str]
    half: str
    layers: str
    types: bool


def rows(task: Task, family: str) -> list[windows.Row]:
    """The tokens of `table`, row by row."""
    made = table(task, family).to_pylist()
    return [{name: row[name] for name in ("input_ids", "token_type_ids") if name in row} for row in made]


def table(task: Task, family: str) -> pa.Table:
    """Rows of the task as stage prepare makes them with the family's tokenizer, the longest first.

    Raises:
        UserError: the tokenizer is refused.
    """
    tokenizer = with_token_types(families.tokenizer(family))
    if task.name == "qa":
        empty = {"text": [], "answer_start": []}
        questions = [
            {"id": str(i), "question": "w1 w2?", "context": words, "answers": empty} for i, words in enumerate(_WORDS)
        ]
        return pa.Table.from_batches(list(question_features.encode(questions, tokenizer, WIDTH, 8)))
    pairs = text.rows([(words, "w3 w4") for words in _WORDS], [0] * len(_WORDS))
    encoded = text_features.encode(pairs, tokenizer, WIDTH, numeric=task.name == "regression")
    return pa.Table.from_batches([batch for batch, _ in encoded])


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


def result(family: str) -> Result:
    """Everything that is shown of a family."""
    tasks, shared, half, types = {}, {}, "", False
    for name, task in TASKS.items():
        if family.split()[0] not in _MAPPINGS[name]:
            tasks[name] = shared[name] = _NO_HEAD
            continue
        model = families.model(family, task)
        loading.silence_padding(model, 0)
        tasks[name] = shared[name] = refusal(model, task, family)
        if family in families.TEMPLATES:
            shared[name] = refusal(model, task, "bert")
        if name == "classification":
            half, types = in_half_precision(model, task), reads_token_types(model)
    return Result(tasks, shared, half, copied(family), types)


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
    return ""


def page(results: dict[str, Result]) -> str:
    """The content of docs/families.md."""
    notes = list(_NOTES.values())

    def cell(reason: str) -> str:
        if reason in ("", _NO_HEAD):
            return "–" if reason else "yes"
        return next(f"no ({notes.index(note) + 1})" for part, note in _NOTES.items() if part in reason)

    lines = []
    for family, found in results.items():
        tasks, shared = ([cell(reason) for reason in found.values()] for found in (found.tasks, found.shared))
        cells = [
            mine if mine == other else f"{mine}; {other} with BERT's" for mine, other in zip(tasks, shared, strict=True)
        ]
        cells += [cell(found.half), cell(found.layers), "yes" if found.types else "no"]
        cells.append(cell("cannot export" if family in NOT_EXPORTED else ""))
        lines.append(f"| {family} | {' | '.join(cells)} |")
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, start=1)]
    return _PAGE.format(width=WIDTH, tolerance=windows.TOLERANCE, table="\n".join(lines), notes="\n".join(numbered))


if __name__ == "__main__":
    PAGE.write_text(page({family: result(family) for family in families.SHAPES}))
