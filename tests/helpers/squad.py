"""Documents in SQuAD's format, rows of the hub, and what refuses them."""

import json
from pathlib import Path

import pytest

from distill.data.sources import question_sets
from distill.errors import UserError

CONTEXT = "Zürich lies on the Limmat. The Limmat flows from Lake Zürich."


def question(id_: str, answer: str | None = "Limmat", start: int = 19, **more) -> dict:
    answers = [] if answer is None else [{"text": answer, "answer_start": start}]
    return {"id": id_, "question": f"What is {id_}?", "answers": answers, **more}


def document(*qas: dict, title: str = "Zürich", context: str = CONTEXT) -> dict:
    return {"version": "x", "data": [{"title": title, "paragraphs": [{"context": context, "qas": list(qas)}]}]}


def save(folder: Path, content: object, name: str = "train.json") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def refused(path: str, *parts: str, version_2: bool = True) -> None:
    """Loading fails with one line that starts with the file and holds every part."""
    with pytest.raises(UserError) as caught:
        question_sets.load_squad_json(path, version_2)
    check_line(str(caught.value), path, *parts)


def check_line(message: str, file: str, *parts: str) -> None:
    assert message.startswith(f"{file}: ")
    assert len(message.splitlines()) == 1
    assert ";" in message  # what is wrong; the fix
    for part in parts:
        assert part in message


def hub_row(id_: str, **more) -> dict:
    answers = {"text": ["Limmat"], "answer_start": [19]}
    row = {"id": id_, "title": "Zürich", "context": CONTEXT, "question": f"What is {id_}?", "answers": answers}
    return row | more
