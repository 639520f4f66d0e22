"""Which methods learn from a teacher with a tokenizer of its own, as stage plan decides, and the page that shows it.

`python -m tests.helpers.token_table` writes docs/two-tokenizers.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from distill import parameters
from distill.config.params import Params
from distill.methods import own_tokens, registry, requirements

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "two-tokenizers.md"
TASKS = {
    "classes, numbers": {"task": "classification", "data.embedded": "sentences"},
    "questions": {"task": "qa", "data.embedded": "questions"},
}
_COUNTS = {"student": 2, "teacher": 4}
# An assistant that starts by itself: those of params.yaml start from the teacher's layers, which is refused.
_LINK = {"init": "random", "layers": "uniform", "num_layers": None}
_PAGE = """# Two tokenizers

<!-- Written by `python -m tests.helpers.token_table` and compared with what stage plan says. -->

Teacher and student may be of families with different tokenizers: a DeBERTa-v3 teaches a MiniLM, a ModernBERT a
DistilBERT. Each reads its own tokens of the same texts:

```yaml
teacher:
  model: {{path: microsoft/deberta-v3-base, config: {{}}}}
  tokenizer: {{path: microsoft/deberta-v3-base}}
student:
  model: {{path: microsoft/MiniLM-L6-H384-uncased, config: {{}}}}
  tokenizer: {{path: microsoft/MiniLM-L6-H384-uncased}}
  init: pretrained
methods: [ft, kd, pkd]
```

A model without a `tokenizer` of its own reads by `features.tokenizer`, as both do by default. With `vocab_size` or
`lowercase` in place of `path`, a WordPiece is trained for it alone; `make preset NAME=embedded-two-tokenizers` is that,
offline. Two tokenizers that make the same tokens are one. Assistants and the generator read the student's tokens.

## What works

Stage `plan` refuses the rest before anything is trained, with the name of the method and the reason.

| method | classes, numbers | questions |
|---|---|---|
{table}

{notes}

Refused with every method, because the teacher's embeddings are of another vocabulary: `student.init: teacher_layers`,
`distill.init: teacher_layers`, and a first assistant with `init: teacher_layers`. Refused with `augment.methods`: the
copies are tokens of the student, which the teacher cannot read.

## Texts

Both models have one row for each text or pair, in the same order. `predict_teacher` runs the teacher on its own tokens
and writes its logits, and the first-token states that methods read, under the student's rows. A teacher cannot run
along with a student, so these states must fit in `cache.max_gb`; the stage says how much they need.
`features.max_length` counts the tokens of each model: where a text is cut, the two may see different parts of it
(`truncated` of each in `data/prepared/meta.json`).

## Questions

Both models have windows over the context, of `features.max_length` tokens each, which begin and end elsewhere. The
teacher's probabilities of starts and ends are moved to the student's tokens by the characters that they cover:

- A window of the student is taught by the teacher's window that shares most characters of the context with it; of
  several by the one that reaches farthest beyond it on its shorter side.
- The start of a token of the teacher goes to the student's token that holds its first character, its end to the one
  that holds its last. Of several tokens that share a character (byte-level ones), the start takes the first, the end
  the last.
- A character that no token of the student holds (a space, a control character): the start goes to the next token, the
  end to the one before; at the edge of the context, to the nearest. Answers become labels by the same rule.
- What lies outside of the student's window goes to its cls token, as the label of an answer outside does. So do the
  probabilities of the teacher's cls token, of its other special tokens and of the question's.

Nothing is lost: the probabilities of a window add up to 1 as before, to 1e-6. `predict_teacher` prints the share of
them that lies outside, and the share of the text that the teacher's window does not reach. The cache holds logarithms,
of at least {floor:g}.

## Words with tags

Of task `token_classification` both models have windows over the same words, and what works is what works on questions.
The teacher's logits of a word go to the token that stands for it in the student's window
([data.md](data.md#words-with-tags)); the words that the teacher's tokenizer leaves no token of their own are counted,
and their logits are 0.

## Scores and costs

`finetune_teacher`, `evaluate_teacher` and `cost` read the teacher's own tokens: its answers come from its own windows,
and its speed counts its own rows. Of questions, a row is a window, and the two models may have different numbers of
them. `data/prepared` has the teacher's features beside the student's (`<split>/teacher_features.arrow`,
`teacher_tokenizer/`), and `data/models/teacher` its tokenizer.
"""


def load(method: str, task: str, **changes: Any) -> Params:
    """params.yaml with one method, and a tokenizer for the teacher alone."""
    overrides = {"methods": [method], "teacher.tokenizer.vocab_size": 1000, "teacher.snapshots": 2}
    overrides |= TASKS[task] | changes
    params = parameters.load(ROOT / "tests/params.yaml", overrides)
    link = params.assistant.chain[0].model_copy(update=_LINK | {"model": params.student.model})
    return params.model_copy(update={"assistant": params.assistant.model_copy(update={"chain": [link]})})


def reason(method: str, task: str, **changes: Any) -> str:
    """Why a method is refused; empty: it works.

    Args:
        task: a key of `TASKS`.
        changes: dotted names to values, on top of params.yaml.
    """
    params = load(method, task, **changes)
    return own_tokens.reason(requirements.request(method, params, _COUNTS), params)


def options(method: str) -> dict[str, list[Any]]:
    """The settings that decide what a method reads, and may be one of a few values: name → the values."""
    kind = registry.load(method)
    found = {}
    for name in kind.layer_fields:
        annotation = kind.Config.model_fields[name].annotation
        if annotation is bool:
            found[f"{method}.{name}"] = [True, False]
        elif get_origin(annotation) is Literal:
            found[f"{method}.{name}"] = list(get_args(annotation))
    return found


def cell(method: str, task: str, numbers: dict[str, int]) -> str:
    """A cell of the table.

    Args:
        numbers: reason → number of its note, which grows.
    """
    why = reason(method, task)
    if why:
        return f"no ({numbers.setdefault(why, len(numbers) + 1)})"
    refused = {}
    for name, values in options(method).items():
        for value in values:
            if other := reason(method, task, **{name: value}):
                refused[f"`{name.partition('.')[2]}: {str(value).lower()}`"] = other
    extra = [f"no ({numbers.setdefault(other, len(numbers) + 1)}) with {given}" for given, other in refused.items()]
    return "; ".join(["yes", *extra])


def page() -> str:
    """The content of docs/two-tokenizers.md."""
    from distill.signals.log_probabilities import FLOOR

    numbers: dict[str, int] = {}
    lines = [
        f"| `{name}` | {' | '.join(cell(name, task, numbers) for task in TASKS)} |" for name in registry.available()
    ]
    notes = [f"{number}. It {why}." for why, number in numbers.items()]
    return _PAGE.format(table="\n".join(lines), notes="\n".join(notes), floor=FLOOR)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
