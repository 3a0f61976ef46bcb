"""A corpus as the numbers of its words: four bytes a word, so that several benchmarks can look into it at once."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Any

import numpy as np

from stages.overlap.words import question, words

#: The fields of a row that are compared with the whole question of a problem.
_QUESTIONS = ("question", "prompt")

#: Stands for the end of a text: no n-gram has it, so none spans two texts.
END = 0

#: The type of a word's number.
NUMBER = np.dtype(np.int32)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The texts of all rows.

    Attributes:
        vocabulary: word -> its number, from 1.
        numbers: of the words of all texts in their order, each text followed by `END`.
        starts: where in `numbers` each text starts, ascending.
        rows: the row of each text.
        questions: digest of a question or prompt -> the first row that has it.
    """

    vocabulary: Mapping[str, int]
    numbers: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    questions: Mapping[bytes, int]

    def row(self, position: int) -> int:
        """The row of the text that has this place in `numbers`."""
        return int(self.rows[np.searchsorted(self.starts, position, side="right") - 1])

    def row_of_question(self, text: str) -> int | None:
        """The first row whose question or prompt is this text (`words.question`); None if there is none."""
        return self.questions.get(_digest(text)) if question(text) else None


def encode(every: Iterable[Mapping[str, Any]], tell: Callable[[int], None] = lambda rows: None) -> Corpus:
    """The corpus of some rows, of which one at a time is held; `tell` is told how many have been read."""
    vocabulary: defaultdict[str, int] = defaultdict(count(1).__next__)
    numbers, starts, rows = array("i"), array("q"), array("q")
    questions: dict[bytes, int] = {}
    for row, fields in enumerate(every):
        tell(row + 1)
        for text, whole in _texts(fields).items():
            found = words(text)
            starts.append(len(numbers))
            rows.append(row)
            numbers.extend(map(vocabulary.__getitem__, found))
            numbers.append(END)
            if whole:
                questions.setdefault(_digest(text), row)
    return Corpus(
        vocabulary=dict(vocabulary),
        numbers=np.frombuffer(numbers, dtype=NUMBER),
        starts=np.frombuffer(starts, dtype=np.int64),
        rows=np.frombuffer(rows, dtype=np.int64),
        questions=questions,
    )


def _texts(fields: Mapping[str, Any]) -> dict[str, bool]:
    """The texts of a row, equal ones once, and whether each is its question or its prompt."""
    wholes = {text: True for name in _QUESTIONS if isinstance(text := fields.get(name), str)}
    return {text: False for value in fields.values() for text in _listed(value)} | wholes


def _listed(value: Any) -> Iterator[str]:
    """The texts of a field: one, or those of a list such as `choices`."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str):
            yield each


def _digest(text: str) -> bytes:
    return blake2b(question(text).encode(), digest_size=16).digest()
