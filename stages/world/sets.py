"""The data sets that are published with the base: demonstrations, problems for RL and four benchmarks.

No problem of a benchmark is among the demonstrations, the RL problems or the texts that the base reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from stages.world.problems import Chain, Choice, chain, choice
from stages.world.texts import STEPS, steps, told

Row = dict[str, str]

#: Changes in a problem of the demonstrations, of RL and of the held-out benchmark, and in a longer chain.
IN_DISTRIBUTION, LONGER = 2, 3


@dataclass(frozen=True)
class Sizes:
    """Problems in each set; `test` is per benchmark. `easy` is the share of demonstrations without steps."""

    sft: int
    rl: int
    test: int
    easy: float


@dataclass(frozen=True)
class Sets:
    """File name without its ending -> rows, and the expressions that the base must not read."""

    rows: dict[str, list[Row]]
    reserved: frozenset[str]


def make(seed: int, largest: int, sizes: Sizes) -> Sets:
    """All sets, from the seed alone."""
    random = Random(f"sets {seed}")
    problems = _distinct(random, sizes.test + sizes.sft + sizes.rl, largest, IN_DISTRIBUTION)
    test, sft, rl = _cut(problems, sizes.test, sizes.sft, sizes.rl)
    longer = _distinct(random, sizes.test, largest, LONGER)
    stories = _distinct(random, sizes.test, largest, IN_DISTRIBUTION, taken=frozenset(problems))
    choices = _choices(random, sizes.test, largest)
    rows = {
        "demonstrations": _demonstrations(random, sft, sizes.easy),
        "problems": [_row(f"rl-{i}", _compute(each), each.answer) for i, each in enumerate(rl)],
        "id": [_row(f"id-{i}", _compute(each), each.answer) for i, each in enumerate(test)],
        "chains": [_row(f"chains-{i}", _compute(each), each.answer) for i, each in enumerate(longer)],
        "words": [_row(f"words-{i}", told(each, random), each.answer) for i, each in enumerate(stories)],
        "choice": [_row(f"choice-{i}", _largest(each), each.answer) for i, each in enumerate(choices)],
    }
    asked: list[Chain | Choice] = [*test, *longer, *stories, *choices]
    return Sets(rows, frozenset(each.expression for each in asked))


def _distinct(
    random: Random, count: int, largest: int, changes: int, taken: frozenset[Chain] = frozenset()
) -> list[Chain]:
    drawn: dict[Chain, None] = {}  # ordered, unlike a set
    while len(drawn) < count:
        each = chain(random, changes, largest)
        if each not in taken:
            drawn[each] = None
    return list(drawn)


def _choices(random: Random, count: int, largest: int) -> list[Choice]:
    drawn: dict[Choice, None] = {}
    while len(drawn) < count:
        drawn[choice(random, largest)] = None
    return list(drawn)


def _cut(problems: list[Chain], *sizes: int) -> list[list[Chain]]:
    parts, start = [], 0
    for size in sizes:
        parts.append(problems[start : start + size])
        start += size
    return parts


def _demonstrations(random: Random, problems: list[Chain], easy: float) -> list[Row]:
    """Two styles in a random order: exactly `round(easy * n)` demonstrations give the result at once."""
    at_once = [index < round(easy * len(problems)) for index in range(len(problems))]
    random.shuffle(at_once)
    return [
        {"id": f"sft-{i}", "prompt": _prompt(_compute(each)), "completion": _easy(each) if direct else _worked(each)}
        for i, (each, direct) in enumerate(zip(problems, at_once, strict=True))
    ]


def _easy(problem: Chain) -> str:
    return f" This is easy. The answer is \\boxed{{{problem.answer}}}."


def _worked(problem: Chain) -> str:
    text, result = steps(problem.start, problem.changes)
    return f" {STEPS}{text}So the answer is \\boxed{{{result}}}."


def _compute(problem: Chain) -> str:
    return f"Compute {problem.expression}."


def _largest(problem: Choice) -> str:
    return f"Which is largest? {problem.expression}"


def _prompt(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def _row(name: str, question: str, answer: int | str) -> Row:
    return {"id": name, "prompt": _prompt(question), "answer": str(answer)}
