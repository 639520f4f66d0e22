"""docs/teachers.md: the lines from an LLM to a file run, on a stub, and the file teaches."""

import math
import re
import sys
import types

import numpy as np

from distill.signals.predictions import classes
from tests.helpers import stored
from tests.helpers.stored import Data

CLASSES = ("unfavourable", "favourable")
SENTENCES = {"a-1": ("A lovely square.", 0.75), "a-2": ('The "worst" bridge.', 0.1), "a-3": ("A mayor.", 0.5)}


def test_the_lines_of_the_page_make_a_file_that_is_read(root, tmp_path, monkeypatch):
    (code,) = re.findall(r"(?s)```python\n(.*?)```", (root / "docs/teachers.md").read_text(encoding="utf-8"))
    assert len([line for line in code.splitlines() if line.strip()]) <= 25

    def top_logprobs(prompt):
        share = next(share for text, share in SENTENCES.values() if text in prompt)
        return {" favour": math.log(0.8 * share), "Un": math.log(0.8 * (1 - share)), "The": math.log(0.2)}

    monkeypatch.setitem(sys.modules, "my_llm", types.SimpleNamespace(top_logprobs=top_logprobs))
    monkeypatch.chdir(tmp_path)
    lines = ["id\tsentence\tlabel", *(f"{key}\t{text}\tfavourable" for key, (text, _) in SENTENCES.items())]
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")
    exec(compile(code, "docs/teachers.md", "exec"), {"__name__": "page"})
    rows = [{"id": key, "text": text, "text_pair": None, "label": 1} for key, (text, _) in SENTENCES.items()]
    data = Data("classification", {"train": rows}, labels=list(CLASSES))
    read = stored.read(tmp_path / "outputs.jsonl", data)
    assert read.coverage == {"train": (3, 3)}
    shares = stored.softmax(read.logits("train")[0])
    assert np.allclose(shares[:, 1], [share for _, share in SENTENCES.values()], atol=1e-5)


def test_the_page_states_the_tolerance_that_the_code_has(root):
    text = (root / "docs/teachers.md").read_text(encoding="utf-8")
    assert f"up to {classes.TOLERANCE:g}" in text
