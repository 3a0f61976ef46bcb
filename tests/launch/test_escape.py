"""Escapes: whatever a text says, it is a text in every format, and what did no harm stays as it is."""

import csv
import io

import pytest

from launch import escape


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd|x", "@SUM(1+1)", "\t=1+1", "\r=1+1", "＝1+1", "--1", "-x", "+RL"],
)  # fmt: skip
def test_no_cell_is_a_formula(text: str) -> None:
    (row,) = csv.reader(io.StringIO(escape.values([[text]]), newline=""))
    assert row[0].startswith("'") or not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize(
    "value", ["-0.5", "+1.25", "-1e-05", "-inf", -0.5, 3, None, "-", "--", "OverSFT+RL", "a=b", "x@y", "(+7.9)", "答案"]
)
def test_numbers_and_plain_names_are_cells_as_they_are(value: str | int | float | None) -> None:
    assert escape.cell(value) == value


def test_a_cell_holds_commas_quotes_and_lines_and_no_terminal_codes() -> None:
    text = 'a,"b"\nc'
    assert list(csv.reader(io.StringIO(escape.values([[text, "x\x1b[2J"]]), newline=""))) == [[text, "x<U+001B>[2J"]]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a|b", r"a\|b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("![x](http://a/b)", r"!\[x\](http://a/b)"),
        ("`x` *y* _z_ ~q~ $t$", r"\`x\` \*y\* \_z\_ \~q\~ \$t\$"),
        ("tiny_sums __init__ a__b _c", r"tiny_sums \_\_init\_\_ a\_\_b \_c"),
        ("a\nb\x1b[2J", r"a b&lt;U+001B&gt;\[2J"),
    ],
)
def test_nothing_is_markup_in_markdown(text: str, made: str) -> None:
    assert escape.markdown(text) == made


def test_nothing_is_a_command_in_latex() -> None:
    text = r"\input{/etc/passwd} $x$ a_b % & # ^ ~"
    assert escape.latex(text) == (
        r"\textbackslash{}input\{/etc/passwd\} \$x\$ a\_b \% \& \# \textasciicircum{} \textasciitilde{}"
    )


@pytest.mark.parametrize(
    "text", ["@channel", "@here", "@everyone look", "x; @all", "(@channel)", "<!channel>", "<@U123>", "<!here|x>"]
)
def test_a_message_calls_nobody(text: str) -> None:
    made = escape.message(text)
    assert "<" not in made and not any(f"@{who}" in made for who in ("channel", "here", "everyone", "all"))


def test_a_message_has_no_link_with_words_of_its_own() -> None:
    made = escape.message("[the report](http://evil) ![x](http://evil/pixel) <http://evil|the report>")
    assert "](" not in made and "<" not in made


def test_a_command_in_a_message_can_be_copied() -> None:
    command = "python -m orchestrator logs 'sft/ModSFT@seed=1' +experiment=toy 'only=[A,B]'"
    assert escape.message(command) == command


@pytest.mark.parametrize("character", ["\x1b", "\x00", "\x9b", "\u2028", "\u202e", "\u200b", "\ufeff", "\x7f", "\r"])
def test_what_nobody_sees_is_shown_by_its_number(character: str) -> None:
    assert escape.inline(f"a{character}b") == f"a<U+{ord(character):04X}>b"
    assert escape.inline("naïve\u00a0答案 é") == "naïve\u00a0答案 é"
