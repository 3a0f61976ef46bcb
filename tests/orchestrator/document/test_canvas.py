"""How figures are drawn: series that stand beside each other can be told apart without their colours."""

from __future__ import annotations

from orchestrator.document import canvas


def test_no_two_bars_or_lines_of_a_figure_look_alike() -> None:
    """Far more than a figure has: rows of a sweep are 40 and more."""
    for looks in (canvas.bar, canvas.style):
        assert len({tuple(looks(number).items()) for number in range(48)}) == 48


def test_the_first_of_them_differ_without_their_colour_too() -> None:
    lines = [(canvas.style(number)["marker"], canvas.style(number)["linestyle"]) for number in range(24)]
    assert len(set(lines)) == 24
    assert len({canvas.bar(number)["hatch"] for number in range(6)}) == 6
