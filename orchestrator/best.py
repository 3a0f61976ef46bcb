"""Which row of a study ends highest after RL: named only where intervals over seeds tell it from every other one.

One seed has no say in it: another training of the same chain may end elsewhere, and nothing in one run says how far.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from orchestrator import estimate, hint, report
from orchestrator.command import Study
from orchestrator.document.rows import Rows
from orchestrator.estimate import Estimate, Unpaired
from orchestrator.report import Score, Scores, Table
from orchestrator.solved import Solved

#: Seeds that a study needs for an answer, as the commands here give them; two are the least that have an interval.
SEEDS = 3

#: Rows that one command names; more of them are simply all.
NAMED = 8

State = Literal["nothing", "alone", "one seed", "partial", "best", "level"]


@dataclass(frozen=True, kw_only=True)
class Best:
    """What a study says of where RL should start.

    Attributes:
        state: `nothing`: no row after RL has a score to compare; `alone`: there is one row only; `one seed`: no row has
            several; `partial`: seeds are missing; `best`: one row is told from all others; `level`: none is.
        column: the column of the result table that is compared, empty if there is none.
        rows: the rows that are compared, the highest first where their scores are known.
        level: those that cannot be told from the highest, and it; one if `best`, none if nothing is told.
        seeds: of each row that is compared.
        there: rows that have all of their seeds.
        lead: the highest minus the next one, as shares, with its interval; None where nothing is told.
        wanted: new seeds that would give an answer, or a better one; none if there is one, or no seeds would.
    """

    state: State
    column: str = ""
    rows: Sequence[str] = ()
    level: Sequence[str] = ()
    seeds: int = 1
    there: int = 0
    lead: tuple[float, float, float] | None = None
    wanted: Sequence[int] = ()

    def as_json(self, overrides: Sequence[str]) -> dict[str, Any]:
        return {**asdict(self), "said": self.said(), "command": self.command(overrides)}

    def command(self, overrides: Sequence[str]) -> str:
        """What would give an answer, for a study of this command line; empty if there is one, or nothing would."""
        if self.state == "level":  # the rows that are told apart already need no more seeds
            return again(overrides, self.wanted, self.level)
        return again(overrides, self.wanted) if self.state in ("one seed", "partial") else ""

    def said(self) -> str:
        """It in a few sentences, without the command."""
        return " ".join(filter(None, (self.headline, self.detail)))

    @property
    def headline(self) -> str:
        """What somebody who reads one sentence has to know."""
        match self.state:
            case "nothing":
                return "No row of this study ends with RL on benchmarks, so it does not say where RL should start."
            case "alone":
                return f"No recommendation: {self.rows[0]} is the only row to compare, so this study chooses nothing."
            case "one seed":
                return f"No answer yet: each of the {len(self.rows)} rows after RL has one seed."
            case "partial":
                some = f"{self.there} of {len(self.rows)} rows after RL have all of their {self.seeds} seeds"
                return f"No answer yet: {some}, and nothing is judged before all have."
            case "best":
                return f"{self.rows[0]} ends highest of {len(self.rows)} rows after RL."
        return f"No best row: {listed(self.level)} cannot be told apart."

    @property
    def detail(self) -> str:
        """How sure that is, and what would make it surer."""
        called = CALLED.get(self.column, self.column)
        if self.state == "one seed":
            return f"Another training of the same row may end elsewhere; {SEEDS} seeds of each may tell."
        if self.state == "best":
            every = "its lead" if len(self.rows) == 2 else "its lead over each of the others"
            return (
                f"With {self.seeds} seeds each, the 95 % interval of {every} excludes 0: by its {called} it is "
                f"{points(self.lead)} above the next, {self.rows[1]}."
            )
        if self.state == "level":
            below = len(self.rows) - len(self.level)
            more = f" The other {below} {'is' if below == 1 else 'are'} lower than {self.level[0]}." if below else ""
            return (
                f"With {self.seeds} seeds each, the 95 % intervals of their differences to {self.level[0]}, which has "
                f"the highest {called}, include 0.{more} More seeds may tell; new ones, as these have been looked at."
            )
        return ""


#: A column -> how a sentence calls it.
CALLED = {"avg": "overall average", "ID avg": "ID average", "OOD avg": "OOD average"}


@dataclass(frozen=True)
class Judge:
    """Compares rows of a study by their published evaluations."""

    study: Study
    table: Table
    scores: Scores
    solved: Solved

    def best(self) -> Best:
        """The verdict on the rows after RL."""
        rows = Rows(self.study)
        ends = [name for name in rows.lines if rows.first(name).rl is not None]
        column = self.column()
        if not ends or column is None:
            return Best(state="nothing")
        most = max(len(rows.replicas[name]) for name in ends)
        fair = [name for name in ends if len(rows.replicas[name]) == most]
        found = {name: self.score(name, column) for name in fair}
        there = sum(score is not None and score.seeds[0] == most for score in found.values())
        of = Best(state="alone", column=column, rows=fair, seeds=most, there=there)
        if len(fair) == 1:
            return of
        if most == 1:
            return replace(of, state="one seed", wanted=self._seeds(SEEDS))
        if there < len(fair):
            return replace(of, state="partial")
        ranked = sorted(fair, key=lambda name: -_mean(found[name]))
        lead = self.lead(ranked[0], ranked[1], column)
        level = [name for name in ranked[1:] if not told(self.lead(ranked[0], name, column))]
        shown = None if lead is None or lead.interval is None else (lead.mean, *lead.interval)
        if not level:
            return replace(of, state="best", rows=ranked, level=ranked[:1], lead=shown)
        wanted = self._seeds(2 * most)
        return replace(of, state="level", rows=ranked, level=[ranked[0], *level], lead=shown, wanted=wanted)

    def leader(self, names: Sequence[str], column: str) -> str | None:
        """The row that is highest in a column and told from every other one of these; None if none is."""
        found = {name: score for name in names if (score := self.score(name, column)) is not None}
        if len(found) < 2 or any(score.seeds[0] < 2 or score.partly for score in found.values()):
            return None
        first, *others = sorted(found, key=lambda name: -found[name].mean)
        return first if all(told(self.lead(first, other, column)) for other in others) else None

    def lead(self, one: str, other: str, column: str) -> Estimate | None:
        """How far one row is above another, paired by problem where both have the same; None if seeds are missing."""
        ours, theirs = (self.study.experiment.replicas[name] for name in (one, other))
        if len(ours) != len(theirs):
            return None
        weights = report.weights(report.columns_of(self.study.experiment), column)
        parts: list[tuple[float, list[dict[str, float]]]] = []
        try:
            for benchmark, weight in weights.items():
                pairs = [self._apart(*pair, benchmark) for pair in zip(ours, theirs, strict=True)]
                parts.append((weight, pairs))
            return estimate.crossed(parts)
        except Unpaired:
            return self._by_seeds(ours, theirs, weights)

    def score(self, name: str, column: str) -> Score | None:
        """A cell of the result table."""
        table = self.table
        return table.rows[name][table.columns.index(column)] if name in table.rows else None

    def column(self) -> str | None:
        """What rows are compared by: the overall average, else another one, else the first benchmark."""
        averages = [name for name in ("avg", "OOD avg", "ID avg") if name in self.table.columns]
        return averages[0] if averages else next(iter(self.table.columns), None)

    def _apart(self, one: str, other: str, benchmark: str) -> dict[str, float]:
        ours, theirs = self.solved.shares(one, benchmark), self.solved.shares(other, benchmark)
        if ours is None or theirs is None or ours.keys() != theirs.keys():
            raise Unpaired(f"{one} and {other} have not both answered the same problems of {benchmark}")
        return {id: share - theirs[id] for id, share in ours.items()}

    def _by_seeds(self, ours: Sequence[str], theirs: Sequence[str], weights: Mapping[str, float]) -> Estimate | None:
        """The difference of the scores alone: its interval is over seeds."""
        sums = []
        for pair in zip(ours, theirs, strict=True):
            cells = [[self.scores.get((each, name), {}).get("pass@1") for name in weights] for each in pair]
            if any(value is None for row in cells for value in row):
                return None
            ones, others = ([value or 0.0 for value in row] for row in cells)
            sums.append(sum(w * (a - b) for w, a, b in zip(weights.values(), ones, others, strict=True)))
        return estimate.over_seeds(sums)

    def _seeds(self, count: int) -> list[int]:
        """Seeds for a command: the one that a study of one seed has and the next; else new ones."""
        used = self.study.experiment.seeds
        first = max(used) + 1 if used else self.study.experiment.seed
        return list(range(first, first + count))


def told(lead: Estimate | None) -> bool:
    """Whether the interval of a lead over several seeds excludes 0."""
    return lead is not None and lead.seeds > 1 and lead.interval is not None and lead.interval[0] > 0


def again(overrides: Sequence[str], seeds: Sequence[int] = (), rows: Sequence[str] = ()) -> str:
    """The command of a study; with these seeds in place of its own, and these rows alone, if they are given."""
    replaced = [*(["seed", "seeds", "replicated"] if seeds else []), *(["only"] if rows else [])]
    kept = [each for each in overrides if each.partition("=")[0] not in replaced]
    plain = len(rows) <= NAMED and not any("@" in name for name in rows)  # a row of a sweep is no variant
    only = [f"only=[{','.join(map(hint.quoted, rows))}]"] if rows and plain else []
    given = [f"seeds=[{','.join(map(str, seeds))}]"] if seeds else []
    return shlex.join(["python", "-m", "orchestrator", "run", *kept, *only, *given])


def listed(names: Sequence[str]) -> str:
    """`A, B and C`."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def points(lead: tuple[float, float, float] | None) -> str:
    """`+3.1 [+0.5, +5.7] points`."""
    if lead is None:
        return "an unknown number of points"
    mean, low, high = (100 * each for each in lead)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}] points"


def _mean(score: Score | None) -> float:
    return float("-inf") if score is None else score.mean
