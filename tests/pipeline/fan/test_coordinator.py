"""The loop that hands out jobs: with an engine and a desk that only remember."""

import contextlib
import json

import pytest

from distill.errors import UserError
from pipeline.fan import coordinator as module
from pipeline.fan import jobs
from pipeline.fan.backends.base import State
from pipeline.fan.coordinator import Coordinator, Settings
from pipeline.fan.journal import Journal
from pipeline.fan.node import LOST
from pipeline.fan.progress import Progress
from tests.pipeline.fan.stages import by_name, comparison


class Desk:
    """Knows what jobs have handed in; the md5 of anything is right but for stages in `wrong`."""

    def __init__(self, folder):
        self.folder, self.run, self.config, self.cache, self.data = folder, "run", "", folder, []
        self.stages = by_name(comparison(("ft", "kd"), (1, 2)))
        self.done, self.wrong, self.pushed = {"inputs"}, set(), []

    def missing(self):
        return set(self.stages) - self.done - set(jobs.AT_THE_END)

    def take(self, result):
        self.done |= set(result["entries"]) - self.wrong

    def bundle(self, file):
        file.write_text("commit")

    def signals(self):
        return None

    def handed_in(self, path):
        return any(path.startswith(out) for name in self.done for out in self.stages[name].outs)

    def push(self, targets):
        self.pushed += targets


class Engine:
    """Ends jobs at the second look, as `codes` says; 0 hands the result in."""

    shared = True
    ends_jobs = False

    def __init__(self, results, **codes):
        self.results, self.codes, self.submitted, self.most, self.looks = results, codes, [], 0, {}

    def submit(self, job):
        self.submitted.append(job.name)
        content = json.loads(job.file.read_text())
        assert job.bundle.exists() and content["name"] == job.name
        self.looks[job.name] = (0, content["units"])
        self.most = max(self.most, sum(looks < 2 for looks, _ in self.looks.values()))
        return job.name

    def state(self, handle):
        looks, units = self.looks[handle]
        self.looks[handle] = (looks + 1, units)
        if looks < 1:
            return State("running")
        left = self.codes.get(handle.split("-")[0], [])
        code = left.pop(0) if left else 0
        if code == 0:
            entries = {name: {} for unit in units for name in unit}
            self.results[handle] = {
                "entries": entries,
                "files": {},
                "read_bytes": 1,
                "written_bytes": 2,
                "seconds": 1800.0,
            }
        self.looks[handle] = (2, units)
        return State("ended", code)


@pytest.fixture
def make(tmp_path, monkeypatch):
    results: dict = {}

    class Store:
        def __init__(self, repo, run):
            pass

        def check_writable(self, job):
            pass

        def results(self, known):
            return {name: result for name, result in results.items() if name not in known}

    monkeypatch.setattr(module, "Store", Store)
    monkeypatch.setattr(module, "Repo", lambda folder: contextlib.nullcontext())
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)

    def made(engine=None, retries=1, slots=2, chunk=1, price=0.0):
        desk = Desk(tmp_path)
        engine = engine or Engine(results)
        journal = Journal(tmp_path, "local")
        settings = Settings(slots, chunk, retries, 0)
        return Coordinator(desk, engine, journal, tmp_path, settings, Progress(price, slots)), desk, engine

    made.results = results
    return made


def test_all_is_run_in_order_with_no_more_jobs_than_slots(make):
    coordinator, desk, engine = make()
    coordinator.run()
    assert not desk.missing()
    assert [name.split("-")[0] for name in engine.submitted] == ["base", "models", *["students"] * 4]
    assert engine.most == 2


def test_a_lost_job_is_run_again_as_it_was(make):
    coordinator, desk, engine = make(Engine(make.results, base=[None, LOST], models=[137]), retries=2)
    coordinator.run()
    assert not desk.missing()
    assert engine.submitted[0] == engine.submitted[1] == engine.submitted[2]
    assert len(engine.submitted) == len(set(engine.submitted)) + 3


def test_a_job_that_is_lost_too_often_ends_with_one_line_and_the_others_are_run(make):
    coordinator, desk, engine = make(Engine(make.results, models=[None, None]), retries=1)
    with pytest.raises(UserError, match=r"models-\w+: lost 2 times; log: .*models"):
        coordinator.run()
    assert desk.missing() == {"evaluate_teacher"}


def test_a_job_that_failed_by_itself_is_not_tried_again(make, tmp_path):
    coordinator, desk, engine = make(Engine(make.results, base=[2]), retries=5)
    name = jobs.plan(list(desk.stages.values()), desk.missing(), 1, lambda name: 0)[0].name
    (tmp_path / f"{name}.log").write_text(
        "error: params.yaml: kd.temperature: 0: expected more than 0\njob ended with 2\n"
    )
    with pytest.raises(UserError, match="base-.*kd.temperature: 0: expected more than 0"):
        coordinator.run()
    assert len(engine.submitted) == 1


def test_started_again_it_finds_what_runs_and_what_is_done(make, tmp_path):
    first, desk, engine = make(slots=1)
    engine.state = lambda handle: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    del engine.state
    assert [item.job.kind for item in Journal(tmp_path, "local").read()] == ["base"]
    assert Journal(tmp_path, "slurm").read() == []
    second, desk, _ = make(engine, slots=1)
    second.run()
    assert not desk.missing()
    assert len(engine.submitted) == len(set(engine.submitted)) == 6
    third, _, _ = make(engine)
    third.run()  # all is handed in
    assert len(engine.submitted) == 6


def test_results_of_other_inputs_are_refused_once(make):
    coordinator, desk, engine = make()
    desk.wrong = {"distill@kd-1"}
    with pytest.raises(UserError, match="made distill@kd-1 of other inputs than this workspace has"):
        coordinator.run()
    assert len(engine.submitted) == 6


def test_what_the_workspace_has_is_pushed_for_the_workers_once(make):
    coordinator, desk, _ = make()
    desk.done |= {"prepare"}
    desk.handed_in = lambda path: path != "data/prepared"
    coordinator.run()
    assert desk.pushed == ["data/prepared"]


def test_what_earlier_jobs_cost_counts_after_a_restart(make, capsys):
    """Six jobs of half an hour: those that were handed in before are paid for, too."""
    first, desk, engine = make(price=2.0)
    first.run()
    handed_in = len(engine.submitted)
    capsys.readouterr()
    second, desk, engine = make(price=2.0)
    with second._progress:
        second.run()
    assert engine.submitted == [] and handed_in == 6
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("6 jobs done, ") and last.endswith("cost 6.00")


def test_stages_of_running_jobs_do_not_wait(make, monkeypatch):
    coordinator, desk, engine = make(slots=1)
    shown = []

    def show(running, waiting):
        shown.append((sum(len(item.job.stages) for item, _ in running), waiting, len(desk.missing())))

    monkeypatch.setattr(coordinator._progress, "show", show)
    coordinator.run()
    assert shown and all(taken + waiting == missing for taken, waiting, missing in shown)
