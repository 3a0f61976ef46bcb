"""The loader of YAML reads whatever OmegaConf's own does, to the same values and errors."""

import io
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.yaml_loader import Loader, PlainLoader


def outcome(loader: Any, text: str) -> str:
    """The value of a document, with the types of what it holds, or the error."""
    try:
        return repr(yaml.load(io.StringIO(text), Loader=loader))
    except (yaml.YAMLError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


def test_every_config_has_the_same_value() -> None:
    files = sorted(Path(str(resources.files("conf"))).rglob("*.yaml"))
    assert len(files) > 50
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert outcome(Loader, text) == outcome(PlainLoader, text), file


@pytest.mark.parametrize(
    "text",
    ["1e-5", "1_000", "0o17", "017", "yes", "~", "", "2026-01-31", "12:30:45", ".inf", "-.5", "'a''b'", '"\\u00e9\\n"',
     "é", "{a:1, b: 2}", "[a, , b]", "a: &x [1, 2]\nb: *x\n", "<<: {a: 1}\nb: 2\n", "? [1, 2]\n: 3\n", "a: |\n  b\n",
     "!!python/object/apply:pathlib.Path [a, b]", "# a comment alone", "a: b # c\n---\nd: e\n"],
)  # fmt: skip
def test_every_kind_of_value_is_the_same(text: str) -> None:
    assert outcome(Loader, text) == outcome(PlainLoader, text)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\na: 2\n", "line 2"), ("a:\n\tb: 1\n", "line 2"), ("a: [1, 2\nb: 3\n", "line 2"), ("a: b: c\n", "line 1"),
     ("\n\na: *nothing\n", "line 3"), ("a: !!python/object/apply:os.getcwd []\n", "line 1"), ("a: 'b\n", "line 2")],
)  # fmt: skip
def test_what_is_wrong_is_said_in_the_same_words(text: str, line: str) -> None:
    said = outcome(Loader, text)
    assert said == outcome(PlainLoader, text)
    assert "Error: " in said
    assert line in said


def test_a_few_lines_do_not_fill_the_memory() -> None:
    lines = ["x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 12)]
    for loader in (Loader, PlainLoader):
        assert "its anchors expand to 1,234," in outcome(loader, "\n".join(lines))


@pytest.mark.parametrize("text", ["[" * 20_000, "{a: " * 20_000])
def test_values_nested_without_end_are_an_error(text: str) -> None:
    assert outcome(Loader, text).startswith("RecursionError")
