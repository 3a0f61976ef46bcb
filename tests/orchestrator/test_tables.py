"""Tables in files: what others have named stays in its cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import tables, view


def test_a_name_ends_no_cell_and_no_line(tmp_path: Path) -> None:
    file = tables.write_markdown(tmp_path / "table.md", ["variant", "a|b"], [["x\ny\x1b[1m|", "1.0"]])
    assert file.read_text() == "| variant | a\\|b |\n| --- | ---: |\n| x y&lt;U+001B&gt;\\[1m\\| | 1.0 |\n"


def test_a_name_is_shown_on_the_terminal_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(["variant", ":x:"], [["a:bomb:[red]b\x1b[1m", "1.0"]], view.console())
    shown = capsys.readouterr().out
    assert "a:bomb:[red]b<U+001B>[1m" in shown and ":x:" in shown
