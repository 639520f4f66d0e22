"""The pipeline against a hub on loopback, through the real clients: data, models, revisions, and all that can fail."""

import json
import re
import shutil

import pytest
import yaml

from distill.data.loading.prepared import Prepared
from distill.experiments import params_file
from tests.helpers import hub_content, hub_process, hub_server, micro
from tests.helpers.hub_process import loads, stage

pytestmark = pytest.mark.slow

TOKEN = {"HF_TOKEN": "hf_reader"}
TEXTS, TEACHER, STUDENT = "someone/texts", "someone/teacher", "someone/student"
SETTINGS = {
    "task": "classification",
    "data.source": "hub",
    "data.name": TEXTS,
    "data.subset": "reviews",
    "data.text": "sentence",
    "features.tokenizer.path": TEACHER,
    "features.max_length": 48,
    "teacher.model.path": TEACHER,
    "teacher.model.config": {},
    "student.model.path": STUDENT,
    "student.model.config": {},
    "student.init": "pretrained",
    "methods": ["ft", "kd"],
    "training.max_steps": 2,
}
NEVER = "1" * 40  # a commit that no repository has
TOKENIZER = "from distill.data.loading import tokenizer; tokenizer.load({name!r}, {revision!r})"
MODEL = (
    "from distill.models.loading import from_pretrained; from distill.tasks.registry import load_task;"
    " print(from_pretrained({name!r}, load_task('qa'), {revision!r}, {{}}, 'teacher').num_parameters())"
)
DATA = (
    "from distill.data.sources import hub\n    with hub.opened({name!r}, 'reviews', {revision!r}) as split_of:"
    " print(split_of('train')['sentence'][:2])"
)
COMMIT = "from distill.runtime import hub; print(hub.commit({name!r}, {revision!r}, {kind!r}, 'some.field'))"
LOADS = {"model": MODEL, "tokenizer": TOKENIZER, "dataset": DATA}


class World:
    """The hub, and a repository that has run against it."""

    def __init__(self, folder, hub, client):
        self.hub, self.client = hub, client
        self.files = {
            TEACHER: hub_content.checkpoint(folder / "teacher", 2),
            STUDENT: hub_content.checkpoint(folder / "student", 1, seed=1),
            TEXTS: hub_content.texts(),
        }
        self.commits = {name: hub.commit("model", name, self.files[name]) for name in (TEACHER, STUDENT)}
        self.commits[TEXTS] = hub.commit("dataset", TEXTS, self.files[TEXTS], gated=True, reader="hf_reader")
        self.repo = self.new(folder / "repo")
        self.begun = self.begin()
        for words in (("inputs",), ("prepare",), ("finetune", "teacher"), ("finetune", "student")):
            self.stage(self.repo, *words)
        self.requests = list(hub.asked)

    def begin(self):
        """All that fails, begun at once: most of its time is waiting."""
        hub, model, texts = self.hub, self.files[TEACHER], self.files[TEXTS]
        hub.commit("dataset", "gated/texts", texts, gated=True, reader="hf_reader")
        hub.commit("model", "gated/model", model, gated=True, reader="hf_reader")
        hub.commit("model", "some/config", {"config.json": model["config.json"]})
        hub.commit("model", "some/nothing", {"README.md": b"Soon."})
        hub.commit("dataset", "some/gap", {path: texts[path] for path in texts if "validation" not in path})
        hub.commit("model", "gated/weights", model)
        self.client.wait(self.load(TOKENIZER, "gated/weights"))  # its config.json lies in the cache now
        hub.repositories["model", "gated/weights"].gated = True
        jobs = {
            case: self.load(code, name, revision, kind, env=env)
            for case, (code, name, revision, kind, env, _) in REFUSED.items()
        }
        for number, ((fault, faulty), (what, _)) in enumerate(FAULTS.items()):
            kind, name = kind_of(what), f"fault/{number}"
            hub.commit(kind, name, texts if kind == "dataset" else model, fault=fault, faulty=faulty)
            jobs[fault, faulty] = self.load(LOADS.get(what, COMMIT), name, "main" if what == "commit" else None, kind)
        return jobs

    def new(self, folder, **changes):
        """A repository that has run nothing."""
        repo = micro.repo(folder, SETTINGS | changes)
        for name in ("train.json", "validation.json"):
            (repo / "data/raw/atlas").mkdir(parents=True, exist_ok=True)
            (repo / "data/raw/atlas" / name).write_text("{}")  # of stage corpus, which is not what these tests are on
        return repo

    def stage(self, repo, *words, check=True, **options):
        """Run a stage with the token of somebody who has accepted the terms."""
        return self.client.run(repo, stage(*words), check, env=TOKEN, **options)

    def load(self, code, name, revision=None, kind="model", **options):
        """Start to load a repository, at its newest commit where no revision is given."""
        repository = self.hub.repositories.get((kind, name))
        revision = revision or (repository.refs["main"] if repository else NEVER)
        return self.client.start(self.repo, loads(code.format(name=name, revision=revision, kind=kind)), **options)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    timeouts = {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
    with (
        hub_server.Hub(folder / "served") as hub,
        hub_process.Client(folder / "jobs", hub.endpoint, **timeouts) as client,
    ):
        yield World(folder, hub, client)


def kind_of(what):
    """The kind of repository that a load of `FAULTS` reads."""
    return "dataset" if what in ("dataset", "commit") else "model"


def inputs(repo, role):
    return json.loads((repo / f"data/inputs/{role}.json").read_text())


def test_data_models_and_tokenizer_come_from_the_hub_at_the_commit_that_is_written_down(world):
    entries = {role: inputs(world.repo, role) for role in ("data", "tokenizer", "teacher", "student")}
    for entry in (entry for entries_ in entries.values() for entry in entries_.values()):
        assert entry["commit"] == world.commits[entry["name"]]
    meta = Prepared(world.repo / "data/prepared", world.repo / "data/reported").meta
    assert meta["labels"] == ["bad", "good"]
    read = {split: counts["examples"] for split, counts in meta["splits"].items()}
    assert read["train"] + read["selection"] == 60 and read["validation"] == 16  # of both files of one configuration
    for role, layers in (("teacher", 2), ("student", 1)):
        config = json.loads((world.repo / f"data/models/{role}/config.json").read_text())
        assert config["num_hidden_layers"] == layers
    # The files, not the branch, are asked for, once each; and no token leaves for the host of large files.
    gets = [line for line in world.requests if re.match(r"GET /(?!api/).*someone/(texts|teacher|student)[@/]", line)]
    assert len(gets) == len(set(gets)) and not any("/resolve/main/" in line for line in gets)
    assert any("/storage/" in line for line in gets) and world.hub.leaked == []


def test_another_configuration_other_splits_and_questions(world):
    name = "someone/questions"
    world.hub.commit("dataset", name, hub_content.questions())
    code = "from distill.data.sources import hub\n    with hub.opened({0!r}, {1!r}, {2!r}) as of: print(len(of({3!r})))"
    plots = world.client.start(world.repo, loads(code.format(TEXTS, "plots", world.commits[TEXTS], "test")), env=TOKEN)
    found = (
        "from distill.data.sources.question_sets import load; names = {{'train': 'train', 'validation': 'validation'}};"
        " found = load('hub', {{}}, {name!r}, None, {revision!r}, names, True);"
        " print([len(rows) for rows in found.values()], found['train'][0]['answers'])"
    )
    rows = world.load(found, name, kind="dataset")
    assert world.client.wait(plots).out.strip() == "8"
    assert world.client.wait(rows).out.strip() == "[4, 2] {'text': ['Limmat'], 'answer_start': [19]}"


def test_a_new_commit_is_another_input_but_for_what_is_pinned(world, tmp_path):
    name, tokens = "moving/texts", "moving/tokens"
    old = world.hub.commit("dataset", name, world.files[TEXTS])
    world.hub.commit("model", tokens, world.files[TEACHER])
    pin = world.hub.commit("model", tokens, world.files[TEACHER], branch="v1")
    changes = {"data.name": name, "features.tokenizer.path": tokens, "features.tokenizer.revision": "v1"}
    repo = world.new(tmp_path / "repo", **changes)
    world.stage(repo, "inputs")
    assert inputs(repo, "data")["data.name"]["commit"] == old
    before = {role: (repo / f"data/inputs/{role}.json").read_bytes() for role in ("data", "tokenizer", "teacher")}
    new = world.hub.commit("dataset", name, hub_content.texts(train=64))
    world.hub.commit("model", tokens, world.files[STUDENT])
    world.stage(repo, "inputs")
    after = {role: (repo / f"data/inputs/{role}.json").read_bytes() for role in before}
    # DVC runs again what depends on the file that has changed, and nothing else.
    assert {role for role in before if before[role] != after[role]} == {"data"}
    assert inputs(repo, "data")["data.name"]["commit"] == new
    assert inputs(repo, "tokenizer")["features.tokenizer.path"]["commit"] == pin
    stages = yaml.safe_load((repo / "dvc.yaml").read_text())["stages"]
    assert "data/inputs/data.json" in stages["prepare"]["deps"]
    assert "train: 64 rows" in world.stage(repo, "prepare").out
    # A commit in params.yaml is not even asked for.
    file = repo / "params.yaml"
    file.write_text(params_file.replace(file.read_text(), {("data", "revision"): old}))
    asked = len(world.hub.asked)
    world.stage(repo, "inputs")
    assert inputs(repo, "data")["data.name"]["commit"] == old
    assert not any(name in line for line in world.hub.asked[asked:])
    assert "train: 60 rows" in world.stage(repo, "prepare").out


# What is loaded, of which repository, with which token → what the one line says.
REFUSED = {
    "no such model": (COMMIT, "nobody/nothing", "main", "model", {}, "no such model on the hub"),
    "no such revision": (COMMIT, TEACHER, "v9", "model", {}, "not at revision 'v9'"),
    "gated, at once": (COMMIT, TEXTS, "main", "dataset", {}, "asks for consent .*/datasets/someone/texts, then `hf"),
    "gated, other user": (COMMIT, TEXTS, "main", "dataset", {"HF_TOKEN": "hf_x"}, "not given this token's user access"),
    "tokenizer, no such": (TOKENIZER, "nobody/nothing", None, "model", {}, "no such model on the hub: correct it"),
    "tokenizer, no commit": (TOKENIZER, TEACHER, NEVER, "model", {}, f"not at revision '{NEVER}'"),
    "data, no such": (DATA, "nobody/nothing", None, "dataset", {}, "no such dataset on the hub"),
    "data, no commit": (DATA, TEXTS, NEVER, "dataset", {}, f"not at revision '{NEVER}'"),
    "data, gated": (DATA, "gated/texts", None, "dataset", {}, "asks for consent"),
    "model, gated": (MODEL, "gated/model", None, "model", {}, "asks for consent"),
    "model without weights": (MODEL, "some/config", None, "model", {}, "no.* file named"),
    "model without anything": (MODEL, "some/nothing", None, "model", {}, "Unrecognized model"),
    "data without a file": (DATA, "some/gap", None, "dataset", {}, "cannot be loaded"),
    "weights only gated": (MODEL, "gated/weights", None, "model", {}, "asks for consent"),
}
# A fault of the hub, of which files → what the one line says.
FAULTS = {
    ("slow", ".*json"): ("tokenizer", "does not answer in time.*HF_HUB_DOWNLOAD_TIMEOUT"),
    ("slow", ".*safetensors"): ("model", "does not answer in time"),
    ("cut", ".*safetensors"): ("model", "broke off .peer closed"),
    ("cut", ".*parquet"): ("dataset", "broke off .peer closed"),
    ("short", ".*safetensors"): ("model", "came cut off .Consistency check failed"),
    ("corrupt", ".*json"): ("tokenizer", "config.json.* came damaged from the hub"),
    ("corrupt", ".*safetensors"): ("model", "model.safetensors came damaged from the hub"),
    ("corrupt", ".*parquet"): ("dataset", r"reviews/train-0.parquet.* came damaged from the hub"),
    ("503", ".*"): ("dataset", "the hub answers with 503"),
    ("api-503", ".*"): ("commit", "the hub answers with 503"),
    ("api-slow", ".*"): ("commit", "does not answer in time"),
}


def one_line(done, message):
    assert done.code == 2 and "Traceback" not in done.err, done.err
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and done.err.splitlines()[-1] == errors[0], done.err
    assert re.search(message, errors[0]), errors[0]


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_hub_refuses_or_lacks_is_one_line(world, case):
    one_line(world.client.wait(world.begun[case]), REFUSED[case][-1])


@pytest.mark.parametrize("case", FAULTS, ids="-".join)
def test_a_fault_is_one_line_and_the_next_run_trusts_nothing_of_it(world, case):
    what, message = FAULTS[case]
    one_line(world.client.wait(world.begun[case]), message)
    number = list(FAULTS).index(case)
    kind = kind_of(what)
    assert not list(world.client.home.glob(f"hub/{kind}s--fault--{number}/blobs/*.incomplete"))
    repository = world.hub.repositories[kind, f"fault/{number}"]
    repository.fault = ""
    if what != "commit":
        again = world.client.wait(world.load(LOADS[what], f"fault/{number}", None, kind))
        assert again.code == 0, again.err
        if what == "dataset":
            assert "a fine actor and film" in again.out


def test_offline_with_a_warm_cache_and_with_a_cold_one(world, tmp_path):
    repo = world.new(tmp_path / "repo")  # another clone on this machine
    before = len(world.hub.asked)
    world.stage(repo, "inputs", offline=True)
    for role in ("data", "tokenizer", "teacher", "student"):
        assert inputs(repo, role) == inputs(world.repo, role)
    world.stage(repo, "prepare", offline=True)
    warm = world.client.wait(world.load(MODEL, STUDENT, offline=True))
    assert warm.code == 0, warm.err
    assert len(world.hub.asked) == before
    world.hub.commit("model", "cold/model", world.files[TEACHER])
    world.hub.commit("dataset", "cold/texts", world.files[TEXTS])
    cold = {
        COMMIT: world.load(COMMIT, "cold/model", "main", offline=True),
        **{code: world.load(code, "cold/model", offline=True) for code in (TOKENIZER, MODEL)},
        DATA: world.load(DATA, "cold/texts", kind="dataset", offline=True),
    }
    for job in cold.values():
        one_line(world.client.wait(job), "HF_HUB_OFFLINE is set")


def test_a_hub_that_is_down_is_as_offline(world, tmp_path):
    repo = shutil.copytree(world.repo, tmp_path / "repo")
    known = [key for key in world.hub.repositories if key[1] in world.commits]
    for key in known:
        world.hub.repositories[key].fault = "503"
    try:
        world.stage(repo, "inputs")
        assert inputs(repo, "data") == inputs(world.repo, "data")
    finally:
        for key in known:
            world.hub.repositories[key].fault = ""


@pytest.mark.exhaustive
def test_the_stages_after_the_fine_tuning_go_through_and_ask_the_hub_for_nothing_large(world, tmp_path):
    """From the plan to the summary, on the models, tokenizer and data of the hub."""
    repo = shutil.copytree(world.repo, tmp_path / "repo")
    before = len(world.hub.asked)
    students = [(name, method, "1") for name in ("distill", "evaluate") for method in SETTINGS["methods"]]
    scored = [("evaluate_teacher",), ("evaluate", "student"), *students, ("cost",), ("summarize",)]
    for words in [("plan",), ("predict",), *micro.OPTIONAL, ("signals",), *scored]:
        world.stage(repo, *words)
    summary = json.loads((repo / "metrics/summary.json").read_text())
    assert list(summary) == ["teacher", "student", "ft", "kd"] and summary["kd"]["accuracy"] >= 0
    asked = world.hub.asked[before:]
    assert not [line for line in asked if line.startswith("GET") and re.search(r"safetensors|parquet", line)]
