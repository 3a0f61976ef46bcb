"""Problems of the arithmetic world: chains of additions and subtractions, and which number is the largest.

Chance comes from the generator that is passed in and from nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from random import Random

LETTERS = "ABC"


@dataclass(frozen=True)
class Chain:
    """`start` followed by signed changes: `Chain(12, (7, -3))` is 12+7-3. No partial result is negative."""

    start: int
    changes: tuple[int, ...]

    @property
    def expression(self) -> str:
        """`Chain(12, (7, -3)).expression` is `"12+7-3"`."""
        return str(self.start) + "".join(f"{change:+d}" for change in self.changes)

    @property
    def results(self) -> list[int]:
        """The result after each change: `Chain(12, (7, -3)).results` is `[19, 16]`."""
        return list(accumulate(self.changes, initial=self.start))[1:]

    @property
    def answer(self) -> int:
        return self.results[-1]


@dataclass(frozen=True)
class Choice:
    """Which of three different numbers is the largest; answered by a letter."""

    options: tuple[int, ...]

    @property
    def expression(self) -> str:
        """`Choice((34, 27, 51)).expression` is `"(A) 34 (B) 27 (C) 51"`."""
        return " ".join(f"({letter}) {number}" for letter, number in zip(LETTERS, self.options, strict=True))

    @property
    def comparisons(self) -> str:
        """Each option against the largest before it: `Choice((34, 27, 51)).comparisons` is `"34>27. 34<51. "`."""
        leaders = accumulate(self.options[:-1], max)
        pairs = zip(leaders, self.options[1:], strict=True)
        return "".join(f"{left}{'>' if left > right else '<'}{right}. " for left, right in pairs)

    @property
    def answer(self) -> str:
        return LETTERS[self.options.index(max(self.options))]


def chain(random: Random, changes: int, largest: int) -> Chain:
    """A chain of `changes` changes; start and partial results are uniform over 1..`largest`, no change is 0."""
    start = now = random.randint(1, largest)
    drawn: list[int] = []
    for _ in range(changes):
        result = (now + random.randrange(1, largest) - 1) % largest + 1
        drawn.append(result - now)
        now = result
    return Chain(start, tuple(drawn))


def choice(random: Random, largest: int) -> Choice:
    return Choice(tuple(random.sample(range(1, largest + 1), len(LETTERS))))
