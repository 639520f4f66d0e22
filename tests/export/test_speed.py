"""Latency and throughput by a clock that only moves when a model runs."""

import pyarrow as pa
import pytest

from distill.export import speed

LENGTHS = [3, 9, 5, 7, 1, 8, 6, 2, 4, 10]


def features() -> pa.Table:
    return pa.table({"input_ids": [[1] * length for length in LENGTHS], "length": LENGTHS})


@pytest.mark.parametrize(("batch_size", "rows"), [(4, 4), (100, 10)])
def test_medians_by_form(batch_size, rows):
    now, seen = [0.0], []

    def form(seconds_per_token: float):
        def run(batch):
            now[0] += seconds_per_token * batch["input_ids"].size
            seen.append(batch["input_ids"].shape)

        return run

    forms = {"slow": form(0.01), "fast": form(0.001)}
    found = speed.measure(forms, features(), 0, batch_size, 0.5, lambda: now[0], lambda: None)
    assert found["latency_ms"] == {"slow": 55.0, "fast": 5.5}  # the median length is 5.5 tokens
    # Longest first: batches of 10 and 6 tokens' width, or all ten rows at 10; what is left over is not timed.
    tokens = [4 * 10, 4 * 6] if rows == 4 else [10 * 10]
    expected = rows * len(tokens) / (0.01 * sum(tokens))
    assert found["throughput"] == pytest.approx({"slow": expected, "fast": 10 * expected}, abs=0.01)
    assert {shape[0] for shape in seen} == {1, rows}


def test_what_another_form_leaves_running_slows_no_row_that_is_timed():
    """Threads of a runtime that wait for work slow whichever form comes next, until it has run once or they sleep."""
    now, last, paused = [0.0], [""], []

    def form(name: str, seconds: float):
        def run(batch):
            now[0] += seconds if last[0] in ("", name) else 50 * seconds
            last[0] = name

        return run

    forms = {"pytorch": form("pytorch", 0.01), "onnx": form("onnx", 0.002), "int8": form("int8", 0.001)}
    found = speed.measure(forms, features(), 0, 4, 0.5, lambda: now[0], lambda: paused.append(last[0]))
    assert found["latency_ms"] == found["latency_ms_p90"] == {"pytorch": 10, "onnx": 2, "int8": 1}
    assert found["throughput"] == {"pytorch": 400, "onnx": 2000, "int8": 4000}
    assert {"", "pytorch", "onnx", "int8"} == set(paused), "each form's turn begins with a pause"
    assert len(paused) == 2 * len(forms), "a form that is much faster than its turn is long has one turn all the same"
