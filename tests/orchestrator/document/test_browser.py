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


#: Milliseconds after which a browser hangs: a busy machine is slow.
PATIENCE = 600_000


@pytest.fixture(scope="module")
def tab(page: Path) -> Iterator[Any]:
    """The page in a browser; `tab.seen` is whatever the browser complained of, or asked for."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs a chromium (Debian: chromium)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE)
        tab = browser.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.seen = []
        tab.on("console", lambda message: tab.seen.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: tab.seen.append(f"error: {error}"))
        tab.on("request", lambda asked: None if asked.url.startswith("data:") else tab.seen.append(asked.url))
        tab.goto(page.as_uri())
        yield tab
        browser.close()


def shown(tab: Any, size: tuple[int, int], scheme: str = "light", unfolded: bool = False) -> None:
    """Show the page in another size and scheme, its folded parts open or closed."""
    tab.set_viewport_size({"width": size[0], "height": size[1]})
    tab.emulate_media(color_scheme=scheme)
    tab.evaluate("(open) => document.querySelectorAll('details').forEach((each) => { each.open = open })", unfolded)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_or_wider_than_the_page(tab: Any, size: tuple[int, int], scheme: str) -> None:
    for unfolded in (False, True):
        shown(tab, size, scheme, unfolded)
        assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert tab.evaluate(CUT_OFF) == []
        assert tab.evaluate(STICKING_OUT) == []


def test_every_figure_is_there(tab: Any) -> None:
    sizes = tab.evaluate("[...document.images].map((each) => [each.naturalWidth, each.naturalHeight, each.alt])")
    assert len(sizes) == tab.locator("figure").count() >= 17
    assert all(width > 100 and height > 100 and alt for width, height, alt in sizes)


def test_figures_follow_the_page_into_the_dark(tab: Any) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        shown(tab, DESKTOP, scheme)
        brightness[scheme] = _brightness(tab.locator("#figure04 img").screenshot())
    assert brightness["light"] > 200 and brightness["dark"] < 110


def test_contents_lead_to_the_sections(tab: Any) -> None:
    links = tab.evaluate("[...document.querySelectorAll('nav a')].map((each) => each.hash.slice(1))")
    assert links and links == tab.evaluate("[...document.querySelectorAll('main > section')].map((each) => each.id)")


def test_it_prints(tab: Any) -> None:
    shown(tab, DESKTOP, "dark")
    content = tab.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF") and len(content) > 100_000


def test_nothing_was_asked_for_but_the_page_and_nothing_complained(tab: Any, page: Path) -> None:
    assert tab.seen == [page.as_uri()]


def _brightness(png: bytes) -> float:
    """Of the median pixel, from 0 to 255."""
    import io

    from PIL import Image

    pixels = sorted(Image.open(io.BytesIO(png)).convert("L").getdata())
    return float(pixels[len(pixels) // 2])
