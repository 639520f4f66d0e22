"""What the first lines of the report say."""

from dataclasses import replace

import pytest

from distill.report.verdict import MORE_SEEDS, sentences
from tests.helpers import made_up


def changed(results, **rows):
    """The run with other entries in some rows of the summary."""
    return replace(results, summary={name: row | rows.get(name, {}) for name, row in results.summary.items()})


def decided(**verdicts):
    """A run of ft, kd and ted whose verdicts are given; ted is the best on the selection split."""
    results = made_up.results(methods=("ft", "kd", "ted"))
    rows = {name: {"verdict": verdict} for name, verdict in verdicts.items()}
    rows["kd"] |= {"selection_f1": 80.0}
    rows["ted"] |= {
        "selection_f1": 90.0,
        "f1": 89.5,
        "f1_vs_ft": 3.25,
        "f1_vs_ft_low": 1.5,
        "f1_vs_ft_high": 5.0,
        "gap_closed": 43.4,
    }
    rows["ft"] = {"f1": 86.25}
    return changed(results, **rows)


def test_a_winner_with_its_interval_and_cost():
    found = sentences(decided(kd="cannot tell", ted="better"))
    assert found[0] == (
        "ted wins: 89.50 F1, 3.25 points above ft (86.25; 95% interval [+1.50, +5.00], 3 seeds)"
        " and closes 43% of the gap to the teacher, at 3.60× the training time of ft, 5.65× with upstream.",
        "",
    )
    assert found[1][0] == "Training ted takes 6 min a seed, 3.60× the time of ft, after 3 min for what it needs before."
    assert "25% of the teacher's parameters and 4.00× its throughput (cpu x86_64, 2 cores)" in found[2][0]


def test_others_that_are_better_too():
    text = sentences(decided(kd="better", ted="better"))[0][0]
    assert "Also better than ft: kd (at 1.20× the training time of ft, 3.00× with upstream)." in text


def test_no_better_without_its_cost():
    """What is not known is said to be not known."""
    known = decided(kd="better", ted="better")
    text = sentences(replace(known, training={}))[0][0]
    assert "what its training costs is not known" in text and "kd (at unknown cost)" in text


def test_a_baseline_below_its_own_start_is_warned_of():
    results = changed(made_up.results(), ft={"f1": 80.0}, student={"f1": 82.0})
    finetuned = replace(results, settings={"distill.init": "finetuned"})
    (warning,) = [text for text, _ in sentences(finetuned) if text.startswith("Warning: ft ends below the student")]
    assert "(80.00 against 82.00)" in warning
    for other in (replace(results, settings={"distill.init": "random"}), changed(finetuned, ft={"f1": 82.0})):
        assert not [text for text, _ in sentences(other) if text.startswith("Warning")]


def test_who_is_ahead_on_the_reported_split_alone_does_not_win():
    text = sentences(decided(kd="better", ted="cannot tell"))[0][0]
    assert text.startswith("Better than ft in F1: kd (at 1.20× the training time of ft, 3.00× with upstream). The sel")
    assert "would have chosen ted, which is not shown" in text
    assert "wins" not in text


def test_cannot_tell():
    text = sentences(decided(kd="worse", ted="cannot tell"))[0][0]
    assert text.startswith("Cannot tell: with 3 seeds no method is shown to be better than ft in F1. Worse: kd. ted ")


def test_all_worse():
    text = sentences(decided(kd="worse", ted="worse"))[0][0]
    assert text.startswith("No method is better than ft in F1 (3 seeds); all are worse.")


@pytest.mark.parametrize("task", made_up.MAIN)
def test_one_seed_declares_no_winner(task):
    text, command = sentences(made_up.results(task, seeds=(1,)))[0]
    assert text.startswith("Cannot tell from one seed.") and text.endswith("Run more:")
    assert "wins" not in text and command == MORE_SEEDS


def test_without_ft_there_is_nothing_to_compare_with():
    text, _ = sentences(made_up.results(methods=("kd", "ted")))[0]
    assert text.startswith("Cannot tell: ft, the baseline of every comparison, is not in the run.")


def test_ft_alone():
    assert sentences(made_up.results(methods=("ft",)))[0][0].startswith("Nothing to compare")


def test_a_run_of_before_there_were_intervals():
    results = made_up.results()
    plain = {
        k: {n: v for n, v in row.items() if "_vs_" not in n and n != "verdict"} for k, row in results.summary.items()
    }
    assert sentences(replace(results, summary=plain))[0][1] == "dvc repro summarize"


def test_a_teacher_that_is_not_above_ft():
    results = changed(made_up.results(), teacher={"f1": 80.0}, ft={"f1": 86.0})
    assert "The teacher is not above ft (80.00 against 86.00): there is no gap to close." in sentences(results)[-1][0]


def test_unknown_cost_is_not_spoken_of():
    results = made_up.results(cost={}, training={})
    _, (picked, _) = sentences(results)
    assert "was picked among" in picked


def test_a_student_in_place_of_the_teacher():
    rows = {"ted": {"f1_vs_teacher": -2.5, "f1_vs_teacher_low": -4.0, "f1_vs_teacher_high": -1.0}}
    results = changed(decided(kd="cannot tell", ted="better"), teacher={"f1": 92.0}, **rows)
    text = sentences(results)[1][0]
    assert text == (
        "In place of the teacher (92.00 F1), ted is 2.50 points below it (95% interval [−4.00, −1.00]), at 4.00× its"
        " throughput and 4.00× its speed for one row at a time."
    )
    assert "throughput" not in sentences(replace(results, cost={}))[1][0]


@pytest.mark.parametrize(("answer", "words"), [("neg", "the answer 'neg'"), ("", "no answer")])
def test_a_constant_teacher_is_told_before_all_else(answer, words):
    results = decided(kd="better", ted="better")
    results = replace(results, analysis=results.analysis | {"constant": {"models": {"teacher": answer, "kd": answer}}})
    first, second = (text for text, _ in sentences(results)[:2])
    assert first.startswith(f"The teacher gives {words} to every example, so it has nothing to teach: ")
    assert "means nothing. So do kd. Train it longer" in first and second.startswith("ted wins")


def test_constant_students_are_named():
    results = decided(kd="cannot tell", ted="cannot tell")
    results = replace(results, analysis=results.analysis | {"constant": {"models": {"kd": "neg", "ft": ""}}})
    assert sentences(results)[0][0] == "The same answer to every example: kd (the answer 'neg') and ft (no answer)."
