"""Speed of a model's forms on this machine's CPU, timed in turns, so that other work slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from distill.analysis import model_cost
from distill.inference.model import Run, batches

# Batches that are timed, spread evenly over the lengths; all are run equally often.
_SINGLE, _LARGER = 64, 4


def _pause() -> None:
    """Threads wait actively for less: LLVM's OpenMP for 0.2 s, GNU's, onnxruntime's and OpenVINO's far less."""
    time.sleep(0.25)


def measure(
    runs: Mapping[str, Run],
    features: pa.Table,
    pad_token_id: int,
    batch_size: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    settle: Callable[[], object] = _pause,
) -> dict[str, dict[str, float]]:
    """Latency and throughput of each form; reading texts, tokenizing and the search for answers are not in it.

    Args:
        features: rows to run (see `inference.model.batches`).
        batch_size: rows of a batch for throughput; fewer where there are fewer rows.
        seconds: least time of measurement for each form and size.
        settle: the pause before a form's turn, a quarter of a second.

    Returns:
        `latency_ms` (median over rows that are run one by one), `latency_ms_p90` and `throughput` (rows per second), by
        form.
    """

    def timed(size: int, number: int) -> dict[str, np.ndarray]:
        """Seconds by form, (rounds, batches), of batches with `size` rows."""
        whole = [batch for rows, batch in batches(features, pad_token_id, size) if len(rows) == size]
        chosen = model_cost.spread(whole, number)
        return model_cost.measure(runs, chosen, seconds, clock, settle)

    size = min(batch_size, features.num_rows)
    single, larger = timed(1, _SINGLE), timed(size, _LARGER)
    percentiles = {form: 1000 * np.percentile(times, [50, 90]) for form, times in single.items()}
    return {
        "latency_ms": {form: round(float(median), 3) for form, (median, _) in percentiles.items()},
        "latency_ms_p90": {form: round(float(high), 3) for form, (_, high) in percentiles.items()},
        "throughput": {form: round(model_cost.rows_per_second(times, size), 2) for form, times in larger.items()},
    }
