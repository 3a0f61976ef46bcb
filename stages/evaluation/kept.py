"""What an evaluation has generated, kept in its work folder: one that was killed goes on with the rest.

JSON lines, one for each problem whose samples are all there, written as they come.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever reads the tables of an evaluation does not wait for torch and transformers
    from stages.generation.engine import Completion


@dataclass(frozen=True)
class Answer:
    """One sample: its text, how many tokens it has, and whether it ended by itself."""

    text: str
    tokens: int
    finished: bool


class Kept:
    """The answers in `file`, by the number of their problem. A line that a kill cut short is forgotten."""

    def __init__(self, file: Path) -> None:
        written = file.read_bytes() if file.exists() else b""
        whole = written[: written.rfind(b"\n") + 1]
        self._stream = file.open("ab")
        self._stream.truncate(len(whole))
        self.answers = dict(map(_read, whole.splitlines()))

    def add(self, problem: int, completions: list[Completion]) -> list[Answer]:
        """Keep the samples of a problem, before anything else is done with them."""
        answers = [Answer(_encodable(each.text), len(each.token_ids), each.finished) for each in completions]
        line = json.dumps([problem, [astuple(answer) for answer in answers]])
        self._stream.write(line.encode() + b"\n")
        self._stream.flush()
        self.answers[problem] = answers
        return answers

    def close(self) -> None:
        self._stream.close()


def _read(line: bytes) -> tuple[int, list[Answer]]:
    problem, answers = json.loads(line)
    return problem, [Answer(*answer) for answer in answers]


def _encodable(text: str) -> str:
    """The text without lone surrogates, which no file of text can hold."""
    return text.encode("utf-8", "replace").decode()
