"""The report in a real browser: nothing is fetched, nothing complains, nothing is cut off; light, dark, printed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.document.synthetic import Synthetic

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

PHONE, DESKTOP = (390, 844), (1280, 900)

#: Elements whose text is wider or higher than they are, and that do not scroll.
CUT_OFF = """() => [...document.querySelectorAll('body *')].filter((each) => {
  const style = getComputedStyle(each);
  const hides = ['hidden', 'clip'].includes(style.overflowX) || ['hidden', 'clip'].includes(style.overflowY);
  return hides && (each.scrollWidth > each.clientWidth + 1 || each.scrollHeight > each.clientHeight + 1);
}).map((each) => each.outerHTML.slice(0, 80))"""

#: Elements that stick out of the page to the right, and are in no box that scrolls.
STICKING_OUT = """() => [...document.querySelectorAll('body *')].filter((each) =>
  !each.closest('.scroll, details:not([open])') && each.getBoundingClientRect().right > innerWidth + 1
).map((each) => each.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every figure, and one evaluation missing."""
    study = Synthetic(tmp_path_factory.mktemp("browser") / "store")
    study.publish()
    study.remove(study.study.graph.scores["OverSFT+RL", "tiny_sums"])
    folder = tmp_path_factory.mktemp("report")
    study.write(folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs a chromium (Debian: chromium)")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def opened(browser: Any, page: Path, size: tuple[int, int], scheme: str = "light") -> tuple[Any, list[str]]:
    """The page, and whatever the browser complained of or asked for."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    tab, seen = context.new_page(), list[str]()
    tab.on("console", lambda message: seen.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: seen.append(f"error: {error}"))
    tab.on("request", lambda request: None if request.url.startswith("data:") else seen.append(request.url))
    tab.goto(page.as_uri())
    tab.wait_for_load_state("networkidle")
    return tab, seen


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_fetched_cut_off_or_wider_than_the_page(
    browser: Any, page: Path, size: tuple[int, int], scheme: str
) -> None:
    tab, seen = opened(browser, page, size, scheme)
    assert seen == [page.as_uri()]
    for unfolded in (False, True):
        tab.evaluate(
            f"() => document.querySelectorAll('details').forEach((each) => {{ each.open = {str(unfolded).lower()} }})"
        )
        assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert tab.evaluate(CUT_OFF) == []
        assert tab.evaluate(STICKING_OUT) == []


def test_every_figure_is_there(browser: Any, page: Path) -> None:
    tab, _ = opened(browser, page, DESKTOP)
    sizes = tab.evaluate("[...document.images].map((each) => [each.naturalWidth, each.naturalHeight, each.alt])")
    assert len(sizes) == tab.locator("figure").count() >= 17
    assert all(width > 100 and height > 100 and alt for width, height, alt in sizes)


def test_figures_and_page_follow_the_dark(browser: Any, page: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        tab, _ = opened(browser, page, DESKTOP, scheme)
        brightness[scheme] = _brightness(tab.locator("#figure04 img").screenshot())
    assert brightness["light"] > 200 and brightness["dark"] < 110


def test_it_prints(browser: Any, page: Path, tmp_path: Path) -> None:
    tab, _ = opened(browser, page, DESKTOP, "dark")
    content = tab.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") > 3 or len(content) > 100_000


def test_contents_lead_to_the_sections(browser: Any, page: Path) -> None:
    tab, _ = opened(browser, page, PHONE)
    links = tab.evaluate("[...document.querySelectorAll('nav a')].map((each) => each.hash.slice(1))")
    assert links and links == tab.evaluate("[...document.querySelectorAll('main > section')].map((each) => each.id)")


def _brightness(png: bytes) -> float:
    """Of the median pixel, from 0 to 255."""
    import io

    from PIL import Image

    pixels = sorted(Image.open(io.BytesIO(png)).convert("L").getdata())
    return float(pixels[len(pixels) // 2])
