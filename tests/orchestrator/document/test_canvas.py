"""How figures are drawn: series that stand beside each other can be told apart without their colours."""

from __future__ import annotations

from orchestrator.document import canvas


def test_no_two_bars_or_lines_of_a_figure_look_alike() -> None:
    for looks in (canvas.bar, canvas.style):
        assert len({tuple(looks(number).items()) for number in range(12)}) == 12
