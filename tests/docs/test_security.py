"""SECURITY.md: its promises have tests, and what it names is there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^\| (.+) \| `(tests/[\w/]+\.py)::(test_\w+)` \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("promise", "file", "name"), PROMISES, ids=[name for _, _, name in PROMISES])
def test_a_promise_has_the_test_that_it_names(promise: str, file: str, name: str) -> None:
    module = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {each.name for each in module.body if isinstance(each, ast.FunctionDef)}, promise


def test_every_line_of_the_table_of_promises_names_a_test() -> None:
    _, _, table = TEXT.partition("## Promises and their tests")
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(lines) == len(PROMISES) > 0


def test_it_is_read_in_minutes() -> None:
    assert len(TEXT.splitlines()) <= 150


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))))
def test_a_file_that_it_links_is_there(path: str) -> None:
    assert (ROOT / path).exists()
