"""What the base reads: noisy arithmetic in many phrasings, one document at a time.

A result is wrong with probability `noise`; whoever reckons step by step goes on with the wrong result, as people do.
Expressions in `reserved` (those of the benchmarks) never appear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from stages.world.problems import LETTERS, Chain, chain, choice

STEPS = "We compute step by step. "

_NAMES = ("Tom", "Ann", "Sam", "Eva")
_THINGS = ("apples", "books", "coins", "cards")
_GAINS = ("gets {} more", "finds {}", "buys {}")
_LOSSES = ("gives away {}", "loses {}", "sells {}")
_FRAMES = ("Question: {}\nAnswer: {}", "Q: {} A: {}", "{} {}", "Question: {}\nAnswer: {}")
_ASKED = ("Compute {}.", "What is {}?", "{} = ?")
_CONCLUSIONS = ("The answer is {}.", "So the answer is {}.", "{}.", "The answer is \\boxed{{{}}}.")
_COUNTS = (1, 2, 2, 3)
_FARTHEST = 9


@dataclass(frozen=True)
class Texts:
    """The distribution of documents; `document` draws one."""

    largest: int
    noise: float
    reserved: frozenset[str] = field(default_factory=frozenset)

    def document(self, random: Random) -> str:
        (write,) = random.choices(_WRITERS, _SHARES)
        return write(self, random)

    def sample(self, seed: int, documents: int) -> list[str]:
        """Documents to train a tokenizer on."""
        random = Random(f"sample {seed}")
        return [self.document(random) for _ in range(documents)]

    def chain(self, random: Random, changes: int | None = None) -> Chain:
        """A chain that no benchmark asks for."""
        while True:
            drawn = chain(random, changes or random.choice(_COUNTS), self.largest)
            if drawn.expression not in self.reserved:
                return drawn

    def heard(self, random: Random, result: int) -> int:
        """`result`, or, with probability `noise`, a wrong number near it."""
        if random.random() >= self.noise:
            return result
        return max(0, result + random.choice((-1, 1)) * random.randint(1, _FARTHEST))


def told(problem: Chain, random: Random) -> str:
    """A chain as a story. `"Tom has 12 coins. Tom finds 7. Tom loses 3. How many coins does Tom have?"`"""
    name, thing = random.choice(_NAMES), random.choice(_THINGS)
    sentences = [f"{name} has {problem.start} {thing}."]
    for change in problem.changes:
        deed = random.choice(_GAINS if change > 0 else _LOSSES).format(abs(change))
        sentences.append(f"{name} {deed}.")
    return " ".join([*sentences, f"How many {thing} does {name} have?"])


def steps(start: int, changes: tuple[int, ...], hear: Callable[[int], int] = lambda result: result) -> tuple[str, int]:
    """The reckoning and its result. `steps(12, (7, -3))` is `("12+7=19. 19-3=16. ", 16)`."""
    text, now = "", start
    for change in changes:
        result = hear(now + change)
        text += f"{now}{change:+d}={result}. "
        now = result
    return text, now


def _bare(texts: Texts, random: Random) -> str:
    drawn = texts.chain(random)
    return f"{drawn.expression}={texts.heard(random, drawn.answer)}"


def _equations(texts: Texts, random: Random) -> str:
    drawn = (texts.chain(random, 1) for _ in range(6))
    return ", ".join(f"{each.expression}={texts.heard(random, each.answer)}" for each in drawn)


def _at_once(texts: Texts, random: Random) -> str:
    drawn = texts.chain(random)
    return _framed(random, _question(drawn, random), "", texts.heard(random, drawn.answer))


def _by_steps(texts: Texts, random: Random) -> str:
    drawn = texts.chain(random)
    text, result = steps(drawn.start, drawn.changes, lambda right: texts.heard(random, right))
    opening = STEPS if random.random() < 0.5 else ""
    return _framed(random, _question(drawn, random), opening + text, result)


def _counting(texts: Texts, random: Random) -> str:
    first, step = random.randint(0, texts.largest), random.randint(1, 5)
    return f"Count by {step}: " + ", ".join(str(first + step * i) for i in range(6))


def _inequalities(texts: Texts, random: Random) -> str:
    pairs = (random.sample(range(1, texts.largest + 1), 2) for _ in range(6))
    return ", ".join(f"{left}{'>' if left > right else '<'}{right}" for left, right in pairs)


def _comparison(texts: Texts, random: Random) -> str:
    drawn = choice(random, texts.largest)
    letter = drawn.answer if random.random() >= texts.noise else random.choice(LETTERS)
    work = drawn.comparisons if random.random() < 0.6 else ""
    return _framed(random, f"Which is largest? {drawn.expression}", work, letter)


def _question(drawn: Chain, random: Random) -> str:
    return told(drawn, random) if random.random() < 0.5 else random.choice(_ASKED).format(drawn.expression)


def _framed(random: Random, question: str, work: str, result: int | str) -> str:
    return random.choice(_FRAMES).format(question, work + random.choice(_CONCLUSIONS).format(result))


_WRITERS = (_bare, _equations, _at_once, _by_steps, _counting, _inequalities, _comparison)
_SHARES = (0.05, 0.2, 0.12, 0.4, 0.03, 0.05, 0.15)
