"""MLflow's own pages in a real browser: what a person sees of the runs that stages log."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from distill.tracking.records import Champion
from distill.tracking.run import start_run
from pipeline.stage import paths
from pipeline.stage.definition import Definition
from pipeline.stage.stage import Stage
from tests.helpers import micro

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # SQLAlchemy of MLflow
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"),
]

SCORES = {"kd": {"em": 71.25, "f1": 77.875}, "ted": {"em": 74.5, "f1": 81.125}}
CURVES = {"loss": [3.5, 2.5, 1.5], "kl": [2.0, 1.0, 0.5], "selection_f1": [10.0, 40.0, 60.0]}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A project whose stages, trained by nobody, have logged what stages log: folder, and run ids by stage."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(micro.params())
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_", "DISTILL_", "RANK"))]:
            patch.delenv(name)
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("DVC_EXP_NAME", "warm")
        patch.chdir(folder)
        params = paths.params()
        runs = {}
        for method, scores in SCORES.items():
            tags = {"method": method, "seed": 1}
            for kind in ("distill", "evaluate"):
                name = f"{kind}@{method}-1"
                with Stage(Definition(name, ("task",)), params, tags=tags) as stage:
                    if kind == "evaluate":
                        stage.run.log_final(scores)
                    else:
                        for step in range(3):
                            stage.run.log({key: values[step] for key, values in CURVES.items()}, step)
                runs[name] = stage.run.run_id
        with Stage(Definition("summarize"), params) as stage:
            stage.run.log_final({f"{m}.{k}": v for m, scores in SCORES.items() for k, v in scores.items()})
        runs["summarize"] = stage.run.run_id
    assert None not in runs.values()
    yield SimpleNamespace(folder=folder, runs=runs)


@pytest.fixture(scope="module")
def server(store) -> Iterator[str]:
    """The address of `mlflow ui`, started as `make ui` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow.db"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--workers", "1"],
        cwd=store.folder,
        env=micro.environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_DISABLE_TELEMETRY="true"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, "mlflow ui has ended"
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    """A headless Chromium that talks to nobody but the server."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for switch in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run", "disable-sync"),
        *("disable-background-networking", "disable-component-update", "window-size=1600,1000"),
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{switch}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


# The cells of the runs table, by row and column, in the order that is seen.
CELLS = """
    const rows = {};
    for (const cell of document.querySelectorAll("[row-index] [col-id]")) {
        const row = cell.closest("[row-index]").getAttribute("row-index");
        (rows[row] ??= {})[cell.getAttribute("col-id")] = cell.innerText.trim();
    }
    return Object.keys(rows).sort((a, b) => a - b).map(row => rows[row]);
"""
# The curves of a run's page, as they are drawn.
DRAWN = """
    const curves = {};
    for (const plot of document.querySelectorAll(".js-plotly-plot"))
        for (const line of plot.data)
            if (plot.querySelector(".scatterlayer path.js-line")) curves[line.metricKey] = [[...line.x], [...line.y]];
    return curves;
"""


def visit(browser, address: str) -> None:
    """Open a page anew: from one to another of MLflow's, the browser would only follow the part behind the #."""
    browser.get("about:blank")
    browser.get(address)


def seen(look: Callable[[], Any], expected: Callable[[Any], bool]) -> Any:
    """What is on the page once it is as expected; what is there after a minute, where it does not come to that."""
    until, found = time.monotonic() + 60, None
    while time.monotonic() < until and not expected(found := look()):
        time.sleep(0.5)
    return found


def run_names(rows: list[dict[str, str]]) -> list[str]:
    """Without the colour that stands before each."""
    return [row.get("attributes.`Run Name`", "").split("\n")[-1] for row in rows]


def rows_of(browser, expected: Callable[[list], bool]) -> list[dict[str, str]]:
    return seen(lambda: browser.execute_script(CELLS), expected)


def unfold(browser) -> None:
    """Click on the sign before the parent run."""
    script = "return document.querySelector('[row-index] [col-id=\"attributes.`Run Name`\"] button')"
    seen(lambda: browser.execute_script(script), lambda button: button is not None).click()


def test_the_view_of_scores_shows_em_and_f1_of_every_evaluation(server, browser):
    visit(browser, f"{server}/#/experiments/1/runs?viewStateShareKey=scores")
    rows = rows_of(browser, lambda rows: len(rows) == 2 and all("metrics.`f1`" in row for row in rows))
    assert run_names(rows) == ["evaluate@kd-1", "evaluate@ted-1"]
    for row, (method, scores) in zip(rows, SCORES.items(), strict=True):
        assert {name: float(row[f"metrics.`{name}`"]) for name in scores} == scores
        assert (row["tags.`method`"], row["tags.`seed`"]) == (method, "1")


def test_runs_are_folded_below_their_experiment_s_run(store, server, browser):
    visit(browser, f"{server}/#/experiments/1/runs")
    assert run_names(rows_of(browser, lambda rows: len(rows) == 1)) == ["warm"]
    unfold(browser)
    rows = rows_of(browser, lambda rows: len(rows) == 1 + len(store.runs))
    assert set(run_names(rows)) == {"warm", *store.runs}


def test_runs_are_found_by_method_and_score(server, browser):
    search = quote("tags.method = 'ted' and metrics.f1 > 80")
    visit(browser, f"{server}/#/experiments/1/runs?searchFilter={search}&orderByKey={quote('tags.`method`')}")
    rows = rows_of(browser, lambda rows: run_names(rows) == ["evaluate@ted-1"])
    assert run_names(rows) == ["evaluate@ted-1"]


def test_the_page_of_a_training_shows_its_curves(store, server, browser):
    visit(browser, f"{server}/#/experiments/1/runs/{store.runs['distill@ted-1']}/model-metrics")
    expected = {
        "train/loss": [[0, 1, 2], CURVES["loss"]],
        "train/kl": [[0, 1, 2], CURVES["kl"]],
        "selection/f1": [[0, 1, 2], CURVES["selection_f1"]],
    }
    assert seen(lambda: browser.execute_script(DRAWN), lambda found: found == expected) == expected


def test_compare_shows_settings_beside_scores(store, server, browser):
    chosen = [store.runs[f"evaluate@{method}-1"] for method in SCORES]
    experiments = json.dumps(["1"])
    visit(browser, f"{server}/#/compare-runs?runs={quote(json.dumps(chosen))}&experiments={quote(experiments)}")
    wanted = ("kd.temperature", "ted.mse_alpha", "distill.batch_size", "81.13", "77.88")
    text = seen(
        lambda: browser.execute_script("return document.body.innerText"),
        lambda text: all(word in text for word in wanted),
    )
    assert [word for word in wanted if word not in text] == []


def test_a_server_takes_the_champion_and_its_page_shows_the_alias(store, server, browser, tmp_path, monkeypatch):
    """A server refuses paths of files as sources, which a database takes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    path = "data/models/distill/ted/1"
    champion = Champion("distill", path, "a" * 32 + ".dir", 80.5, "x", run_id=store.runs["evaluate@ted-1"])
    with start_run(root=tmp_path, experiment="distill", name="summarize", close_timeout=120) as run:
        run.register(champion)
    visit(browser, f"{server}/#/models/distill/versions/1")
    wanted = ("champion", "dvc.path", path, champion.md5)
    text = seen(
        lambda: browser.execute_script("return document.body.innerText"),
        lambda text: all(word in text for word in wanted),
    )
    assert [word for word in wanted if word not in text] == []
