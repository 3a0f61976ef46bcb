"""How much better one variant is than another: differences paired by problem, with intervals.

Both variants have answered the same problems, so what is compared is each problem's share of correct samples with its
own. The problems are the random units. The benchmarks are fixed: an average is over exactly these. Several seeds of a
variant are not pooled: each is a variant of its own. Intervals cover 95 % each, not all of them together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import report, tables
from orchestrator.experiment import Experiment
from orchestrator.graph import Graph
from orchestrator.tables import MISSING
from stages.store import Store

#: Coverage of the intervals.
COVERAGE = 0.95

#: Ids that a message names.
NAMED = 5

#: Id of a problem -> its share of correct samples.
Shares = Mapping[str, float]


class Unpaired(Exception):
    """Two evaluations cannot be compared, and why."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean difference of shares, with its standard error and the degrees of freedom of that."""

    mean: float
    error: float
    freedom: float
    problems: int

    @property
    def interval(self) -> tuple[float, float]:
        """Student's t around the mean."""
        from scipy.special import stdtrit  # scipy.stats takes a second to import

        half = float(stdtrit(self.freedom, (1 + COVERAGE) / 2)) * self.error
        return self.mean - half, self.mean + half

    @property
    def verdict(self) -> str:
        """`higher` or `lower` where the interval excludes 0, else empty."""
        low, high = self.interval
        return "higher" if low > 0 else "lower" if high < 0 else ""

    def __str__(self) -> str:
        """In points: `+2.5 [+0.3, +4.7] higher`."""
        low, high = self.interval
        return f"{100 * self.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] {self.verdict}".rstrip()


def paired(variant: Shares, reference: Shares) -> Difference:
    """The mean over problems of variant minus reference; its error is the standard deviation over the root of n.

    Raises:
        Unpaired: they are not of the same problems, or of one only.
    """
    alone = sorted(variant.keys() ^ reference.keys())
    if alone:
        more = f" and {len(alone) - NAMED} more" if len(alone) > NAMED else ""
        raise Unpaired(f"problems that only one of the two has: {', '.join(alone[:NAMED])}{more}")
    if len(variant) < 2:
        raise Unpaired(f"an interval needs two problems, not {len(variant)}")
    each = [share - reference[id] for id, share in variant.items()]
    error = statistics.stdev(each) / math.sqrt(len(each))
    return Difference(mean=statistics.fmean(each), error=error, freedom=len(each) - 1, problems=len(each))


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

    def cells(self) -> list[list[str]]:
        """The table as text, without the head: a line for each benchmark and average, a column for each difference."""
        by_column = zip(*self.found.values(), strict=True)
        return [
            [column, *(MISSING if each is None else str(each) for each in line)]
            for column, line in zip(self.columns, by_column, strict=True)
        ]


def table(experiment: Experiment, graph: Graph, store: Store) -> Differences:
    """The differences of whatever is published now."""
    columns = report.columns_of(experiment) if experiment.differences else {}
    shares: dict[tuple[str, str], Shares | None] = {}
    rows, errors = {}, []
    for name, sides in experiment.differences.items():
        found: dict[str, Difference | None] = {}
        for column, members in columns.items():
            if members:
                found[column] = average([found[member] for member in members])
                continue
            try:
                for cell in [(sides.variant, column), (sides.reference, column)]:
                    if cell not in shares:
                        shares[cell] = _shares(graph, store, *cell)
                ours, theirs = shares[sides.variant, column], shares[sides.reference, column]
                found[column] = None if ours is None or theirs is None else paired(ours, theirs)
            except Unpaired as error:
                found[column] = None
                errors.append(f"{name}, {column}: {error}")
        rows[name] = [found[column] for column in columns]
    return Differences(list(columns), rows, errors)


def write(result: Differences, experiment: Experiment, folder: Path) -> list[Path]:
    """Write `differences.md` (points) and `differences.csv` (shares, a row for each difference and column)."""
    head = ["difference", "variant", "reference", "benchmark", "problems", *FIELDS]
    rows = [
        {
            "difference": name,
            "variant": experiment.differences[name].variant,
            "reference": experiment.differences[name].reference,
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
FIELDS = ("mean", "se", "df", "low", "high", "verdict")


def as_fields(difference: Difference) -> dict[str, str | float]:
    """A difference for programs."""
    values = (difference.mean, difference.error, difference.freedom, *difference.interval, difference.verdict)
    return dict(zip(FIELDS, values, strict=True))


def _shares(graph: Graph, store: Store, variant: str, benchmark: str) -> Shares | None:
    """The shares of a variant on a benchmark; None if they are not published.

    Raises:
        Unpaired: the artifact does not say them.
    """
    node = graph.scores.get((variant, benchmark))
    folder = None if node is None else store.find(node.stage, node.fingerprint)
    if folder is None:
        return None
    import pyarrow.parquet as pq

    try:
        file, columns = folder / "problems.parquet", ["id", "samples", "correct"]
        found = pq.read_table(file, columns=columns, partitioning=None).to_pydict()  # a = in a path is no column
    except (OSError, ValueError) as error:
        raise Unpaired(f"{folder}: no shares of its problems ({error})") from None
    counts = zip(found["correct"], found["samples"], strict=True)
    return dict(zip(found["id"], (correct / samples for correct, samples in counts), strict=True))
