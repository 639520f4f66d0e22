"""The report in a real browser: opened from disk, sorted by a person, on a phone, in the dark and on paper."""

import base64
import re
import shutil
from types import SimpleNamespace

import pytest

from distill.report import page
from tests.helpers import made_up

selenium = pytest.importorskip("selenium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.integration,
    pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (Debian: apt install chromium)"),
    pytest.mark.skipif(not DRIVER, reason="chromedriver is not installed (Debian: apt install chromium-driver)"),
]

OFFLINE = "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
OFFLINE += " --disable-sync --no-first-run --disable-dev-shm-usage"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*OFFLINE.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run of all methods, and its page on disk."""
    results = made_up.results(methods=made_up.METHODS)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page.html(results), encoding="utf-8")
    return SimpleNamespace(results=results, address=path.as_uri())


@pytest.fixture
def opened(chromium, written):
    """The page, freshly loaded in a window of a desk's size, without a log of what was before."""
    window(chromium, 1280, 900)
    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    chromium.get(written.address)
    return chromium


def window(driver, width, height, mobile=False):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def column(driver, title):
    """(row's name, sort key, text) of a column of the comparison, as they stand there now."""
    return driver.execute_script(
        """
        const table = document.getElementById("comparison");
        const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.innerText.trim().startsWith(arguments[0]));
        return [...table.tBodies[0].rows].map((row) =>
            [row.cells[0].innerText, row.cells[at].dataset.value ?? null, row.cells[at].innerText]);
        """,
        title,
    )


def head(driver, title):
    return next(
        cell for cell in driver.find_elements("css selector", "#comparison thead th") if cell.text.startswith(title)
    )


def test_it_loads_without_errors_and_asks_for_nothing_else(opened, written):
    assert [entry for entry in opened.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    asked = re.findall(r'"url":"([^"]+)"', " ".join(e["message"] for e in opened.get_log("performance")))
    assert {url for url in asked if not url.startswith("data:")} <= {written.address, "about:blank"}
    assert opened.title == "Distillation report: question answering"  # no script of an example has run


def test_numbers_are_those_of_the_summary(opened, written):
    summary = written.results.summary
    for title, key in (("F1", "f1"), ("Difference to ft", "f1_vs_ft"), ("p", "f1_vs_ft_p"), ("EM", "em")):
        found = column(opened, title)
        assert [name for name, _, _ in found] == list(summary)
        for name, value, text in found:
            expected = summary[name].get(key)
            assert (None if value is None else float(value)) == expected
            if expected is not None and key != "f1_vs_ft_p":
                assert float(text.replace("−", "-").split(" ")[0]) == pytest.approx(expected, abs=0.00501)


def test_a_click_sorts_and_another_turns_it_round(opened, written):
    summary = written.results.summary
    title = head(opened, "Difference to ft")
    for state, sign in (("descending", -1), ("ascending", 1)):
        title.find_element("tag name", "button").click()
        assert title.get_attribute("aria-sort") == state
        names = [name for name, _, _ in column(opened, "Difference to ft")]
        known = sorted(written.results.rivals, key=lambda name: sign * summary[name]["f1_vs_ft"])
        assert names[:20] == known and set(names[20:]) == {"teacher", "student", "ft"}
    head(opened, "Model").find_element("tag name", "button").click()
    assert title.get_attribute("aria-sort") == "none"
    names = [name for name, _, _ in column(opened, "F1")]
    assert names == sorted(summary)


def test_the_keyboard_sorts_too(opened):
    from selenium.webdriver.common.keys import Keys

    button = head(opened, "F1").find_element("tag name", "button")
    button.send_keys(Keys.ENTER)
    assert head(opened, "F1").get_attribute("aria-sort") == "descending"
    button.send_keys(Keys.SPACE)
    assert head(opened, "F1").get_attribute("aria-sort") == "ascending"
    values = [float(value) for _, value, _ in column(opened, "F1")]
    assert values == sorted(values)


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_the_page_itself_does_not_scroll_sideways(opened, width):
    window(opened, width, 800, mobile=width < 700)
    for part in opened.find_elements("css selector", "details"):
        opened.execute_script("arguments[0].open = true", part)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    assert opened.execute_script("return visualViewport.scale") == 1


def test_pictures_fit_a_phone_and_their_type_is_readable(opened):
    window(opened, 375, 800, mobile=True)
    widest, smallest = opened.execute_script(
        """
        for (const part of document.querySelectorAll("details")) part.open = true;
        const pictures = [...document.querySelectorAll("figure svg")];
        const scale = (svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
        const type = (svg) => Math.min(...[...svg.querySelectorAll("text")].map((text) =>
            parseFloat(getComputedStyle(text).fontSize) * scale(svg)));
        return [Math.max(...pictures.map((svg) => svg.getBoundingClientRect().right)), Math.min(...pictures.map(type))];
        """
    )
    assert widest <= 375 and smallest >= 9


def colours(driver):
    """Relative luminance (WCAG 2) of the page's ground, its text, and the text of a picture."""
    return driver.execute_script(
        """
        const light = (css) => {
          const parts = css.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
          return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
        };
        const of = (selector, name) => light(getComputedStyle(document.querySelector(selector))[name]);
        const ground = of("body", "backgroundColor");
        return [ground, of("body", "color"), of("figure svg text", "fill"), of(".note", "color")];
        """
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_pictures_stand_out_in_light_and_dark(opened, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    ground, *others = colours(opened)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert (ground > 0.5) == (scheme == "light")
    for other in others:
        high, low = max(ground, other), min(ground, other)
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_without_scripts_everything_is_still_there(opened, written):
    opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened.get(written.address)
        cells = opened.find_elements("css selector", "#comparison tbody th")
        assert [cell.text for cell in cells] == list(written.results.summary)
        assert opened.find_elements("css selector", "#comparison thead button") == []
    finally:
        opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_tables_are_not_cut_off(opened):
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    window(opened, 1017, 688)  # A4 landscape less its margins, in CSS pixels
    wide = opened.execute_script(
        "return [...document.querySelectorAll('table')].filter((t) => t.getBoundingClientRect().right > innerWidth + 1)"
        ".map((t) => t.id)"
    )
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert wide == []
    paper = opened.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert base64.b64decode(paper["data"]).startswith(b"%PDF")
