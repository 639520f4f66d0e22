"""Fixtures that all tests share."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hypothesis import HealthCheck, settings

# `make test` tries the same examples each time, so that no commit fails by luck; `make test-all` tries others.
settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Folders of tests are in memory where there is plenty: they hold many small files, and one takes ten times as long on a
# disk. pytest takes its folder from this variable, whatever TMPDIR says.
_MEMORY = Path("/dev/shm")
if os.access(_MEMORY, os.W_OK) and min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available) > 8e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# Where `evaluate` copies the scripts of metrics that it loads: not into the home of who runs the tests.
_MODULES = tempfile.TemporaryDirectory(prefix="metrics-")
os.environ["HF_MODULES_CACHE"] = _MODULES.name
# Nor what is remembered of downloads.
os.environ["HF_ASSETS_CACHE"] = os.path.join(_MODULES.name, "assets")
# Nor what DVC remembers of each project: it would stay for good.
_SITE = tempfile.TemporaryDirectory(prefix="dvc-")
os.environ["DVC_SITE_CACHE_DIR"] = _SITE.name
# Before anything imports torch: its threads would fight over the cores with the other test processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Python looks for garbage after every 700 objects more, which takes a tenth of the tests' time.
gc.set_threshold(50_000, 20, 50)
# libyaml's parser gives the same as Python's own, and sooner.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"


# These files share a project that takes half a minute to make.
TOGETHER = ("test_reruns", "test_tracking_modes")
# They take half a minute or more each: begun last, one process would still be at them when the others are done.
LONGEST = (
    *TOGETHER,
    "test_workspace",
    "test_presets_run",
    "test_kill",
    "test_processes",
    "test_methods",
    "test_states",
    "test_damaged_inputs",
    "test_run",
    "test_new_method",
    "test_families",
    "test_export",
    "test_onnx",
    "test_wild_files",
    "test_inputs",
    "test_hub",
    "test_summarize",
    "test_sweep",
    "test_budget",
    "test_stub_fan_out",
)


def pytest_configure(config: pytest.Config) -> None:
    """Several processes share a fork server. Each begins to collect in another folder, and keeps what it has compiled.

    pytest takes 12 s to compile all tests with its kind of `assert`: so do all processes together, not each of them.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None:
        if config.getoption("numprocesses", None) and _all_are_asked(config):
            from tests.helpers import forkserver

            forkserver.share()
        return
    sys.dont_write_bytecode = False
    if _all_are_asked(config):
        files = sorted(TESTS.rglob("test_*.py"))
        parts = list(dict.fromkeys(TESTS / file.relative_to(TESTS).parts[0] for file in files))
        number = int(worker["workerid"].removeprefix("gw"))
        middle = files[len(files) * number // worker["workercount"]]
        begin = parts.index(TESTS / middle.relative_to(TESTS).parts[0])
        config.args = [str(part) for part in parts[begin:] + parts[:begin]]


def _all_are_asked(config: pytest.Config) -> bool:
    return [Path(name).resolve() for name in config.args] == [TESTS]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In several processes the longest files come first, the others by name; in one, the order stays."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (_place(item.path.stem), item.path))


def _place(file: str) -> int:
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file, and those of the files above, run in one of `make test`'s processes.

    `--dist loadgroup` is for that, but pytest-xdist 3.8 cannot mark groups with pytest 9.2, and says nothing.
    """
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return TOGETHER[0] if Path(file).stem in TOGETHER else file

    return Together(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository: real data, weights and golden values, where they are at hand."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs ../shared (real data and golden values), which is not here")
    return folder


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """Before a file's tests: Trainer's calls of gc.collect need not look through all that was imported, 0.3 s each."""
    gc.collect()
    gc.freeze()
    # A fingerprint, for what `map` caches, takes longer than a small dataset itself; no test looks for a cached one.
    if library := sys.modules.get("datasets.arrow_dataset"):
        library.generate_fingerprint = lambda dataset: library.generate_random_fingerprint()


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """The report's pictures have their words only, for a fifth of the time (tests/helpers/pictures.py)."""
    from matplotlib.figure import Figure

    from tests.helpers import pictures

    monkeypatch.setattr(Figure, "savefig", pictures.undrawn)


@pytest.fixture(scope="session")
def python(tmp_path_factory) -> Iterator[Path]:
    """Folder of a `python` that runs stages and has the libraries imported already."""
    from tests.helpers import warm

    with warm.Python(tmp_path_factory.mktemp("python")) as interpreter:
        yield interpreter.path
