"""The benchmark of commands over files: rows of the output, and memory of the process."""

import re

from benchmarks import file_memory
from tests.helpers import exported, micro


def test_each_file_is_answered_whole(tmp_path, capsys, monkeypatch):
    for name, value in micro.environment(PYTHONPATH=str(micro.ROOT / "src")).items():
        monkeypatch.setenv(name, value)
    folder = exported.classifier(tmp_path / "export", ["bad", "good"])
    file_memory.main([folder, "--rows", "50", "--words", "3", "--format", "csv"])
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"50 rows: peak [1-9][\d,]* MB, [\d.]+ s, [\d,]+ rows/s", line)
