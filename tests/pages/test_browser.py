"""The pages in a real browser: nothing fails, nothing is fetched, and they fit every screen.

Needs Chromium on the PATH (`apt-get install chromium`) and is skipped without it.
"""

import shutil
from pathlib import Path

import pytest
from page_folders import comparison_folder, run_folder
from playwright.sync_api import Page, sync_playwright

from impindiff.pages import write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, TABLET, WIDE = 360, 768, 1920

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the PATH"
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {
        "run": write_report(run_folder(folder / "run")),
        "comparison": write_report(comparison_folder(folder / "comparison")),
    }


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def show(browser):
    """Opens a file; at the end nothing may have failed or been fetched."""
    problems: list[str] = []
    pages: list[Page] = []

    def opened(file: Path, width: int = WIDE, **context) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 800}, **context)
        pages.append(page)
        page.on("console", lambda said: problems.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"failed: {request.url[:80]}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url == file.as_uri() or request.url.startswith("data:")
                else problems.append(f"fetched: {request.url[:80]}")
            ),
        )
        page.goto(file.as_uri(), wait_until="load")
        return page

    yield opened
    for page in pages:
        page.close()
    assert problems == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "comparison"])
@pytest.mark.parametrize("width", [PHONE, TABLET, WIDE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_every_image_is_one(show, reports, kind, width, scheme):
    page = show(reports[kind], width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    sizes = page.evaluate("Array.from(document.images, image => image.naturalWidth)")
    assert len(sizes) >= 3
    assert min(sizes) > 0
    page.evaluate("document.querySelectorAll('details').forEach(of => { of.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_text_stands_out_in_light_and_dark(show, reports, kind):
    """The contrast of WCAG 2, level AA: 4.5 to 1 between a text and what is behind it."""
    for scheme in ("light", "dark"):
        page = show(reports[kind], color_scheme=scheme)
        least = page.evaluate(
            """() => {
              const light = text => {
                const parts = text.match(/[\\d.]+/g).map(Number);
                const [r, g, b] = parts.slice(0, 3).map(v => v / 255).map(
                  v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const behind = element => {
                for (let of = element; of; of = of.parentElement) {
                  const colour = getComputedStyle(of).backgroundColor;
                  if (!/, 0\\)$/.test(colour)) return colour;
                }
                return 'rgb(255, 255, 255)';
              };
              const texts = Array.from(document.body.querySelectorAll('*')).filter(
                of => Array.from(of.childNodes).some(n => n.nodeType === 3 && n.data.trim()));
              return Math.min(...texts.map(of => {
                const pair = [light(getComputedStyle(of).color), light(behind(of))];
                return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
              }));
            }"""
        )
        assert least >= 4.5


@pytest.mark.slow
def test_long_tables_scroll_in_their_own_container(show, reports):
    page = show(reports["comparison"], PHONE)
    inside = page.locator(".scroll").evaluate_all(
        "all => all.map(of => [of.scrollWidth, of.clientWidth])"
    )
    assert any(content > container for content, container in inside)
    assert all(container <= PHONE for _, container in inside)


@pytest.mark.slow
def test_who_wants_no_motion_sees_a_still(show, reports):
    shown = "document.querySelector('.film img').currentSrc.slice(5, 14)"
    assert show(reports["run"]).evaluate(shown) == "image/gif"
    assert show(reports["run"], reduced_motion="reduce").evaluate(shown) == "image/png"


@pytest.mark.slow
def test_headings_tables_and_images_say_what_they_are(show, reports):
    for report in reports.values():
        page = show(report)
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.locator("h1").count() == 1
        assert page.locator("table").count() == page.locator("caption").count() > 0
        assert page.locator("img:not([alt]), img[alt='']").count() == 0
        broken = page.evaluate(
            "Array.from(document.querySelectorAll('nav a'))"
            ".filter(a => !document.querySelector(a.getAttribute('href'))).length"
        )
        assert broken == 0
