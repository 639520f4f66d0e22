"""Probabilities as logits: of stored predictions, of ensembles, and of distributions moved to other tokens."""

from __future__ import annotations

import numpy as np

#: Least probability that is kept, so that the logarithm is finite: −13.8. The square of a student's distance to it is
#: what `annealing` sees, so that it must not be far below what models give.
FLOOR = 1e-6


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """log(max(p, FLOOR)), float32, of the same shape; a softmax gives the probabilities back, up to the floor."""
    return np.log(np.maximum(np.asarray(probabilities, np.float64), FLOOR)).astype(np.float32)
