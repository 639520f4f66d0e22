"""distill.analysis.model_cost: counts against closed forms; the order and the end of measuring, by a false clock."""

import numpy as np
import pytest
import torch

from distill.analysis import model_cost
from distill.config.scoring import Cost
from distill.errors import UserError
from distill.models.predict import length_order
from distill.tasks.registry import load_task
from tests.helpers import tiny

LAYERS, WIDTH, WIDER, POSITIONS, TYPES = 3, 8, 16, 64, 2


class Clock:
    """Goes on only where it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def section(**changes) -> Cost:
    return Cost.model_validate({"batch_sizes": [1, 4, 8], "seconds": 2.0, "precision": "fp32"} | changes)


@pytest.mark.parametrize("tokens", [5, 24])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_flops_are_those_of_bert_written_out(tokens, attention):
    """A product of (n, a) and (a, b) is 2·n·a·b: four projections, two in the feed-forward part, scores and mix."""
    model = tiny.model("bert", layers=LAYERS, width=WIDTH)
    model.set_attn_implementation(attention)
    layer = 4 * 2 * WIDTH * WIDTH + 2 * 2 * WIDTH * WIDER + 2 * 2 * tokens * WIDTH
    head = 2 * WIDTH * 2
    assert model_cost.flops_per_token(model, load_task("qa"), tokens) == LAYERS * layer + head


@pytest.mark.parametrize("kind", ["distilbert", "electra", "roberta", "deberta-v2"])
def test_flops_of_other_encoders_grow_with_the_length(kind):
    model, task = tiny.model(kind, layers=2, width=WIDTH), load_task("qa")
    short, long = (model_cost.flops_per_token(model, task, tokens) for tokens in (8, 32))
    # Projections and the feed-forward part are the same for each token, and attention comes on top.
    least = 2 * (4 * 2 * WIDTH * WIDTH + 2 * 2 * WIDTH * WIDER)
    assert least < short < long


def test_parameters_are_bert_s_written_out(tmp_path):
    model = tiny.model("bert", layers=LAYERS, width=WIDTH)
    model.save_pretrained(tmp_path)
    tables = (tiny.VOCAB + POSITIONS + TYPES) * WIDTH
    norm = 2 * WIDTH
    layer = 4 * (WIDTH * WIDTH + WIDTH) + WIDTH * WIDER + WIDER + WIDER * WIDTH + WIDTH + 2 * norm
    rest = norm + LAYERS * layer + WIDTH * 2 + 2
    found = model_cost.size(model, load_task("qa"), 10, tmp_path)
    assert (found.parameters, found.parameters_without_embeddings) == (tables + rest, rest)
    assert found.parameters == model.num_parameters()
    stored = 4 * (tables + rest)
    assert stored <= found.checkpoint_mb * 1e6 < stored + 20_000  # the header names the tensors


def test_models_take_turns_and_drop_out_when_they_have_had_their_seconds():
    clock, order = Clock(), []

    def forward(name: str, seconds: float):
        def run(batch):
            order.append((name, batch))
            clock.now += seconds

        return run

    times = model_cost.measure({"slow": forward("slow", 3), "fast": forward("fast", 1)}, ["a", "b"], 5, clock)
    once = [("slow", "a"), ("fast", "a"), ("slow", "b"), ("fast", "b")]
    assert order == [*once, ("fast", "a"), ("fast", "b"), ("fast", "a"), ("fast", "b")]
    assert times["slow"].tolist() == [[3, 3]] and times["fast"].tolist() == [[1, 1]] * 3


def test_measured_batches_are_spread_evenly():
    assert model_cost.spread(range(100), 4) == [12, 37, 62, 87]
    assert model_cost.spread("abc", 7) == ["a", "b", "c"] and model_cost.spread("abc", 1) == ["b"]


@pytest.fixture
def timed(monkeypatch):
    """A clock by which a forward pass takes 1 ms a row for a teacher, and half as long for a student."""
    clock, seen = Clock(), []

    def forward(model, task, precision):
        def run(batch):
            rows, width = batch["input_ids"].shape
            seen.append((model, rows, width))
            if rows > {"teacher": 4, "student": 100}[model]:
                raise torch.OutOfMemoryError("CUDA out of memory")
            clock.now += rows / {"teacher": 1000, "student": 2000}[model]

        return run

    monkeypatch.setattr(model_cost, "_forward", forward)
    return clock, seen


def speeds(clock, settings, said, count=20):
    return model_cost.speeds(
        {"teacher": "teacher", "student": "student"}, None, tiny.features(count), 0, settings, said.append, clock
    )


def test_latency_is_that_of_single_rows_and_throughput_that_of_the_best_batch(timed):
    clock, seen = timed
    found = speeds(clock, section(batch_sizes=[4], seconds=0.1), said := [])
    assert found["teacher"].latency_ms == pytest.approx(1) == found["teacher"].latency_ms_p10
    assert found["student"].latency_ms_p90 == pytest.approx(0.5)
    assert [found[name].throughput for name in found] == pytest.approx([1000, 2000]) and not said
    assert {rows for _, rows, _ in seen} == {1, 4}


def test_a_batch_that_does_not_fit_ends_the_climb_of_its_model_alone(timed):
    clock, seen = timed
    found = speeds(clock, section(batch_sizes=[1, 4, 8, 16], seconds=0.1), said := [])
    assert said == ["teacher: batches of 8 do not fit in memory"]
    assert found["teacher"].throughput_batch in (1, 4)
    assert {rows for name, rows, _ in seen if name == "teacher"} == {1, 4, 8}
    assert {rows for name, rows, _ in seen if name == "student"} == {1, 4, 8, 16}


def test_other_errors_than_a_lack_of_memory_are_not_swallowed(timed, monkeypatch):
    clock, _ = timed
    monkeypatch.setattr(model_cost, "out_of_memory", lambda error: False)
    with pytest.raises(torch.OutOfMemoryError):
        speeds(clock, section(), [])


def test_a_single_row_that_does_not_fit_is_an_error(timed, monkeypatch):
    def forward(model, task, precision):
        def run(batch):
            raise MemoryError

        return run

    monkeypatch.setattr(model_cost, "_forward", forward)
    with pytest.raises(UserError, match=r"teacher: one row does not fit in memory: .* features\.max_length"):
        speeds(timed[0], section(), [])


def test_no_batch_is_larger_than_the_data(timed):
    clock, seen = timed
    found = speeds(clock, section(batch_sizes=[64], seconds=0.01), [], count=3)
    assert {rows for _, rows, _ in seen} == {1, 3}
    assert found["student"].throughput == pytest.approx(2000)


def test_every_length_is_measured(timed):
    clock, seen = timed
    speeds(clock, section(batch_sizes=[1], seconds=10.0), [])
    rows = tiny.features(20).data.column("length").to_numpy()
    widths = {-(-int(rows[batch].max()) // 8) * 8 for batch in length_order(rows, 1)}
    assert {width for _, _, width in seen} == widths and len(widths) > 1


def test_a_real_model_has_speeds_above_nothing_in_order():
    model = tiny.model("bert").eval().requires_grad_(False)
    found = model_cost.speeds({"it": model}, load_task("qa"), tiny.features(12), 0, section(seconds=0.01))["it"]
    assert 0 < found.latency_ms_p10 <= found.latency_ms <= found.latency_ms_p90
    assert found.throughput > 0 and found.throughput_batch in (1, 4, 8)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error, expected):
    assert model_cost.out_of_memory(error) is expected


def test_the_machine_names_its_processor():
    assert len(model_cost.machine()) > len("cpu x86_64, 2 cores") and "\n" not in model_cost.machine()


def test_percentiles_are_numpy_s():
    single = np.array([[0.001, 0.002, 0.010], [0.003, 0.002, 0.001]])
    found = model_cost._speed(single, {1: 10.0, 8: 30.0, 32: 20.0})
    assert [found.latency_ms_p10, found.latency_ms, found.latency_ms_p90] == pytest.approx([1.0, 2.0, 6.5])
    assert (found.throughput, found.throughput_batch) == (30.0, 8)
