"""The problems of a benchmark: its rows, checked. Everything that is wrong with a benchmark is found here, at once.

Fields of the rows (`stages.rows`) that have a meaning: `question`, `answer` (the gold answer; of a choice its letter,
or its number counted from 1), `choices` (texts), `id` (unique; where there is none the row's number, from 0) and
`category`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from stages.contract import StageError
from stages.grading.letters import gold as letter_of

#: What makes letters of numbers that are counted from 0.
_FROM_0 = "Answers that are counted from 0 are letters with answer: \"{{ 'ABCDEFGHIJ'[answer | int] }}\""

#: What a message names before it says how many more there are.
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem. `fields` is everything that a template may name, of this problem."""

    id: str
    gold: str
    fields: Mapping[str, Any] = field(repr=False)

    @property
    def question(self) -> str:
        return str(self.fields["question"])

    @property
    def choices(self) -> list[str] | None:
        return self.fields.get("choices")

    @property
    def category(self) -> str | None:
        return self.fields.get("category")


def read(rows: Sequence[Mapping[str, Any]], *, kind: str, expected: int | None, shuffle: int | None) -> list[Problem]:
    """The problems of a benchmark's rows.

    Args:
        kind: of the answers (`stages.evaluate.Config`).
        expected: how many rows there must be; None for any number.
        shuffle: seed of the order of the choices; None for that of the rows.

    Raises:
        StageError: with everything that is wrong: the number of rows, ids that occur twice, gold answers that are none.
    """
    if rows and (missing := {"question", "answer"} - rows[0].keys()):
        raise StageError(
            f"fields: a benchmark needs question and answer; there is no {' and no '.join(sorted(missing))}"
        )
    wrong = []
    if expected is not None and len(rows) != expected:
        wrong.append(f"problems={expected}: but there are {len(rows)} rows")
    ids = [str(row.get("id", number)) for number, row in enumerate(rows)]
    if twice := [id for id, count in Counter(ids).items() if count > 1]:
        wrong.append(f"ids that occur more than once: {listed(twice)}")
    if kind != "math":
        errors = (_choice_error(row) for row in rows)
        if bad := [f"{id} ({error})" for id, error in zip(ids, errors, strict=True) if error]:
            from_0 = f"; {_FROM_0}" if _counted(rows, first=0) else ""
            wrong.append(f"gold answers that are no choice: {listed(bad)}{from_0}")
    if wrong:
        raise StageError("; ".join(wrong))
    return [_problem(id, row, kind, shuffle) for id, row in zip(ids, rows, strict=True)]


def doubts(problems: Sequence[Problem], rows: Sequence[Mapping[str, Any]], *, kind: str) -> list[str]:
    """What can be meant, and may be a mistake: problems that are there twice, answers that may be counted from 0."""
    found = alike((problem.question, problem.gold, *(problem.choices or [])) for problem in problems)
    if kind != "math" and rows and "choices" in rows[0] and _counted(rows, first=1):
        found.append(f"its answers are numbers, and none is that of the last choice; 1 is read as A. {_FROM_0}")
    return found


def alike(problems: Iterable[tuple[str, ...]]) -> list[str]:
    """What is said of problems that are there more than once, question and gold answer alike."""
    places: dict[tuple[str, ...], list[int]] = {}
    for number, problem in enumerate(problems, start=1):
        places.setdefault(problem, []).append(number)
    if not (twice := [rows for rows in places.values() if len(rows) > 1]):
        return []
    more = sum(map(len, twice)) - len(twice)
    named = " and ".join(map(str, twice[0][:2]))
    return [f"{more} of its rows repeat the question and the answer of another row, as rows {named} do"]


def letters(choices: Sequence[str]) -> str:
    """`letters(["north", "south"])` is `"AB"`."""
    return ascii_uppercase[: len(choices)]


def listed(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _problem(id: str, row: Mapping[str, Any], kind: str, shuffle: int | None) -> Problem:
    """A problem of a row that has been checked, its choices in their final order."""
    if kind == "math":
        return Problem(id=id, gold=str(row["answer"]), fields=with_letters(row))
    gold = letter_of(row["answer"])
    assert gold is not None  # `_choice_error` has seen it
    if "choices" not in row:
        return Problem(id=id, gold=gold, fields=row)
    choices = [choice.strip() for choice in row["choices"]]  # some of GPQA end in a newline
    if shuffle is not None:
        order = list(range(len(choices)))
        random.Random(f"{shuffle}:{row['question']}").shuffle(order)
        gold = ascii_uppercase[order.index(ascii_uppercase.index(gold))]
        choices = [choices[old] for old in order]
    return Problem(id=id, gold=gold, fields=with_letters({**row, "choices": choices}))


def with_letters(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row, and the letters of its choices, if it has any."""
    return {**row, "letters": letters(row["choices"])} if "choices" in row else dict(row)


def _counted(rows: Sequence[Mapping[str, Any]], *, first: int) -> bool:
    """Whether the answers are all numbers of choices, from `first` to below the number of choices."""
    answers = [(str(row["answer"]).strip(), len(row.get("choices") or ascii_uppercase)) for row in rows]
    numbers = [(int(text), most) for text, most in answers if text.isascii() and text.isdigit() and len(text) < 3]
    return len(numbers) == len(rows) > 0 and all(first <= number < most for number, most in numbers)


def _choice_error(row: Mapping[str, Any]) -> str | None:
    """What is wrong with the gold answer of a choice, or with its choices; None if nothing is."""
    letter, choices = letter_of(row["answer"]), row.get("choices")
    if choices is not None and not 2 <= len(choices) <= len(ascii_uppercase):
        return f"{len(choices)} choices"
    if not letter:
        return f"{row['answer']!r}, expected a letter"
    if choices is not None and letter > letters(choices)[-1]:
        return f"{row['answer']!r} of {len(choices)} choices"
    return None
