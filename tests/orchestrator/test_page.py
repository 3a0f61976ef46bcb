"""The page of an evaluation, as a browser's parser reads it: every text intact, none of it markup."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import page
from tests.orchestrator.test_browse import ANSWER, PROBLEM

HEADING = page.Heading(
    name="evaluate/ModSFT.tiny_sums",
    fingerprint="0123456789abcdef",
    total=1,
    settings={"kind": "math", "k": 1},
    scores={"n": 12032, "pass@1": 0.123456},
)

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "]]><img src=x onerror=alert(1)>",
    "&lt;b&gt; &amp; \" '",
    "{{ 7 * 7 }} {% raw %}",
    "\x00\x1b[2J\u2028\u2029\r\n\ufeff",
]


class Parsed(HTMLParser):
    """The elements of a page, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if self.cdata_elem:
            self.raw.append((attributes, data))
        else:
            self.text += data

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def data(self) -> list[dict[str, object]]:
        (text,) = ("".join(text for attributes, text in self.raw if attributes.get("id") == "data"),)
        found: list[dict[str, object]] = json.loads(text)
        return found


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_intact_and_only_text(text: str) -> None:
    problem = replace(PROBLEM, id=text, prompt=text, gold=text, answers=[replace(ANSWER, completion=text, error=text)])
    plain = Parsed(page.render(HEADING, [PROBLEM]))
    parsed = Parsed(page.render(replace(HEADING, name=text, settings={"kind": text}), [problem]))
    assert parsed.elements == plain.elements  # not one more, and no attribute of another value
    (shown,) = parsed.data
    assert (shown["id"], shown["prompt"], shown["gold"]) == (text, text, text)
    assert shown["answers"][0]["completion"] == shown["answers"][0]["error"] == text  # type: ignore[index]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(text: str) -> None:
    (shown,) = Parsed(page.render(HEADING, [replace(PROBLEM, prompt=text)])).data
    assert shown["prompt"] == text


def test_a_browser_may_run_the_page_s_own_script_alone_and_fetch_nothing() -> None:
    parsed = Parsed(page.render(HEADING, [PROBLEM]))
    policy = next(meta["content"] for meta in parsed.tags("meta") if "http-equiv" in meta)
    assert policy is not None and policy.startswith("default-src 'none'; ")
    (script,) = (attributes for attributes in parsed.tags("script") if attributes.get("type") is None)
    assert script == {}
    for kind, names in (("script-src", ("text.js", "page.js", "list.js")), ("style-src", ("page.css",))):
        text = "\n".join((Path(page.__file__).parent / "inspection" / name).read_text() for name in names)
        assert text in "".join(raw for _, raw in parsed.raw)
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert re.search(rf"{kind} '([^']+)'", policy)[1] == f"sha256-{digest}"  # type: ignore[index]
    addresses = [
        value for _, attributes in parsed.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert addresses == []


def test_the_script_never_makes_markup_of_a_text() -> None:
    for name in ("text.js", "page.js", "pair.js", "list.js"):
        script = (Path(page.__file__).parent / "inspection" / name).read_text()
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function\(|setAttribute"
        assert not re.search(forbidden, script)


def test_counts_scores_and_settings_are_on_the_page() -> None:
    right = replace(ANSWER, correct=True, truncated=True)
    shown = " ".join(Parsed(page.render(HEADING, [replace(PROBLEM, answers=[ANSWER, right])])).text.split())
    assert "0123456789 · kind math · k 1" in shown
    assert "n 12032 pass@1 0.1235" in shown
    assert "✗ wrong 1 ! errors 0 ? without an answer 0 ✓ right 1 … truncated 1" in shown
    assert "On this page" not in shown


def test_every_field_is_labelled() -> None:
    text = page.render(HEADING, [PROBLEM])
    parsed = Parsed(text)
    assert {label.get("for") for label in parsed.tags("label")} == {"query", None}
    assert len(re.findall(r"<label class=\"filter\"><input ", text)) == len(parsed.tags("input")) - 1


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "reports" / "study" / "page.html"
    page.write(file, HEADING, [replace(PROBLEM, prompt="π ≠ 3")])
    page.write(file, HEADING, [PROBLEM])
    assert [each.name for each in file.parent.iterdir()] == ["page.html"]
    assert file.read_text(encoding="utf-8") == page.render(HEADING, [PROBLEM])
