"""Which stages share a job, in which order, and what a job fetches."""

from dvc.repo import Repo

from pipeline.fan import jobs
from pipeline.fan.desk import _plain
from pipeline.fan.graph import Stage, in_order
from tests.helpers import micro
from tests.pipeline.fan.stages import by_name, comparison

METHODS, SEEDS = ("ft", "kd", "ted"), (1, 2, 10)


def planned(stages, chunk, done=(), rank=lambda name: 0):
    missing = {stage.name for stage in stages if stage.base not in jobs.AT_THE_END} - {"inputs", *done}
    return jobs.plan(stages, missing, chunk, rank), missing


def test_every_stage_is_in_one_job_that_waits_for_those_it_needs():
    stages = comparison(METHODS, SEEDS, controls=("ted",), exports=("kd",))
    plan, missing = planned(stages, 2)
    assert sorted(name for job in plan for name in job.stages) == sorted(missing)
    assert [job.kind for job in plan] == ["base", "models", *["students"] * 5, *["later"] * 3]
    done = {"inputs"}
    for job in plan:  # in this order each finds what it needs
        assert jobs.ready(job, by_name(stages), missing - done)
        done |= set(job.stages)
    assert not any(jobs.ready(job, by_name(stages), missing) for job in plan[1:])
    assert plan[0].stages == ("prepare", "finetune_teacher", "finetune_student", "signals")
    assert plan[2].units == (("distill@ft-1", "evaluate@ft-1"), ("distill@ft-2", "evaluate@ft-2"))
    assert plan[-1].units[-1] == ("control@own-ted-10", "evaluate_control@own-ted-10")


def test_a_job_has_the_same_name_whoever_plans_it():
    stages = comparison(METHODS, SEEDS)
    first, again, other = (planned(stages, chunk)[0] for chunk in (2, 2, 3))
    assert [job.name for job in first] == [job.name for job in again]
    assert len({job.name for job in [*first, *other]}) == len(first) + len(other) - 2  # base and models are the same


def test_only_what_is_missing_is_planned():
    stages = comparison(METHODS, SEEDS)
    done = {stage.name for stage in stages} - {"evaluate@kd-2"}
    (job,), _ = planned(stages, 4, done)
    assert job.units == (("evaluate@kd-2",),)


def test_methods_that_read_the_same_files_stand_side_by_side():
    files = {"ted": "abc", "kd": "a", "lwd": "abd", "rail": "ae", "dist": "a", "pkd": "ae"}
    listing = [{"md5": md5, "relpath": f"{name}/{md5}"} for name, md5s in files.items() for md5 in md5s]
    rank = jobs.by_shared_files(listing)
    order = sorted(files, key=rank)
    assert set(order[:2]) == {"ted", "lwd"}
    assert abs(rank("rail") - rank("pkd")) == 1 and abs(rank("kd") - rank("dist")) == 1
    assert rank("new") == len(files) and jobs.by_shared_files(None)("kd") == 0
    stages = comparison(("kd", "lwd", "rail", "ted"), (1, 2))
    plan, _ = planned(stages, 4, rank=rank)
    assert {jobs.method(unit[0].partition("@")[2]) for unit in plan[2].units} == {"ted", "lwd"}


def test_a_student_fetches_its_own_part_and_no_more():
    stages = comparison(METHODS, SEEDS)
    plan, _ = planned(stages, 1)
    student = next(job for job in plan if job.units[0][0] == "distill@ted-1")
    assert jobs.reads(student, by_name(stages)) == ["data/prepared", "data/models/student", "data/signals/ted"]
    assert jobs.reads(plan[0], by_name(stages)) == []


def test_a_folder_of_several_outputs_is_fetched_by_output():
    """Git keeps data/members itself in a clone, and DVC would take it for complete."""
    members = [Stage(f"predict_member@{name}", (), (), (f"data/members/{name}",)) for name in ("a", "b")]
    stages = [*members, *comparison(("kd",), (1,))]
    alone = jobs.Job("models", (("evaluate_teacher",),))
    assert jobs.reads(alone, by_name(stages)) == ["data/models/teacher", "data/members/a", "data/members/b"]


def test_all_stages_of_the_pipeline_have_their_place(tmp_path):
    """Those of dvc.yaml itself, with further seeds of the baseline, fresh seeds, controls, exports and a member."""
    changes = {
        "methods": ["ft", "kd"],
        "seeds": [1, 2],
        "compare.baseline_seeds": [4],
        "confirm.methods": ["kd"],
        "confirm.seeds": [7],
        "controls.methods": ["kd"],
        "export.methods": ["kd"],
    }
    repo = micro.repo(tmp_path / "repo", changes)
    with Repo(str(repo)) as dvc:
        stages = in_order([_plain(item, dvc.index.graph) for item in dvc.index.graph])
    plan, _ = planned(stages, 100)
    kinds = {job.kind: set(job.stages) for job in plan}
    assert kinds["models"] == {"evaluate_teacher", "evaluate_student"}
    students = {f"{base}@{item}" for base in ("distill", "evaluate") for item in ("ft-1", "ft-2", "kd-1", "kd-2")}
    extra = {f"{base}_{kind}" for base in ("distill", "evaluate") for kind in ("baseline@ft-4", "confirm@kd-7")}
    assert kinds["students"] == students | extra
    assert {name for name in kinds["later"] if name.startswith(("control", "export@kd-1"))} >= {"export@kd-1"}
    assert {"prepare", "finetune_student", "train_teacher_filters", "augment", "signals"} <= kinds["base"]
    assert not {"inputs", "cost", "summarize"} & set().union(*kinds.values())
