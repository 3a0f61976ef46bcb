"""Answers: what an evaluation published, problem by problem, what went wrong first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import parquet, readable
from orchestrator.parquet import Type
from orchestrator.refusal import ConfigError
from stages import jsonfile, spoilt

#: Verdicts, the first shown first. unparsed: wrong, as no answer was found; error: it could not be graded.
VERDICTS = ("wrong", "error", "unparsed", "right")

#: Columns of generations.parquet without which there is nothing to show.
NEEDED: dict[str, Type] = {
    "problem": "integer",
    "sample": "integer",
    "prompt": "text",
    "completion": "text",
    "extracted": "text?",
    "correct": "boolean?",
    "error": "text?",
}
#: Those that artifacts of earlier versions lack.
LATER: dict[str, Type] = {"id": "text", "gold": "text?", "truncated": "boolean?", "tokens": "integer?"}

#: Bytes of the texts of an evaluation, at most.
LARGEST = 2**32

#: The verdicts that say that an answer was read and counted as wrong.
_WRONG = ("wrong", "unparsed")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sample. What an artifact of an earlier version does not say is None."""

    sample: int
    completion: str
    extracted: str | None
    correct: bool | None
    error: str | None
    truncated: bool | None
    tokens: int | None

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if self.correct is None:
            return "error"
        if self.correct:
            return "right"
        return "unparsed" if self.extracted is None else "wrong"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem and its answers, the wrong ones first. `number` is its row, `id` its name."""

    number: int
    id: str
    prompt: str
    gold: str | None
    answers: list[Answer]

    @property
    def verdict(self) -> str:
        """The verdict of its first answer."""
        return self.answers[0].verdict

    @property
    def right(self) -> int:
        return sum(answer.correct is True for answer in self.answers)

    @property
    def wrong(self) -> bool:
        """Whether an answer was read and is wrong, or none was found in it."""
        return any(answer.verdict in _WRONG for answer in self.answers)


def read(folder: Path, only: Collection[str] | None = None) -> list[Problem]:
    """The problems of an evaluation, or those with these ids, those with a wrong answer first.

    Raises:
        ConfigError: the artifact has other columns.
        Unreadable: it is no table.
    """
    problems: dict[int, Problem] = {}
    for row in _rows(folder / "generations.parquet", only):
        number = row["problem"]
        if number not in problems:
            id, prompt = str(row.get("id", number)), row["prompt"]
            problems[number] = Problem(number=number, id=id, prompt=prompt, gold=row.get("gold"), answers=[])
        problems[number].answers.append(_answer(row))
    for problem in problems.values():
        problem.answers.sort(key=lambda answer: (VERDICTS.index(answer.verdict), answer.sample))
    return sorted(problems.values(), key=lambda problem: (VERDICTS.index(problem.verdict), problem.number))


def counts(problems: Iterable[Problem]) -> dict[str, int]:
    """How many problems and samples there are, how many samples have each verdict, and how many were truncated."""
    every = list(problems)
    answers = [answer for problem in every for answer in problem.answers]
    verdicts = Counter(answer.verdict for answer in answers)
    return {
        "problems": len(every),
        "samples": len(answers),
        **{verdict: verdicts[verdict] for verdict in VERDICTS},
        "truncated": sum(answer.truncated is True for answer in answers),
    }


def _answer(row: dict[str, Any]) -> Answer:
    return Answer(
        sample=row["sample"],
        completion=row["completion"],
        extracted=row["extracted"],
        correct=row["correct"],
        error=row["error"],
        truncated=row.get("truncated"),
        tokens=row.get("tokens"),
    )


def _rows(file: Path, only: Collection[str] | None) -> Iterator[dict[str, Any]]:
    import pyarrow as pa  # slow to import
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with jsonfile.opened(file) as stream:
            table = pq.ParquetFile(stream)
            names = table.schema_arrow.names
            if missing := [name for name in NEEDED if name not in names]:
                raise ConfigError([f"{file}: no column {', '.join(missing)}; it has {', '.join(names)}"])
            columns = [name for name in (*NEEDED, *LATER) if name in names]
            parquet.check_size(table.metadata, columns, size=LARGEST)
            for batch in table.iter_batches(batch_size=4096, columns=columns):
                for name, kind in (NEEDED | LATER).items():
                    if name in names:
                        parquet.check(name, batch[name], kind)
                if only is not None and "id" in names:
                    batch = batch.filter(pc.is_in(batch["id"], value_set=pa.array(list(only), type=pa.string())))
                yield from batch.to_pylist()
    except (OSError, ValueError, NotImplementedError, MemoryError, pa.ArrowException) as error:
        spoilt.note(file, error)
        raise readable.Unreadable(file.parent, file.name, error) from None
