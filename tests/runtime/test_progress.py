"""distill.runtime.progress: what a log gets to see."""

import time

from distill.runtime import progress


def test_a_log_gets_plain_lines_also_from_a_bar_within_a_bar(capsys, monkeypatch):
    real = progress.tqdm
    monkeypatch.setattr(progress, "tqdm", lambda **options: real(**{**options, "mininterval": 0, "delay": 0}))
    with progress.bar(2, "train") as outer:
        outer.update()
        with progress.bar(2, "selection", unit="batch") as inner:
            time.sleep(0.01)
            inner.update(2)
        time.sleep(0.01)
        outer.update()
    written = capsys.readouterr().err
    assert "train: 100%" in written
    assert "selection: 100%" in written
    assert "2/2" in written
    assert not set(written) & {"\x1b", "\r"}
    assert all(line.strip() for line in written.splitlines())
