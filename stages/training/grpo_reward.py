"""The reward of GRPO: +1 for a correct completion, -1 for any other, by the one definition of correct."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.grading.pool import Grade, Graders, check_errors
from stages.training import ranks


class Reward:
    """A reward function as TRL calls it. It never raises for an answer; too many grading errors stop the stage."""

    def __init__(self, graders: Graders, planned: int) -> None:
        """`planned` is the number of completions of the whole run, of which the share of errors is taken."""
        self.__name__ = "correct"  # TRL names the metrics after it
        self._graders = graders
        self._planned = planned
        self._failed: list[Grade] = []

    def __call__(
        self, *, completions: Sequence[str], answer: Sequence[str], log_metric: Any = None, **_: Any
    ) -> list[float]:
        grades = self._graders.grade("math", zip(answer, completions, strict=True))
        failed = [grade for grade in grades if grade.error is not None]
        self._failed += ranks.gathered(failed)  # so that all ranks stop, or none
        check_errors(self._failed, planned=self._planned)
        if log_metric is not None:
            log_metric("grading_errors", len(failed) / len(grades))
            log_metric("unparsed", sum(grade.extracted is None for grade in grades) / len(grades))
        return [1.0 if grade.correct else -1.0 for grade in grades]
