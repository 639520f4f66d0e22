"""Candidates with random tokens and teacher logits, and what a student is away from them, written out in float64."""

from types import SimpleNamespace

import datasets
import numpy as np
import torch

from distill.augmentation.candidates import Candidates
from tests.helpers import tiny
from tests.helpers.reference import log_p


class Memory:
    """What a cache of logits gives, from memory: entries one after another, and where each row's begin."""

    def __init__(self, logits, offsets, per_token):
        self.logits, self.offsets, self.per_token = logits, offsets, per_token

    def rows(self, name, indices, width):
        assert name == "logits"
        if not self.per_token:
            return self.logits[indices]
        batch = np.zeros((len(indices), width, self.logits.shape[1]), np.float32)
        for i, row in enumerate(indices):
            start, end = self.offsets[row], self.offsets[row + 1]
            batch[i, : end - start] = self.logits[start:end]
        return batch


def candidates(task, rows, per_row, seed=3, longest=11):
    """`per_row` candidates of different lengths for each of `rows` training rows; some belong to several rows."""
    generator = np.random.default_rng(seed)
    count = rows * per_row - 1
    lengths = generator.integers(4, longest + 1, count)
    made = [
        {
            "input_ids": [2, *generator.integers(5, tiny.VOCAB, length - 1).tolist()],
            "token_type_ids": generator.integers(0, 2, length).tolist(),
            "length": int(length),
        }
        for length in lengths
    ]
    sizes = lengths if task.per_token else np.ones(count, int)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    logits = (2 * generator.normal(size=(offsets[-1], task.channels))).astype(np.float32)
    places = generator.permutation(np.append(np.arange(count), 0)).reshape(rows, per_row).astype(np.int32)
    return Candidates(datasets.Dataset.from_list(made), Memory(logits, offsets, task.per_token), places, task, 0)


def of_row(found, row):
    """[(token ids, teacher logits, token types (1, L))] of a training row's candidates."""
    table, cache = found.rows.features, found.cache
    rows = [(int(place), table[int(place)]) for place in found.neighbours[row]]
    return [
        (
            np.array(item["input_ids"]),
            cache.logits[cache.offsets[place] : cache.offsets[place + 1]],
            torch.tensor([item["token_type_ids"]]),
        )
        for place, item in rows
    ]


def qa_distance(student, one, temperature):
    """T² · KL, mean of start and end, of one candidate run by itself without any padding."""
    output = student(input_ids=torch.from_numpy(one[0])[None], token_type_ids=one[2])
    total = 0.0
    for side, logits in enumerate((output.start_logits[0], output.end_logits[0])):
        s, t = log_p(logits / temperature), log_p(torch.from_numpy(one[1]).double()[:, side] / temperature)
        total = total + temperature**2 * (t.exp() * (t - s)).sum() / 2
    return total


def text_distance(student, one, temperature, regression):
    """T² · KL over the classes, or the squared error, of one candidate run by itself."""
    logits = student(input_ids=torch.from_numpy(one[0])[None], token_type_ids=one[2]).logits[0]
    target = torch.from_numpy(one[1][0]).double()
    if regression:
        return (logits - target).square().sum()
    s, t = log_p(logits / temperature), log_p(target / temperature)
    return temperature**2 * (t.exp() * (t - s)).sum()


def params(sections, candidates):
    """As much of the parameters as a check looks at."""
    return SimpleNamespace(sections=sections, retrieve=SimpleNamespace(candidates=candidates))
