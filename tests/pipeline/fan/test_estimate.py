"""The time of a plan, on paper."""

import pytest

from pipeline.commands import fan
from pipeline.fan import jobs
from pipeline.fan.estimate import schedule_estimate
from pipeline.process.records import to_json
from tests.pipeline.fan.stages import by_name, comparison


def estimated(methods, seeds, slots, chunk, seconds, start=0.0):
    stages = comparison(methods, seeds)
    missing = {stage.name for stage in stages} - {"inputs", "cost", "summarize"}
    plan = jobs.plan(stages, missing, chunk, lambda name: 0)
    return schedule_estimate(plan, by_name(stages), seconds, slots, start), plan


def test_one_slot_takes_the_sum_and_many_the_longest_way():
    seconds = {"prepare": 10, "finetune_teacher": 100, "finetune_student": 50, "signals": 5, "distill": 60}
    taken = lambda name: seconds.get(name.partition("@")[0], 0)  # noqa: E731
    total = 165 + 6 * 60
    one, _ = estimated(("ft", "kd", "ted"), (1, 2), 1, 1, taken)
    assert one.seconds == one.busy_seconds == total
    many, _ = estimated(("ft", "kd", "ted"), (1, 2), 10, 1, taken)
    assert many.seconds == 165 + 60 and many.busy_seconds == total
    chunked, _ = estimated(("ft", "kd", "ted"), (1, 2), 10, 2, taken)
    assert chunked.seconds == 165 + 120
    assert one.cost(3600 * 2) == total * 2


def test_a_comparison_of_eight_tasks_on_paper():
    """21 methods x 5 seeds: 105 students of 300 s and scores of 20 s, after half an hour of teacher and caches."""
    methods = [f"m{n}" for n in range(21)]
    seconds = {"finetune_teacher": 1500, "signals": 300, "distill": 300, "evaluate": 20}
    taken = lambda name: seconds.get(name.partition("@")[0], 0)  # noqa: E731
    task, plan = estimated(methods, range(1, 6), 16, 3, taken, start=60)
    assert len(plan) == 2 + 35
    # 35 jobs on 16 slots: three rounds of three students each; the teacher's scores wait for no slot of theirs.
    assert task.seconds == (60 + 1800) + 3 * (60 + 3 * 320)
    alone, _ = estimated(methods, range(1, 6), 1, 105, taken)
    assert 8 * alone.seconds / 3600 == pytest.approx(78.7, abs=0.1)  # hours of one machine, for eight tasks
    assert 8 * task.seconds / 3600 == pytest.approx(10.9, abs=0.1)


def test_times_are_those_of_the_last_run(tmp_path):
    records = {"distill@kd-1": 40.0, "distill@kd-2": 60.0, "prepare": 7.0, "evaluate@ft-1": 3.0}
    for name, seconds in records.items():
        (tmp_path / f"{name}.json").write_text(to_json({"stage": name, "seconds": seconds}))
    asked = {"distill@kd-1", "distill@ted-1", "distill_baseline@ft-9", "evaluate_control@own-kd-1", "retrieve"}
    seconds, unknown = fan.recorded_seconds(tmp_path, asked)
    assert [seconds(name) for name in ("distill@kd-1", "distill@ted-1", "distill_baseline@ft-9")] == [40, 50, 50]
    assert seconds("evaluate_control@own-kd-1") == 3 and seconds("retrieve") == 0 and unknown == {"retrieve"}
