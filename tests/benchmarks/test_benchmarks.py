"""The benchmark's arithmetic, tables, results file and rows of data; nothing here is timed."""

import inspect
import json
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmarks import bench, lengths, machine, ours, report, rounds, single, suites
from benchmarks.gate import Gate
from distill.data.features import question_features
from distill.data.loading import tokenizer
from distill.data.loading.batches import EpochSampler
from distill.data.loading.mixing import Mix, sampler
from distill.data.sources import squad_json
from pipeline import distill as distill_stage


def answer(seconds: float, updates: int = 2, rows: int = 8, real: int = 90, padded: int = 10, peak: int = 100) -> dict:
    """What a gate says of a round."""
    return {
        "seconds": seconds,
        "cpu_seconds": 2 * seconds,
        "updates": updates,
        "rows": rows,
        "real_tokens": real,
        "padded_tokens": padded,
        "squares": 1000,
        "anonymous_bytes": 50,
        "peak_bytes": peak,
    }


def row(*seconds: float, **changes) -> report.Row:
    return report.row("ours", "`kd`", "fp32", [answer(value, **changes) for value in seconds])


def filled(quick: bool = False) -> report.Report:
    """A report with everything that a table shows."""
    ratios = [
        report.Ratio(name="kd / ft", value=report.spread([1.02]), goal=1.05, sense="<="),
        report.Ratio(name="kd / peer", value=report.spread([3.9]), goal=4, sense=">="),
        report.Ratio(name="no goal", value=report.spread([2.0])),
    ]
    suite = report.Suite(
        title="A suite",
        models="big → small",
        batch_size=4,
        rows_of_data=100,
        tokens_mean=170.3,
        rows={"kd cached fp32": row(1.0, 2.0, 4.0)},
        ratios=ratios,
        left_out=["peer"],
    )
    machine = report.Machine(
        processor="Some CPU @ 2 GHz", device="cpu", threads=2, memory_bytes=8 * 2**30, system="Linux x86_64"
    )
    goals = {
        "prepare": report.Goal(name="prepare", value=100.0, unit="s", goal=90, details={"windows": 131685}),
        "other": report.Goal(name="other", value=None, unit="s", goal=5, details={"why": "no files"}),
    }
    return report.Report(
        format=1,
        machine=machine,
        versions={"torch": "2.13.0"},
        quick=quick,
        suites={"one": suite},
        goals=goals,
    )


def test_a_row_has_medians_over_its_rounds():
    found = row(1.0, 2.0, 4.0)
    assert found.seconds_per_update.model_dump() == {"median": 1.0, "least": 0.5, "greatest": 2.0}
    assert found.examples_per_second.model_dump() == {"median": 4.0, "least": 2.0, "greatest": 8.0}
    assert found.padded_share == pytest.approx(0.1)


def test_a_row_has_the_greatest_peak_and_the_padding_of_all_rounds():
    found = report.row(
        "ours", "x", "bf16", [answer(1, real=30, padded=10, peak=7), answer(1, real=60, padded=0, peak=5)]
    )
    assert found.peak_bytes == 7
    assert found.padded_share == pytest.approx(10 / 100)


def test_ratios_are_taken_round_by_round():
    above, first, second = row(3.0, 8.0), row(1.0, 2.0), row(1.0, 6.0, updates=4)
    # Time per update: 1.5, 4.0 over (0.5 + 0.25), (1.0 + 1.5).
    found = report.time_ratio(above, first, second)
    assert (found.least, found.greatest) == pytest.approx((1.6, 2.0))
    # Rows per second: 8/1, 8/2 over 8/3, 8/8.
    found = report.speed_ratio(first, above)
    assert (found.least, found.greatest) == pytest.approx((3.0, 4.0))
    assert found.median == pytest.approx(3.5)


def test_ratios_need_equally_many_rounds():
    with pytest.raises(ValueError):
        report.time_ratio(row(1.0, 2.0), row(1.0))


def test_all_goals_of_the_issue_are_compared():
    names = [f"{name} {p}" for p in ("fp32", "bf16") for name in ("ft", "kd cached", "kd online", "ted", "teacher")]
    names += ["textbrewer logits fp32", "trainer ted fp32"]
    goals = {(ratio.goal, ratio.sense) for ratio in suites.ratios({name: row(1.0) for name in names}) if ratio.goal}
    assert goals == {(1.03, "<="), (1.10, "<="), (4, ">="), (2.5, ">=")}


def test_ratios_without_the_peers_are_those_of_ours():
    found = suites.ratios({name: row(1.0) for name in ("ft fp32", "kd cached fp32")})
    assert [ratio.name for ratio in found] == ["kd from the cache / ft, time per update, fp32"]


def test_a_results_file_reads_as_it_was_written(tmp_path):
    path = tmp_path / "deep" / "machine.json"
    report.write(filled(), path)
    assert report.read(path) == filled()
    assert path.with_suffix(".md").read_text() == report.table(filled())


@pytest.mark.parametrize("field", ["machine", "suites", "quick", "format"])
def test_a_results_file_without_a_field_is_refused(tmp_path, field):
    content = filled().model_dump(mode="json")
    del content[field]
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValidationError, match=field):
        report.read(path)


def test_a_misspelt_figure_is_refused():
    with pytest.raises(ValidationError, match="second"):
        report.row("ours", "x", "fp32", [answer(1) | {"second": 1.0}])


def test_a_figure_can_be_added_to_a_results_file(tmp_path):
    path = tmp_path / "machine.json"
    report.write(filled(), path)
    report.add_goal(path, "experiment", report.Goal(name="exp", value=1.1, unit="", goal=1.25, details={}))
    assert set(report.read(path).goals) == {"prepare", "other", "experiment"}
    assert "| exp | 1.10 | ≤ 1.25 | met |" in path.with_suffix(".md").read_text()


def later(**goals: float | None) -> report.Report:
    """What a run gives that has measured some single figures only."""
    made = {
        name: report.Goal(name=name, value=value, unit="s", goal=90, details={}, measured="2031-05-01")
        for name, value in goals.items()
    }
    return filled().model_copy(update={"suites": {}, "goals": made})


def test_a_run_keeps_what_an_earlier_one_has_measured_besides():
    found = report.merged(filled(), later(prepare=80.0, experiment=None))
    assert set(found.suites) == {"one"} and set(found.goals) == {"prepare", "other", "experiment"}
    assert (found.goals["prepare"].value, found.goals["prepare"].measured) == (80.0, "2031-05-01")
    assert "(measured on 2031-05-01) | 80.0 s |" in report.table(found)


def test_what_could_not_be_measured_replaces_no_figure():
    assert report.merged(filled(), later(prepare=None)).goals["prepare"].value == 100.0


def test_other_machines_and_versions_are_named_and_packages_of_one_side_are_not():
    earlier = filled()
    assert report.other_conditions(earlier, earlier.machine, {"torch": "2.13.0", "textbrewer": "1"}) == []
    moved = earlier.machine.model_copy(update={"threads": 4})
    assert report.other_conditions(earlier, moved, {"torch": "3.0"}) == ["threads 2, not 4", "torch 2.13.0, not 3.0"]


@pytest.fixture
def bench_of(monkeypatch, tmp_path):
    """Runs `make bench` with options, where measuring takes no time; gives the results file."""
    earlier = filled()
    path = tmp_path / f"{report.machine_name(earlier.machine)}.json"
    monkeypatch.setattr(machine, "describe", lambda: earlier.machine)
    monkeypatch.setattr(suites, "run", lambda plan, *_: earlier.suites["one"])
    goal = report.Goal(name="p", value=3.0, unit="%", goal=5, details={})
    monkeypatch.setattr(single, "run", lambda *_: goal)

    def run(*options: str) -> report.Report:
        monkeypatch.setattr(sys, "argv", ["bench", "--results", str(tmp_path), *options])
        bench.main()
        return report.read(path)

    run("--only", "embedded")
    report.add_goal(path, "experiment", goal)
    return run


def test_some_systems_or_more_rounds_go_into_a_folder_of_their_own(bench_of, monkeypatch, tmp_path, capsys):
    plans = []
    monkeypatch.setattr(suites, "run", lambda plan, *_: plans.append(plan) or filled().suites["one"])
    bench_of("--only", "minilm", "--systems", "ft", "kd cached", "--rounds", "15")
    assert [(plan.name, plan.systems, plan.rounds) for plan in plans] == [("minilm", ["ft", "kd cached"], 15)]
    monkeypatch.setattr(sys, "argv", ["bench", "--rounds", "15"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "--rounds: give --results another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["minilm", "--systems", "ft", "kd"], "--systems 'kd': none of them. suite minilm: ft, kd cached, kd online"),
        (["minilm", "--systems", "lwd cached"], "--systems 'lwd cached': none of them. suite minilm"),
        (["minilm", "--systems", "torchdistill"], "--systems 'torchdistill': none of them"),  # needs --peers
        (["padding", "--systems", "ft"], "--systems 'ft': none of them. --only names no suite"),
        (["minilm", "--rounds", "0"], "--rounds 0: give 1 or more"),
    ],
)
def test_what_would_measure_nothing_is_refused(bench_of, capsys, options, message):
    with pytest.raises(SystemExit):
        bench_of("--only", *options)
    assert message in " ".join(capsys.readouterr().err.split())


def test_suites_that_have_none_of_the_systems_are_left_out(bench_of, monkeypatch):
    plans = []
    monkeypatch.setattr(suites, "run", lambda plan, *_: plans.append(plan.name) or filled().suites["one"])
    bench_of("--only", "embedded", "minilm", "padding", "--systems", "lwd cached")
    assert plans == ["embedded"]


@pytest.mark.parametrize("plan", suites.plans(quick=True), ids=lambda plan: plan.name)
def test_the_names_of_systems_are_those_that_are_measured(plan, monkeypatch, tmp_path):
    monkeypatch.setattr(suites.project, "copy", lambda base, target, changes: target)
    monkeypatch.setattr(suites.peer_data, "export", lambda *_: None)
    measured = [system.name.rsplit(" ", 1)[0] for system, _ in suites._systems(plan, tmp_path, 1, 1, Path("python"))]
    assert set(measured) == set(suites.names(plan, Path("python")))


def test_measuring_one_figure_leaves_the_others_in_the_file(bench_of):
    found = bench_of("--only", "padding")
    assert set(found.suites) == {"embedded"} and set(found.goals) == {"experiment", "padding"}
    assert found.goals["padding"].measured == found.suites["embedded"].measured == report.today()


def test_measuring_everything_keeps_the_figure_that_is_measured_elsewhere(bench_of):
    assert set(bench_of().goals) == {"experiment", *single.NAMES}


def test_one_figure_with_other_versions_is_refused_before_it_is_measured(bench_of, monkeypatch, capsys):
    before = bench_of("--only", "padding")
    monkeypatch.setattr(report, "versions", lambda names: before.versions | {"torch": "99"})
    with pytest.raises(SystemExit):
        bench_of("--only", "padding")
    assert f"torch {before.versions['torch']}, not 99" in " ".join(capsys.readouterr().err.split())
    bench_of()
    assert "left out, as it was measured with torch" in (said := capsys.readouterr().out) and ": experiment\n" in said


def test_the_table_says_what_was_reached():
    text = report.table(filled())
    assert "| `kd` | ours | fp32 | 4.00 (2.00–8.00) | 1.00 (0.500–2.00) | 10.0% | 0 MiB |" in text
    assert "| kd / ft | 1.02 (1.02–1.02) | ≤ 1.05 | met |" in text
    assert "| kd / peer | 3.90 (3.90–3.90) | ≥ 4 | missed |" in text
    assert "| no goal | 2.00 (2.00–2.00) |  |  |" in text
    assert "| prepare (windows 131,685) | 100 s | ≤ 90 s | missed |" in text
    assert "| other (why no files) | not measured | ≤ 5 s |  |" in text
    assert "did not run: peer." in text
    assert "smoke run" not in text
    smoke = report.table(filled(quick=True))
    assert "smoke run" in smoke
    assert "met" not in smoke and "missed" not in smoke


def test_readme_and_tables_say_what_the_results_files_say(root):
    """Figures in the documentation are those that were measured."""
    files = sorted((root / "benchmarks/results").glob("*.json"))
    assert files
    lines = set()
    for file in files:
        table = report.table(report.read(file))
        assert file.with_suffix(".md").read_text() == table
        lines |= set(table.splitlines())
    section = (root / "README.md").read_text().partition("## Speed")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| ratio")]
    assert len(rows) > 5 and set(rows) <= lines


def test_every_line_of_a_table_has_its_columns():
    cells = 0
    for line in report.table(filled()).splitlines():
        if line.startswith("|"):
            cells = cells or line.count("|")
            assert line.count("|") == cells, line
        else:
            cells = 0


def test_the_file_name_has_no_blanks():
    assert report.machine_name(filled().machine) == "some-cpu-2-ghz-2-threads"


def test_rows_have_the_lengths_that_were_asked_for(tmp_path):
    wanted = [20, 384, 100, 57, 9, 200, 350]
    lengths.write_squad(tmp_path / "train.json", wanted)
    lengths.write_tokenizer(tmp_path / "tokenizer", size=40_000)
    rows = squad_json.load_squad_json(tmp_path / "train.json", version_2=True)
    loaded = tokenizer.load(str(tmp_path / "tokenizer"))
    assert len(loaded) == 40_000
    (batch,) = question_features.encode(rows, loaded, lengths.MAX_LENGTH, lengths.DOC_STRIDE)
    assert batch.column("length").to_pylist() == wanted
    starts, heads = batch.column("start_positions").to_numpy(), batch.column("cls_index").to_numpy()
    assert Counter((starts != heads).tolist()) == {True: 4, False: 3}
    assert loaded.unk_token_id not in np.concatenate(batch.column("input_ids").to_pylist())


def test_a_sample_is_spread_as_all_windows_are():
    everything, sample = lengths.all_lengths(), lengths.spread(1000)
    assert len(everything) == 131_685
    assert sample.mean() == pytest.approx(everything.mean(), rel=0.005)
    quantiles = [0.1, 0.5, 0.9]
    assert np.quantile(sample, quantiles) == pytest.approx(np.quantile(everything, quantiles), abs=2)


def test_measured_updates_are_like_all():
    found = lengths.spread(640)
    seed = lengths.representative_seed(found, 16, skipped=1, updates=4, rounds=3)
    order = list(EpochSampler(found, 16, True, seed))
    widest = found[order].reshape(-1, 16).max(1)
    means = [widest[first : first + 4].mean() for first in (1, 5, 9)]
    assert means == pytest.approx([widest.mean()] * 3, rel=0.05)


def test_measured_updates_of_mixed_rows_are_like_all():
    found, mix = np.concatenate([lengths.spread(640), lengths.spread(640)]), Mix(640, 0.5)
    seed = lengths.representative_seed(found, 16, 1, 4, 3, mix)
    widest = found[list(sampler(found, 16, True, seed, mix))].reshape(-1, 16).max(1)
    means = [widest[first : first + 4].mean() for first in (1, 5, 9)]
    assert means == pytest.approx([widest.mean()] * 3, rel=0.05)


def test_a_teacher_that_runs_along_takes_the_place_of_what_the_stage_calls(monkeypatch):
    original = distill_stage.teacher
    monkeypatch.setattr(distill_stage, "teacher", original)
    ours.run_teacher_along(distill_stage)
    assert distill_stage.teacher is not original
    given, expected = (list(inspect.signature(made).parameters) for made in (distill_stage.teacher, original))
    assert given[:2] == expected[:2] == ["run", "method"] and len(given) == len(expected)


def test_a_gate_counts_what_it_lets_through(monkeypatch):
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    monkeypatch.setenv("BENCH_GATE", f"{command_read},{answer_write}")
    os.write(command_write, b'{"updates": 2}\n{"updates": 1}\n')
    gate = Gate.from_environment()
    gate.begin()
    for mask in ([[1, 1, 0], [1, 0, 0]], [[1, 1, 1], [1, 1, 1]]):
        gate.count(torch.tensor(mask))
        gate.updated()
    ready, found = (json.loads(line) for line in os.read(answer_read, 10_000).decode().splitlines())
    assert ready == {"ready": True}
    assert (found["updates"], found["rows"]) == (2, 4)
    assert (found["real_tokens"], found["padded_tokens"], found["squares"]) == (9, 3, 4 + 1 + 9 + 9)
    report.Round.model_validate(found)
    for descriptor in (command_write, answer_read):
        os.close(descriptor)


# A system under test of a few lines; where its word is "fail", it ends in its second round.
SYSTEM = """
import sys
import torch
from benchmarks.gate import Gate
gate = Gate.from_environment()
gate.begin()
for update in range(100):
    if sys.argv[1] == "fail" and update == 4:
        sys.exit("out of order")
    gate.count(torch.ones(2, update + 1))
    gate.updated()
"""


def system(name: str, in_step: bool = False) -> rounds.System:
    return rounds.System(name, [sys.executable, "-c", SYSTEM, name], updates=2, warm_up=1, in_step=in_step)


def test_systems_take_turns_and_one_that_fails_is_left_out(capsys):
    found = rounds.measure([system("good"), system("fail")], rounds=3)
    assert list(found) == ["good"]
    # After the warm-up, rounds of two updates on 2 rows of 2 + 3, 4 + 5 and 6 + 7 tokens.
    assert [one["real_tokens"] for one in found["good"]] == [10, 18, 26]
    assert "out of order" in capsys.readouterr().out


def test_systems_without_room_are_started_anew_and_catch_up(monkeypatch):
    monkeypatch.setattr(rounds, "_room", lambda: False)
    found = rounds.measure([system("step", in_step=True), system("peer")], rounds=2)
    assert [one["real_tokens"] for one in found["step"]] == [10, 18]
    assert [one["real_tokens"] for one in found["peer"]] == [10, 10]
