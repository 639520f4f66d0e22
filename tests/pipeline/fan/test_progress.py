"""What a fan-out shows: a table on a terminal, a line for each change elsewhere."""

import io
import time

from rich.console import Console

from pipeline.fan import progress as module
from pipeline.fan.jobs import Job
from pipeline.fan.journal import Running
from pipeline.fan.progress import Progress


def running(seed: int, minutes: float) -> Running:
    job = Job("students", ((f"distill@kd-{seed}", f"evaluate@kd-{seed}"),))
    return Running(job, "4711", 0, time.time() - 60 * minutes)


def test_without_a_terminal_each_end_tells_the_cost_so_far(capsys):
    with Progress(price=6.0, slots=2) as progress:
        progress.before(1800, 0)
        progress.ended(running(1, 30), "done")
        progress.ended(running(2, 60), "lost")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("students-kd-1-") and lines[0].endswith(": done after 30 min 00 s, cost so far 6.00")
    assert lines[1].endswith("cost so far 12.00") and lines[2].endswith("cost 12.00")


def test_a_terminal_has_a_table_of_jobs(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(module, "Console", lambda **options: console)
    with Progress(price=6.0, slots=2) as progress:
        progress.show([(running(1, 30), "running")], waiting=7)
    text = screen.getvalue()
    for words in ("students-kd-1", "running", "7 stages wait", "0 jobs done", "cost 3.00"):
        assert words in text, words
