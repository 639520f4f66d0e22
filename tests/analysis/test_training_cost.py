"""Means over the records of runs; what a record does not know stays unknown."""

from distill.analysis.training_cost import own_seconds, stage_seconds, training_cost, update_seconds, updates_in


def run(seconds, **more):
    return {"seconds": seconds, "examples_per_second": 10.0, "updates": 8, "resumed": False, **more}


def test_means_over_seeds():
    used = {"labelled_rows": 300, "student_passes": 2.2, "teacher_passes": 0.0}
    runs = [run(10.0, peak_memory_mb=500.0, **used), run(20.0, peak_memory_mb=700.0, **used | {"labelled_rows": 100})]
    cost = training_cost(runs, [[run(3.0), run(4.0)]] * 2)
    assert cost == {
        "runs": 2,
        "seconds": 15.0,
        "examples_per_second": 10.0,
        "updates": 8,
        "peak_memory_mb": 600.0,
        "peak_gpu_memory_mb": None,
        "teacher_seconds": 7.0,
        "total_seconds": 22.0,
        "labelled_rows": 200,
        "student_passes": 2.2,
        "teacher_passes": 0.0,
    }


def test_a_resumed_run_counts_only_where_it_is_whole():
    resumed = run(1.0, resumed=True, resumed_from=4, examples_per_second=99.0, labelled_rows=1)
    cost = training_cost([run(10.0, labelled_rows=8), resumed], [[], []])
    assert (cost["seconds"], cost["examples_per_second"], cost["runs"]) == (10.0, 10.0, 2)
    assert cost["labelled_rows"] == 8 and training_cost([resumed], [[]])["labelled_rows"] is None
    alone = training_cost([resumed], [[]])
    assert (alone["seconds"], alone["examples_per_second"]) == (None, 99.0)
    begun_again = run(5.0, resumed=True, resumed_from=0)
    assert training_cost([begun_again], [[]])["seconds"] == 5.0
    assert training_cost([run(5.0, resumed=True)], [[]])["seconds"] is None


def test_missing_records_are_unknown_and_no_upstream_takes_no_time():
    cost = training_cost([None], [[run(3.0), None]])
    assert cost["runs"] == 0 and cost["seconds"] is None and cost["teacher_seconds"] is None
    assert training_cost([run(1.0)], [[None]])["total_seconds"] is None
    assert training_cost([run(1.0)], [[]])["teacher_seconds"] == 0
    assert training_cost([run(1.0)], [[run(3.0, resumed=True, resumed_from=1)]])["teacher_seconds"] is None


def test_a_trainings_own_time_is_that_of_all_its_steps():
    record = {"train_seconds": 30.0, "trainer_steps": 40, "updates": 40, "resumed_from": 0}
    assert own_seconds(record) == 30.0
    assert own_seconds(record | {"resumed_from": 10}) == 40.0  # the last 30 of 40 steps took 30 s
    assert own_seconds(record | {"earlier_seconds": 60.0}) == 90.0  # generations before the last
    assert own_seconds(record | {"resumed_from": 40}) == 30.0


def test_a_resumed_stage_took_as_long_as_all_its_steps():
    """84 s were the last fifth of a training and 4 s of something else."""
    assert stage_seconds({"seconds": 84.0}) == 84
    record = {"seconds": 84.0, "train_seconds": 80.0, "trainer_steps": 250, "resumed": True, "resumed_from": 200}
    assert stage_seconds(record) == 4 + 5 * 80
    assert stage_seconds(record | {"earlier_seconds": 100.0}) == 504
    assert stage_seconds({"seconds": 84.0, "resumed": True}) is None


def test_an_update_takes_no_scores_on_the_selection_split():
    record = {"train_seconds": 30.0, "scoring_seconds": 10.0, "trainer_steps": 40, "updates": 20, "resumed_from": 0}
    assert update_seconds(record) == 1.0
    assert update_seconds(record | {"resumed_from": 20}) == 2.0  # the last 20 of 40 steps took 20 s
    assert update_seconds({name: value for name, value in record.items() if name != "scoring_seconds"}) == 1.5
    assert own_seconds(record) == 30.0


def test_updates_that_fit_into_a_time():
    record = {"train_seconds": 20.0, "trainer_steps": 40, "updates": 40}
    assert [updates_in(seconds, record) for seconds in (20.0, 50.0, 0.1)] == [40, 100, 1]


def test_runs_that_patience_ended_are_counted_with_the_updates_that_they_made():
    cost = training_cost([run(10.0, updates=4, stopped_early=True), run(10.0)], [[], []])
    assert (cost["stopped_early"], cost["updates"]) == (1, 6)


def test_rows_without_labels_are_counted_where_there_are_any():
    runs = [run(1.0, labelled_rows=8, unlabelled_rows=8), run(1.0, labelled_rows=8, unlabelled_rows=4)]
    assert training_cost(runs, [[], []])["unlabelled_rows"] == 6
    assert "unlabelled_rows" not in training_cost([run(1.0, labelled_rows=8)], [[]])
