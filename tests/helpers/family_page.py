"""docs/families.md: what `tests.helpers.family_table` finds, for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from distill.models import windows
from tests.helpers import family_methods
from tests.helpers.family_batches import WIDTH
from tests.helpers.family_table import HEADS, NO_HEAD, NOT_EXPORTED, Result

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
#: Part of a refusal → what the page says of it.
_NOTES = {
    "padding a row to": "Padding moves its logits: it computes with padding as with words, so a score would depend on"
    " the other rows of the batch. Refused by stage `plan`.",
    "puts no cls token": "Its tokenizer puts no cls token in front of a text, where the heads read. Refused by stage"
    " `prepare`.",
    "separator": "Its head for questions finds the question by the three separators that RoBERTa's tokenizer puts"
    " around a pair. Refused by stage `plan`.",
    "precision: bf16": "Its code mixes the two precisions. Refused by stage `plan`.",
    "no numbered layers": "Its layers share one set of weights, or their parts are not numbered together. Refused by"
    " stage `plan`: take another `student.init`.",
    "cannot export": "torch 2.13 cannot export it. Refused by stage `export`; the checkpoint itself works.",
    "cannot be built": "Its layers stand in blocks of given sizes. Refused by stage `plan`: take another"
    " `student.init`.",
    "attention scores were seen": "Its attention has no scores of all pairs of tokens. Refused by stage `plan`.",
    "no projections that give": "Its layers have no modules that give a query, a key and a value for each token."
    " Refused by stage `plan`.",
    "for word embeddings": "Its code looks at the words themselves besides their embeddings, or has no plain table of"
    " embeddings: what is changed in the embeddings would be another text. Refused by stage `plan`.",
}
_TEMPLATE = """# Families of models

<!-- Written by `python -m tests.helpers.family_table` and compared with what the tests find. -->

The pipeline takes any encoder of transformers that has the task's head. Two tables say what works with which family.
Tests try it with tiny models of random weights. A family is named by its `model_type`. Whatever does not work is
refused in one line that names why, before anything is trained.

## Families and tasks

| family | {heads} | bf16 | layers to copy | token types | ONNX |
|{rules}
{tasks}

- **the tasks**, one column for each kind of head: "yes" means, for a teacher and for a student, that its tokenizer's
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

## Families and methods

Between two models of the family, with the method's settings of `params.yaml`. "yes" means that every step of the
method gives finite losses that do not change where the batch is padded further, and a gradient in the student's first
and last layer. The task changes the result only where a cell says so; which method learns which task is in
[tasks.md](tasks.md). "–": no task works with the family (see above).

| family | {columns} |
|{column_rules}
{methods}

{alike}

With `form: attention`, `relation` compares attention scores, so it is refused where `tinybert` is. A layer with a
window of attention (ModernBERT, Longformer) gives next to no weight to tokens outside of it; where the other model's
layer has no window, the difference is part of the loss. Let the layer map pair layers of one kind.

## Notes

{notes}

The tokenizers of XLM and FlauBERT are no fast ones: these two work with another family's tokenizer alone.

Three families are changed a little when a checkpoint is loaded, so that they work:

- **MobileBERT** reads the embeddings of neighbouring words. The embedding of padding is set to zeros, which is what it
  sees at the end of an unpadded row.
- **BigBird** attends to blocks of words in long batches and to all words after its first short one. It is set to
  `attention_type: original_full`, for windows of up to 4,096 tokens.
- **DeBERTa** (the first) masks with a number that bfloat16 does not have. It is limited to the least that there is.

What `make test-all` tries of this: every refusal, for every family, kind of head and method; every column of the second
table for every family, with one kind of head; `kd` with the others; every method with every task, for BERT. `make test`
leaves out families that only their name sets apart from another. The command that writes this page tries every family
with every method and every task.
"""


def page(results: Mapping[str, Result]) -> str:
    """The content of the page."""
    columns = family_methods.columns()
    others = {name: [f"`{other}`" for other in alike if other != name] for name, alike in columns.items()}
    stands = [f"`{name}` stands for {_listed(names)} too" for name, names in others.items() if names]
    heads = [", ".join(f"`{name}`" for name in names) for names in HEADS.values()]
    numbered = [f"{number}. {note}" for number, note in enumerate(_NOTES.values(), start=1)]
    return _TEMPLATE.format(
        heads=" | ".join(heads),
        rules="---|" * (len(heads) + 5),
        tasks="\n".join(task_line(family, found) for family, found in results.items()),
        width=WIDTH,
        tolerance=windows.TOLERANCE,
        columns=" | ".join(f"`{name}`" for name in columns),
        column_rules="---|" * (len(columns) + 1),
        methods="\n".join(method_line(family, found) for family, found in results.items()),
        alike=f"{'; '.join(stands)}: they do the same with models.",
        notes="\n".join(numbered),
    )


def task_line(family: str, found: Result) -> str:
    """The family's row of the first table."""
    tasks, shared = ([_cell(reason) for reason in found.values()] for found in (found.tasks, found.shared))
    cells = [
        mine if mine == other else f"{mine}; {other} with BERT's" for mine, other in zip(tasks, shared, strict=True)
    ]
    cells += [_cell(found.half), _cell(found.layers), "yes" if found.types else "no"]
    cells.append(_cell("cannot export" if family in NOT_EXPORTED else ""))
    return f"| {family} | {' | '.join(cells)} |"


def method_line(family: str, found: Result) -> str:
    """The family's row of the second table.

    Raises:
        AssertionError: methods that share a column differ.
    """
    cells = []
    for name, alike in family_methods.columns().items():
        by_head = {}
        for head, reasons in found.methods.items():
            each = {other: _cell(reasons[other]) for other in alike if other in reasons}
            assert len(set(each.values())) <= 1, f"{family}: {head}: {each}: give {name} and the others columns"
            by_head.update((head, cell) for cell in each.values())
        usual = next(iter(by_head.values()), "–")
        exceptions = [f"{cell} on {', '.join(HEADS[head])}" for head, cell in by_head.items() if cell != usual]
        cells.append("; ".join([usual, *exceptions]))
    return f"| {family} | {' | '.join(cells)} |"


def _cell(reason: str) -> str:
    if reason in ("", NO_HEAD):
        return "–" if reason else "yes"
    return next(f"no ({number})" for number, part in enumerate(_NOTES, start=1) if part in reason)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
