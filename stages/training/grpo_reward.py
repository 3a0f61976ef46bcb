"""The reward of GRPO: +1 for a correct completion, -1 for any other, by the one definition of correct."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.contract import StageError
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
        self._unchecked: list[Grade] = []

    def __call__(
        self, *, completions: Sequence[str], answer: Sequence[str], log_metric: Any = None, **_: Any
    ) -> list[float]:
        try:
            grades = self._graders.grade("math", zip(answer, completions, strict=True))
        except Exception as error:
            kind = type(error).__name__
            raise StageError(f"the reward failed on {len(completions)} completions: {kind}: {error}") from error
        failed = [grade for grade in grades if grade.error is not None]
        self._unchecked += failed
        if log_metric is not None:
            log_metric("grading_errors", len(failed) / len(grades))
            log_metric("unparsed", sum(grade.extracted is None for grade in grades) / len(grades))
        return [1.0 if grade.correct else -1.0 for grade in grades]

    def check(self) -> None:
        """Stop the stage on all ranks, or on none, if too many answers could not be graded. Every rank calls it."""
        self._failed += ranks.gathered(self._unchecked)
        self._unchecked = []
        check_errors(self._failed, planned=self._planned)
