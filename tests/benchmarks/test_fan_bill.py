"""The bill of a fan-out on paper: by hand for one task."""

import pytest

from benchmarks import fan_bill


def test_costs_of_methods_are_those_of_the_results_page():
    costs = fan_bill.relative_costs(fan_bill.RESULTS.read_text())
    assert len(costs) == 21 and costs["ft"] == 1 and max(costs, key=costs.get) == "minimax_knn"
    assert costs["ted"] == pytest.approx(119.0 / 80.4)


def test_one_gpu_is_paid_for_its_time_and_many_take_less_of_it():
    costs = {"ft": 1.0, "kd": 2.0}
    one = fan_bill.bill("SQuAD v2.0", costs, 1e13, 1, 100, 2.0)
    student = 3 * 3 * 131_685 * 170.3 * 0.18e9 / 2 / 1e13
    assert one.student_seconds == pytest.approx(student)
    trained = student * (2 + 2 / 9 + 1 + 5 * 3)  # the teacher, its outputs, the student, and five seeds of both methods
    assert one.estimate.busy_seconds == pytest.approx(trained + 25 * fan_bill.STAGE_SECONDS + 3 * fan_bill.JOB_SECONDS)
    assert one.estimate.seconds == one.estimate.busy_seconds and one.cost == pytest.approx(one.estimate.seconds / 1800)
    many = fan_bill.bill("SQuAD v2.0", costs, 1e13, 10, 1, 2.0)
    assert many.estimate.seconds < one.estimate.seconds / 2 and many.cost > one.cost
