"""SQuAD JSON (v1.1 and v2.0) -> rows in the Hugging Face SQuAD schema, with every value checked on the way.

A row is `{"id", "title", "context", "question", "answers": {"text": [str], "answer_start": [int]}}`; empty `answers`
mean that the question has none. `answer_start` counts characters (code points), as in the official files. `title` is ""
where the data has none (XQuAD).

Formats: https://rajpurkar.github.io/SQuAD-explorer (v1.1: Rajpurkar et al. 2016; v2.0: Rajpurkar et al. 2018).
"""

import json
from pathlib import Path
from typing import Any, NoReturn

from distill.errors import UserError
from distill.runtime import json_text

Row = dict[str, Any]

_SHAPE = 'SQuAD JSON is {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}'
_KINDS = {str: "a string", list: "a list", dict: "an object", int: "a whole number", bool: "true or false"}
_MISSING = object()


def load_squad_json(path: str | Path, version_2: bool, answered: bool = True) -> list[Row]:
    """Reads one SQuAD file.

    Whether a question is answerable is decided by its `answers`, as in the official evaluator; `is_impossible: true`
    beside answers is a contradiction and refused. v1.1 files, which have no `is_impossible`, are read too. A question
    whose `answers` are null has no gold label: it is left out, and counted aloud.

    Args:
        path: the JSON file, UTF-8.
        version_2: False drops the questions that have no answer (SQuAD v1.1 mode).
        answered: False keeps all questions and reads no answers: they are None in every row, and need not be there.

    Returns:
        Rows in the file's order. Questions of one paragraph share one context string.

    Raises:
        UserError: missing or malformed file, wrong shape, wrong or missing value, answer not at its offset, duplicate
            id, no answerable question.
    """
    document = _parse(Path(path))
    rows: list[Row] = []
    for a, article in enumerate(get(document, "data", list, str(path), "top level")):
        at = f"data[{a}]"
        title = title_of(article, str(path), at)
        named = f" (article {show(title)})" if title else ""
        for p, paragraph in enumerate(get(article, "paragraphs", list, str(path), f"{at}{named}")):
            at = f"data[{a}].paragraphs[{p}]"
            context = text(paragraph, "context", str(path), f"{at}{named}")
            for q, item in enumerate(get(paragraph, "qas", list, str(path), f"{at}{named}")):
                rows.append(_question(item, title, context, str(path), f"{at}.qas[{q}]", answered))
    return finish(rows, str(path), version_2) if answered else finish_unanswered(rows, str(path))


def finish_unanswered(rows: list[Row], file: str) -> list[Row]:
    """Checks what concerns all rows of a file or split without answers together.

    Raises:
        UserError: an id used twice, or no question.
    """
    check_ids({file: rows})
    if not rows:
        fail(file, "questions", "there are none", "add some")
    return rows


def finish(rows: list[Row], file: str, version_2: bool) -> list[Row]:
    """Checks what concerns all rows of a file or split together, and drops unanswerable ones unless `version_2`.

    Rows whose `answers` are None, which nobody has answered, are dropped in any case; their number is printed.

    Raises:
        UserError: an id used twice, or no answerable question.
    """
    check_ids({file: rows})
    total, rows = len(rows), [row for row in rows if row["answers"] is not None]
    if total and not rows:
        fail(file, "answers", f"{total} of {total} questions have null for their answers", "choose data with answers")
    if len(rows) < total:
        print(f"  dropped {total - len(rows):,} questions whose answers are null: {file}", flush=True)
    answerable = [row for row in rows if row["answers"]["text"]]
    if not answerable:
        fail(file, "answers", f"none of the {len(rows)} questions has an answer", "add answerable questions")
    return rows if version_2 else answerable


def check_ids(sources: dict[str, list[Row]]) -> None:
    """Checks that no question id is used twice, within one source or across them.

    Args:
        sources: rows by name of their file or split.
    """
    seen: dict[str, tuple[str, Row]] = {}
    for file, rows in sources.items():
        for row in rows:
            earlier_file, earlier = seen.setdefault(row["id"], (file, row))
            if earlier is not row:
                fail(
                    file,
                    f"id = {show(row['id'])} ({_owner(row)})",
                    f"already used in {earlier_file} for {show(earlier['question'])} ({_owner(earlier)})",
                    "give every question an id of its own",
                )


def check_answers(context: str, texts: list[str], starts: list[int], file: str, at: str) -> None:
    """Checks that each answer stands in the context where its offset says.

    Args:
        context: the paragraph.
        texts: the gold answers.
        starts: their offsets in characters, as many as `texts`.
        file: name for the error message.
        at: the question's place in the file, for the error message.

    Raises:
        UserError: blank answer, or another text at its offset (says where the answer occurs, if it does).
    """
    for i, (answer, start) in enumerate(zip(texts, starts, strict=True)):
        if not answer.strip():
            fail(file, f"{at}.answers[{i}].text", f"is {show(answer)}, blank", "remove it or write the answer")
        if start >= 0 and context.startswith(answer, start):
            continue
        positions = [k for k in range(len(context)) if context.startswith(answer, k)]
        if positions:
            nearest = min(positions, key=lambda k: abs(k - start))
            fix = f"it occurs at {nearest}: set answer_start to {nearest}"
        else:
            fix = "it does not occur in the context: correct the answer or the context"
        actual = show(context[start : start + len(answer)]) if 0 <= start < len(context) else "nothing"
        length = f" of a context of {len(context)} characters" if actual == "nothing" else ""
        fail(file, f"{at}.answers[{i}].answer_start = {start}", f"holds {actual}{length}, not {show(answer)}", fix)


def get(owner: Any, key: str, kind: type, file: str, at: str) -> Any:
    """Returns `owner[key]` after checking that it is there and of type `kind`."""
    if not isinstance(owner, dict):
        fail(file, at, f"is {show(owner)}, not an object", _SHAPE)
    value = owner.get(key, _MISSING)
    if value is _MISSING:
        fail(file, at, f'key "{key}" is missing', _SHAPE)
    # bool is a subclass of int, and `"answer_start": true` is not an offset.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        fail(file, f"{at}.{key}", f"is {show(value)}", f"it must be {_KINDS[kind]}")
    return value


def text(owner: Any, key: str, file: str, at: str) -> str:
    """Returns the string `owner[key]` after checking that it is neither blank nor unencodable."""
    value = get(owner, key, str, file, at)
    if not value.strip():
        fail(file, f"{at}.{key}", f"is {show(value)}, blank", f"fill in the {key} or remove its entry")
    return encodable(value, file, f"{at}.{key}")


def encodable(value: str, file: str, field: str) -> str:
    """The string, after checking that it can be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        fail(file, field, f"holds half a surrogate pair at character {error.start}", "write valid Unicode")
    return value


def title_of(owner: Any, file: str, at: str) -> str:
    """The title of an article, "" where it has none, or a blank one."""
    if not isinstance(owner, dict) or owner.get("title") is None:
        return ""
    title = get(owner, "title", str, file, at)
    return text(owner, "title", file, at) if title.strip() else ""


def show(value: Any) -> str:
    """A value as JSON on one line, cut to 60 characters."""
    if isinstance(value, str) and len(value) > 120:
        value = value[:120]
    try:
        shown = json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:  # writing takes more of the stack than reading
        return f"{'a list' if isinstance(value, list) else 'an object'} nested deep"
    return shown if len(shown) <= 60 else shown[:59] + "…"


def fail(file: str, field: str, problem: str, fix: str) -> NoReturn:
    """Raises the UserError `file: field: problem; fix`, in one line."""
    raise UserError(f"{file}: {field}: {problem}; {fix}")


def _parse(path: Path) -> Any:
    fix = "check data.train and data.validation"
    if not path.is_file():
        fail(str(path), "file", "is a folder" if path.is_dir() else "does not exist", fix)
    try:
        return json_text.parse(path.read_text(encoding="utf-8-sig"))
    except json_text.JsonError as error:
        at = "file" if error.line is None else f"line {error.line}, column {error.column}"
        fail(str(path), at, error.problem, _SHAPE)
    except UnicodeDecodeError as error:
        fail(str(path), f"byte {error.start}", f"is not UTF-8 ({error.reason})", "save the file as UTF-8")


def _question(item: Any, title: str, context: str, file: str, at: str, answered: bool) -> Row:
    question_id = text(item, "id", file, at)
    at = f"{at} (question {show(question_id)})"
    question = text(item, "question", file, at)
    # v2.0 test sets and some exports leave the list out of impossible questions.
    impossible = get(item, "is_impossible", bool, file, at) if "is_impossible" in item else False
    row = {"id": question_id, "title": title, "context": context, "question": question}
    if not answered:
        return row | {"answers": None}
    if item.get("answers", _MISSING) is None and not impossible:
        return row | {"answers": None}
    answers = [] if impossible and item.get("answers") is None else get(item, "answers", list, file, at)
    if impossible and answers:
        fail(file, f"{at}.is_impossible", f"is true beside {len(answers)} answers", "set it to false or empty answers")
    places = [f"{at}.answers[{i}]" for i in range(len(answers))]
    texts = [get(answer, "text", str, file, place) for answer, place in zip(answers, places, strict=True)]
    starts = [get(answer, "answer_start", int, file, place) for answer, place in zip(answers, places, strict=True)]
    check_answers(context, texts, starts, file, at)
    return row | {"answers": {"text": texts, "answer_start": starts}}


def _owner(row: Row) -> str:
    """What a question is about, for people."""
    return f"article {show(row['title'])}" if row["title"] else f"context {show(row['context'])}"
