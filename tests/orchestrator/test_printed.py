"""What a process printed reaches a terminal as text, in whatever pieces it comes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import printed
from orchestrator.printed import Printed


def shown(*chunks: bytes) -> str:
    out = io.BytesIO()
    copy = Printed(out)
    for chunk in chunks:
        copy.write(chunk)
    copy.finish()
    return out.getvalue().decode()


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (b"loss 0.5\nloss 0.4\n", "loss 0.5\nloss 0.4\n"),
        (b"no end", "no end"),
        (b"\x1b[1;31merror\x1b[0m: x\n", "error: x\n"),
        (b"\x1b[2J\x1b]0;title\x07\n", "<U+001B>[2J<U+001B>]0;title<U+0007>\n"),
        (b" 10%|#\r 20%|##\r\n", " 10%|#\n 20%|##\n"),
        ("é 度\t\u202e\n".encode(), "é 度\t<U+202E>\n"),
        (b"\xff\xfe\n", "\\xff\\xfe\n"),
        (b"\xc3", "\\xc3"),
    ],
)
def test_control_characters_do_nothing(said: bytes, seen: str) -> None:
    assert shown(said) == seen


@given(st.text(alphabet="a\n\r\x1b[1m;é", max_size=40), st.integers(1, 5))
def test_pieces_make_no_difference(text: str, size: int) -> None:
    said = text.encode()
    assert shown(*[said[at : at + size] for at in range(0, len(said), size)]) == shown(said)


def test_a_line_without_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printed, "_LONGEST", 4)
    out = io.BytesIO()
    Printed(out).write(b"abcdefgh")
    assert out.getvalue() == b"abcdefgh"
