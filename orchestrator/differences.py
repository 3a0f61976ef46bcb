"""How much better one variant is than another: differences paired by problem, with intervals.

Both variants have answered the same problems, so what is compared is each problem's share of correct samples with its
own. The problems are the random units, and the seeds too, where there are several: `orchestrator.estimate` says how. A
pair of each seed is compared, then these are pooled. The benchmarks are fixed: an average is over exactly these.
Intervals cover 95 % each, not all of them together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import estimate, report, tables
from orchestrator.estimate import Shares, Unpaired
from orchestrator.experiment import Difference as Sides
from orchestrator.experiment import Experiment
from orchestrator.graph import Graph
from orchestrator.solved import Solved
from orchestrator.tables import MISSING
from stages.store import Store


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean difference of shares, with its standard error and the degrees of freedom of that.

    Attributes:
        seeds, wanted: over how many pairs it is the mean, and how many there are to be.
        bootstrap: the interval of the cluster bootstrap, beside that of Student's t; None for one seed.
    """

    mean: float
    error: float
    freedom: float
    problems: int
    seeds: int = 1
    wanted: int = 1
    bootstrap: tuple[float, float] | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """Student's t around the mean."""
        half = estimate.quantile(self.freedom) * self.error
        return self.mean - half, self.mean + half

    @property
    def verdict(self) -> str:
        """`higher` or `lower` where the interval excludes 0, else empty."""
        low, high = self.interval
        return "higher" if low > 0 else "lower" if high < 0 else ""

    def __str__(self) -> str:
        """In points: `+2.5 [+0.3, +4.7] higher`; with the number of seeds, where some are missing."""
        low, high = self.interval
        there = "" if self.seeds == self.wanted else f"({self.seeds}/{self.wanted})"
        said = f"{100 * self.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        return " ".join(part for part in (said, self.verdict, there) if part)


def paired(variant: Shares, reference: Shares) -> Difference:
    """The mean over problems of variant minus reference; its error is the standard deviation over the root of n.

    Raises:
        Unpaired: they are not of the same problems, or of one only.
    """
    check(variant, reference)
    return mean({id: share - reference[id] for id, share in variant.items()})


def check(variant: Shares, reference: Shares) -> None:
    """Raise Unpaired unless both are of the same problems."""
    alone = sorted(variant.keys() ^ reference.keys())
    if alone:
        raise Unpaired(f"problems that only one of the two has: {estimate.named(alone)}")


def mean(apart: Shares) -> Difference:
    """The mean of the differences of problems.

    Raises:
        Unpaired: there is one problem only.
    """
    if len(apart) < 2:
        raise Unpaired(f"an interval needs two problems, not {len(apart)}")
    error = statistics.stdev(apart.values()) / math.sqrt(len(apart))
    return Difference(mean=statistics.fmean(apart.values()), error=error, freedom=len(apart) - 1, problems=len(apart))


def average(differences: Sequence[Difference | None]) -> Difference | None:
    """The unweighted mean of independent differences; None if one is missing.

    Its degrees of freedom are Welch's and Satterthwaite's: (sum v)^2 / sum(v^2 / freedom), of the squared errors v.
    """
    present = [each for each in differences if each is not None]
    if not present or len(present) < len(differences):
        return None
    squares = [each.error**2 for each in present]
    spread = sum(square**2 / each.freedom for square, each in zip(squares, present, strict=True))
    return Difference(
        mean=statistics.fmean(each.mean for each in present),
        error=math.sqrt(sum(squares)) / len(present),
        freedom=sum(squares) ** 2 / spread if spread > 0 else sum(each.freedom for each in present),
        problems=sum(each.problems for each in present),
    )


@dataclass(frozen=True)
class Differences:
    """Name -> a difference for each column of the result table, and what could not be compared."""

    columns: list[str]
    found: dict[str, list[Difference | None]]
    errors: list[str]

    @property
    def head(self) -> list[str]:
        return ["benchmark", *self.found]

    @property
    def alone(self) -> bool:
        """Whether some are of one seed."""
        return any(each.wanted < 2 for row in self.found.values() for each in row if each is not None)

    def cells(self) -> list[list[str]]:
        """The table as text, without the head: a line for each benchmark and average, a column for each difference."""
        by_column = zip(*self.found.values(), strict=True)
        return [
            [column, *(MISSING if each is None else str(each) for each in line)]
            for column, line in zip(self.columns, by_column, strict=True)
        ]


#: What an interval of one seed does not say, behind whatever shows it.
ALONE = "; of one seed it is over its problems alone, and another training may say otherwise"


def table(experiment: Experiment, graph: Graph, store: Store) -> Differences:
    """The differences of whatever is published now."""
    columns = report.columns_of(experiment) if experiment.differences else {}
    solved, rows, errors = Solved(graph, store), {}, []
    for name, of in experiment.seeded_differences.items():
        pairs = [experiment.differences[label] for label in dict.fromkeys(of.values())]
        made: dict[str, list[Shares]] = {}  # benchmark -> of each pair that is published
        for column in (column for column, members in columns.items() if not members):
            try:
                made[column] = [_apart(solved, sides, column) for sides in pairs]
            except Unpaired as error:
                errors.append(f"{name}, {column}: {error}")
        found: dict[str, Difference | None] = {}
        for column, members in columns.items():
            if len(pairs) > 1:
                found[column] = _pooled(report.weights(columns, column), made)
            elif members:
                found[column] = average([found[member] for member in members])
            else:
                found[column] = _alone(made.get(column), f"{name}, {column}", errors)
        rows[name] = [found[column] for column in columns]
    return Differences(list(columns), rows, errors)


def _apart(solved: Solved, sides: Sides, benchmark: str) -> Shares:
    """Variant minus reference, problem by problem; empty if one is not published.

    Raises:
        Unpaired: they are not of the same problems.
    """
    ours, theirs = solved.shares(sides.variant, benchmark), solved.shares(sides.reference, benchmark)
    if ours is None or theirs is None:
        return {}
    check(ours, theirs)
    return {id: share - theirs[id] for id, share in ours.items()}


def _alone(made: list[Shares] | None, where: str, errors: list[str]) -> Difference | None:
    """The difference of one pair on one benchmark."""
    if not made or not made[0]:
        return None
    try:
        return mean(made[0])
    except Unpaired as error:
        errors.append(f"{where}: {error}")
        return None


def _pooled(weights: Mapping[str, float], made: Mapping[str, list[Shares]]) -> Difference | None:
    """The mean over those pairs that are published on all of these benchmarks; None if there is none."""
    if not weights.keys() <= made.keys():
        return None
    pairs = [number for number in range(len(made[next(iter(weights))])) if all(made[name][number] for name in weights)]
    if not pairs:
        return None
    parts = [(weight, [made[name][number] for number in pairs]) for name, weight in weights.items()]
    try:
        found = estimate.crossed(parts)
    except Unpaired:
        return None
    if found.error is None or found.freedom is None:
        return None
    problems = sum(len(shares[0]) for _, shares in parts)
    return Difference(
        mean=found.mean,
        error=found.error,
        freedom=found.freedom,
        problems=problems,
        seeds=found.seeds,
        wanted=len(made[next(iter(weights))]),
        bootstrap=found.bootstrap,
    )


def write(result: Differences, experiment: Experiment, folder: Path) -> list[Path]:
    """Write `differences.md` (points) and `differences.csv` (shares, a row for each difference and column)."""
    head = ["difference", "variant", "reference", "benchmark", "problems", *FIELDS]
    shown = {label: name for name, of in experiment.seeded_variants.items() for label in of.values()}
    sides = {
        name: experiment.differences[next(iter(of.values()))] for name, of in experiment.seeded_differences.items()
    }
    rows = [
        {
            "difference": name,
            "variant": shown[sides[name].variant],
            "reference": shown[sides[name].reference],
            "benchmark": column,
            "problems": each.problems,
            **as_fields(each),
        }
        for name, found in result.found.items()
        for column, each in zip(result.columns, found, strict=True)
        if each is not None
    ]
    return [
        tables.write_markdown(folder / "differences.md", result.head, result.cells()),
        tables.write_csv(folder / "differences.csv", head, rows),
    ]


#: What `as_fields` gives.
FIELDS = ("mean", "se", "df", "low", "high", "verdict", "seeds", "bootstrap_low", "bootstrap_high")


def as_fields(difference: Difference) -> dict[str, str | float | None]:
    """A difference for programs."""
    ends = difference.bootstrap or (None, None)
    values = (difference.mean, difference.error, difference.freedom, *difference.interval, difference.verdict)
    return dict(zip(FIELDS, (*values, difference.seeds, *ends), strict=True))
