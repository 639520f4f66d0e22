"""Means over the records of runs; what a record does not know stays unknown."""

from distill.analysis.training_cost import training_cost


def run(seconds, **more):
    return {"seconds": seconds, "examples_per_second": 10.0, "updates": 8, "resumed": False, **more}


def test_means_over_seeds():
    found = training_cost(
        [run(10.0, peak_memory_mb=500.0), run(20.0, peak_memory_mb=700.0)], [[run(3.0), run(4.0)]] * 2
    )
    assert found == {
        "runs": 2,
        "seconds": 15.0,
        "examples_per_second": 10.0,
        "updates": 8,
        "peak_memory_mb": 600.0,
        "peak_gpu_memory_mb": None,
        "teacher_seconds": 7.0,
    }


def test_a_resumed_run_counts_only_where_it_is_whole():
    resumed = run(1.0, resumed=True, resumed_from=4, examples_per_second=99.0)
    found = training_cost([run(10.0), resumed], [[]])
    assert (found["seconds"], found["examples_per_second"], found["runs"]) == (10.0, 10.0, 2)
    alone = training_cost([resumed], [[]])
    assert (alone["seconds"], alone["examples_per_second"]) == (None, 99.0)
    begun_again = run(5.0, resumed=True, resumed_from=0)
    assert training_cost([begun_again], [[]])["seconds"] == 5.0
    assert training_cost([run(5.0, resumed=True)], [[]])["seconds"] is None


def test_missing_records_are_unknown_and_no_upstream_takes_no_time():
    found = training_cost([None], [[run(3.0), None]])
    assert found["runs"] == 0 and found["seconds"] is None and found["teacher_seconds"] is None
    assert training_cost([run(1.0)], [[]])["teacher_seconds"] == 0
    assert training_cost([run(1.0)], [[run(3.0, resumed=True, resumed_from=1)]])["teacher_seconds"] is None
