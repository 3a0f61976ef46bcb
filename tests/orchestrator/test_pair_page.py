"""The page of a comparison: every text intact and none of it markup, and a browser that shows it without complaint."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import compare, pair_page
from tests.orchestrator.answered import Answered
from tests.orchestrator.test_compare import AFTER, BEFORE, HOSTILE, act, compared, graded
from tests.orchestrator.test_page import Parsed

pytestmark = pytest.mark.usefixtures("toys")

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture
def made(tmp_path: Path) -> Answered:
    """Two variants, of which one writes what is meant to break a page."""
    found = Answered(tmp_path / "store")
    found.answer("Mod+RL", "sums", graded(BEFORE), completion=HOSTILE)
    found.answer("Over+RL", "sums", graded(AFTER))
    for variant, right in (("Mod+RL", False), ("Over+RL", True)):
        found.answer(variant, "words", {"w1": [right], "w2": [True]}, completion="word " * 400)
    return found


def test_hostile_text_is_intact_and_only_text(made: Answered) -> None:
    parsed = Parsed(pair_page.render([compared(made, ["Mod+RL"], ["Over+RL"])]))
    data: Any = parsed.data
    assert [(row["id"], row["flip"]) for row in data["problems"]] == [
        ("p1", "right"), ("p2", "wrong"), ("w1", "right"), ("p3", ""),
    ]  # fmt: skip
    assert data["problems"][0]["sides"][0][0]["completion"] == HOSTILE
    assert len(parsed.tags("script")) == 2 and not parsed.tags("img")
    policy = next(meta["content"] for meta in parsed.tags("meta") if "http-equiv" in meta)
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")


def test_the_page_lies_among_the_reports(made: Answered, capsys: pytest.CaptureFixture[str]) -> None:
    assert act(made, compare.HTML) == 0
    file = made.report("compare-Mod+RL-Over+RL.html")
    assert f"written to {file}" in capsys.readouterr().out.replace("\n", "")
    assert "<h1>Mod+RL → Over+RL</h1>" in file.read_text()


@pytest.fixture
def browser() -> Iterator[Any]:
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"needs {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(made: Answered, browser: Any, width: int, scheme: str) -> None:
    from playwright.sync_api import expect

    assert act(made, compare.HTML) == 0
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append("a script of a model ran"))
    page.goto(made.report("compare-Mod+RL-Over+RL.html").as_uri())
    assert page.locator("details").count() == 4
    assert page.locator("#shown").inner_text() == "4 of 4 problems."
    assert page.evaluate("document.documentElement.scrollWidth") <= width, (
        "text is cut off, or the page scrolls sideways"
    )
    page.locator("details").first.locator("summary").click()
    sides = page.locator("details").first.locator(".side")
    boxes = [sides.nth(number).bounding_box() for number in range(2)]
    assert (boxes[0]["y"] == boxes[1]["y"]) == (width > 700)  # beside each other, or below on a phone
    assert (
        "<U+001B>[2J<U+001B>]0;owned<U+0007>[red]x[/red]</script><script>alert(1)</script><U+202E>"
        in sides.nth(0).inner_text()
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name, value, shown in (("flip", "right", "2 of 4"), ("benchmark", "words", "1 of 4")):
        page.locator(f"input[name={name}][value={value}]").check()
        assert page.locator("#shown").inner_text() == f"{shown} problems."
    page.locator("#query").fill("nowhere to be found")
    expect(page.locator("#shown")).to_have_text("0 of 4 problems.")
    assert complaints == []
