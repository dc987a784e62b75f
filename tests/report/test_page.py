"""The report's page in a real headless browser: nothing is fetched, nothing is said to the console, all can be read."""

import json
import shutil

import pytest
from tests.support.report_rows import rows_of_victim

from feint.evaluation.results import Results
from feint.i18n import LANGUAGES, Catalog
from feint.report import Report

pytestmark = pytest.mark.browser

BROWSERS = "chromium", "chromium-browser", "google-chrome"


@pytest.fixture(scope="module")
def browser():
    """A headless browser of this machine; the tests are skipped without one."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as run:
        opened = run.chromium.launch(executable_path=path, args=["--no-sandbox"])  # it reads our own page alone
        yield opened
        opened.close()


@pytest.fixture(params=LANGUAGES)
def opened(request, browser, tmp_path):
    """The page of two victims at 360 pixels, and what it asked for and complained of."""
    rows = Results(rows_of_victim("one") + rows_of_victim("two"))
    Report(rows, "A title", Catalog(request.param), price=2.0).write(tmp_path / "report.html")
    page, heard = browser.new_page(viewport={"width": 360, "height": 800}), []
    page.on("console", lambda said: heard.append(said.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda asked: heard.append(asked.url))
    page.goto((tmp_path / "report.html").as_uri())
    yield page, heard, Catalog(request.param)
    page.close()


def test_the_page_in_a_browser(opened):
    page, heard, say = opened
    address = page.url
    page.evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
    wide = page.evaluate("document.documentElement.scrollWidth")
    boxes = page.locator(".svg svg")
    sizes = [boxes.nth(i).bounding_box() for i in range(boxes.count())]
    assert heard == [address], "a request or a message"
    assert wide == 360
    assert page.locator("h2").count() == 2
    assert page.locator("h3").all_inner_texts().count(say("robust title")) == 2
    assert len(sizes) == 2 * (1 + 3)
    assert all(box["width"] > 250 and box["height"] > 100 and box["x"] + box["width"] <= 360 for box in sizes)
    assert page.locator('.svg:not([aria-label]), .svg[aria-label=""]').count() == 0
    links = page.locator("nav a").evaluate_all("all => all.map((it) => document.querySelector(it.hash) !== null)")
    assert len(links) > 20
    assert all(links)


def test_a_recipe_is_copied(opened):
    page, _, say = opened
    row = page.locator("details.recipe").first
    row.locator("summary").click()
    row.get_by_role("button").click()
    assert row.get_by_role("button").inner_text() == say("copied")
    page.evaluate("document.body.prepend(document.createElement('textarea'))")
    page.locator("textarea").focus()
    page.keyboard.press("Control+V")
    assert json.loads(page.locator("textarea").input_value()) == json.loads(row.locator("pre").inner_text())


def test_it_is_whole_without_scripts_and_prints_every_table(browser, tmp_path):
    Report(Results(rows_of_victim()), "A title").write(tmp_path / "report.html")
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("button").count() == 0
    page.locator("details.recipe summary").first.click()
    assert page.locator("details.recipe pre").first.is_visible()
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator(".svg svg").first.is_visible()
