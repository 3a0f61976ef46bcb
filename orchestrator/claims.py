"""Claims and verdicts: whether a study bears out what a paper says, by a rule that was fixed before the numbers.

The rule, for a part of a claim, which is a sum of numbers and the side of 0 where the claim wants it:

    holds           the 95 % interval over seeds lies on the claim's side of 0
    does not hold   it lies on the other side; or within the margin, on whatever side: no effect worth the name
    cannot tell     else; and always if a seed's numbers are missing, or if there is one seed only
    not judged      the study has not the rows, the columns or the diagnoses that the claim is about

A claim of several parts holds if all do, and does not hold if one does not. The interval is that of
`orchestrator.estimate`: Student's t over seeds, and over problems too where the numbers are scores. One seed has an
interval over its problems at most, which says nothing of another training: it is shown, and no verdict rests on it.
Each interval covers 95 %, not all of them together. The number of seeds is the experiment's: nothing is judged before
all of them are there, so that nobody stops when it looks good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator import estimate, tables
from orchestrator.claim import Claim, Part, Term
from orchestrator.command import Study
from orchestrator.document import paper
from orchestrator.estimate import Estimate, Unpaired
from orchestrator.quantities import Absent, Quantities

#: What is nearer to 0 is 0, in any unit: sums of a few numbers of the size of percents are exact to some 1e-14.
ROUNDING = 1e-12

Verdict = Literal["holds", "does not hold", "cannot tell", "not judged"]

#: Heads of the tables; that of the neurons is there where a claim is about rows that reset some.
HEAD = ("claim", "verdict", "estimate [95 % interval]", "paper", "seeds")
RESET = "neurons reset"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim, or a part of one, with its verdict.

    Attributes:
        estimate, low, high: the sum of its numbers with its interval, in `unit`; None where they are not known, and
            for a claim of several parts, which have their own.
        published: that sum of the paper's own numbers, if the experiment, the rows and the benchmarks are the paper's.
        seeds: how many there are of those that the study is to have.
        numbers: what the sum is made of, in words; and why there is no verdict, if there is none.
        missing: nodes that are not published, as `stage/label`.
        parts: of a claim of several.
        lacks: what the study would need for a verdict and does not have, such as `row DFT+RL`; empty if it is judged.
        resets: row -> the share of its neurons that are reset, of the rows that the claim is about and that reset some.
    """

    name: str
    claim: str
    source: str
    verdict: Verdict
    estimate: float | None
    low: float | None
    high: float | None
    published: float | None
    unit: str
    seeds: tuple[int, int]
    numbers: str
    missing: list[str]
    parts: list[Judged]
    lacks: list[str] = field(default_factory=list)
    resets: dict[str, float] = field(default_factory=dict)

    @property
    def lacking(self) -> str:
        """`no row DFT+RL, no row Fusion+RL in this study`; empty if it is judged."""
        return f"{', '.join(f'no {each}' for each in self.lacks)} in this study" if self.lacks else ""

    @property
    def reset(self) -> str:
        """`23 %`, the share of the neurons that its rows reset, or `5 %, 23 %`; empty if they reset none."""
        shares = [f"{100 * share:.2g} %" for share in sorted(self.resets.values())]
        return ", ".join(dict.fromkeys(shares))

    @property
    def interval(self) -> str:
        """`+2.5 [+0.3, +4.7] points`; MISSING where there is none."""
        if self.estimate is None:
            return tables.MISSING
        ends = f" [{_signed(self.low)}, {_signed(self.high)}]" if self.low is not None else ""
        return f"{_signed(self.estimate)}{ends} {self.unit}".rstrip()


def judge(study: Study) -> list[Judged]:
    """A verdict on every claim of a study's experiment; a claim that it has not the rows for says which it needs."""
    found = Quantities(study)
    return [_claim(name, claim, found) for name, claim in study.experiment.claims.items()]


def rule(interval: tuple[float, float] | None, part: Part, seeds: int) -> Verdict:
    """The verdict on an interval, in the part's unit, over so many seeds."""
    if interval is None or seeds < 2:
        return "cannot tell"
    low, high = interval
    if -part.margin <= low and high <= part.margin:
        return "does not hold"
    if part.expect == "below":
        low, high = -high, -low
    return "holds" if low > 0 else "does not hold" if high < 0 else "cannot tell"


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim, of those on its parts."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if all(verdict == "holds" for verdict in verdicts) else "cannot tell"


def head(judged: Sequence[Judged]) -> list[str]:
    return [*HEAD, *([RESET] if any(each.resets for each in judged) else [])]


def cells(judged: Sequence[Judged]) -> list[list[str]]:
    """The verdicts as text, without the head: a line for each claim, its parts below it."""
    lines, wide = [], len(head(judged))
    for each in judged:
        lines.append([each.claim, each.verdict, *_line(each)][:wide])
        lines += [[f"- {part.claim}", part.verdict, *_line(part)][:wide] for part in each.parts]
    return lines


def write(judged: Sequence[Judged], folder: Path) -> list[Path]:
    """Write `claims.md`, and `claims.csv` with a row for each claim and each part."""
    rows = [row for each in judged for row in [_row(each, ""), *(_row(part, part.claim) for part in each.parts)]]
    return [
        tables.write_markdown(folder / "claims.md", head(judged), cells(judged), names=2),
        tables.write_csv(folder / "claims.csv", FIELDS, rows),
    ]


def as_json(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    return [asdict(each) for each in judged]


FIELDS = (
    *("name", "part", "claim", "source", "verdict", "estimate", "low", "high", "published", "unit", "seeds"),
    *("seeds_wanted", "interval", "numbers", "missing", "lacks", "neurons_reset"),
)


def _claim(name: str, claim: Claim, found: Quantities) -> Judged:
    terms = [term for part in claim.parts for term in part.terms]
    lacks = found.lacks(terms)
    if lacks:
        return _not_judged(name, claim, lacks)
    parts = [_part(name, claim.source, part, found) for part in claim.parts]
    if len(parts) == 1:
        return Judged(**{**_fields(parts[0]), "claim": claim.claim, "parts": []})
    return Judged(
        name=name,
        claim=claim.claim,
        source=claim.source,
        verdict=together([part.verdict for part in parts]),
        estimate=None,
        low=None,
        high=None,
        published=None,
        unit="",
        seeds=min((part.seeds for part in parts), key=lambda seeds: seeds[0] - seeds[1]),
        numbers="; ".join(f"{part.claim}: {part.interval}" for part in parts),
        missing=list(dict.fromkeys(each for part in parts for each in part.missing)),
        parts=parts,
        resets=found.resets(terms),
    )


def _not_judged(name: str, claim: Claim, lacks: list[str]) -> Judged:
    return Judged(
        name=name,
        claim=claim.claim,
        source=claim.source,
        verdict="not judged",
        estimate=None,
        low=None,
        high=None,
        published=None,
        unit="",
        seeds=(0, 0),
        numbers="",
        missing=[],
        parts=[],
        lacks=lacks,
    )


def _published(part: Part, found: Quantities) -> float | None:
    """The paper's number, if ours is of the same experiment and the same benchmarks."""
    if part.published is None or not paper.is_of(found.experiment):
        return None
    for term in part.terms:
        if term.of is not None and {*map(paper.column, found.weights(term))} != paper.benchmarks(term.of):
            return None
    return part.published


def _part(name: str, source: str, part: Part, found: Quantities) -> Judged:
    """One part: its numbers of every seed that has all of them."""
    shared = [seed for seed in found.seeds(part.terms[0]) if all(seed in found.seeds(term) for term in part.terms)]
    values: dict[int, list[float]] = {}
    missing: dict[str, None] = {}
    for seed in shared:
        row = []
        for term in part.terms:
            try:
                row.append(found.value(term, seed))
            except Absent as absent:
                missing[str(absent)] = None
        if len(row) == len(part.terms):
            values[seed] = row
    known, why = _estimate(part, values, found)
    ends = None if known is None else known.interval
    interval = None if ends is None else (_settled(ends[0] * part.scale), _settled(ends[1] * part.scale))
    verdict: Verdict = "cannot tell" if missing else rule(interval, part, len(shared))
    if len(shared) < 2:
        why = [*why, "one seed: the interval is over its problems" if interval else "one seed: no interval"]
    if missing:
        why = [*why, f"{len(values)} of {len(shared)} seeds"]
    return Judged(
        name=name,
        claim=part.claim,
        source=source,
        verdict=verdict,
        estimate=None if known is None else _settled(known.mean * part.scale),
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        published=_published(part, found),
        unit=part.unit,
        seeds=(len(values), len(shared)),
        numbers="; ".join([*_numbers(part, values), *why]),
        missing=list(missing),
        parts=[],
        resets=found.resets(part.terms),
    )


def _estimate(part: Part, values: dict[int, list[float]], found: Quantities) -> tuple[Estimate | None, list[str]]:
    """The sum over seeds, and over problems if all of its numbers are of problems; and what spoke against it."""
    if not values:
        return None, []
    sums = [sum(term.weight * value for term, value in zip(part.terms, row, strict=True)) for row in values.values()]
    whole = estimate.over_seeds(sums)
    if any(term.variant is None for term in part.terms):
        return whole, []
    try:
        benchmarks = dict.fromkeys(name for term in part.terms for name in found.weights(term))
        parts = [(1.0, [_together(part.terms, seed, name, found) for seed in values]) for name in benchmarks]
        return estimate.crossed(parts), []
    except Unpaired as error:
        return whole, [f"over seeds alone: {error}"]


def _together(terms: Sequence[Term], seed: int, benchmark: str, found: Quantities) -> dict[str, float]:
    """Id -> the weighted sum of a problem's numbers."""
    weighted = []
    for term in terms:
        weight = found.weights(term).get(benchmark)
        shares = None if weight is None else found.shares(term, seed, benchmark)
        if weight is not None:
            if shares is None:
                raise Unpaired(f"{term} is no number of problems")
            weighted.append((term.weight * weight, shares))
    estimate.matrix([shares for _, shares in weighted])  # all of the same problems
    return {id: sum(weight * shares[id] for weight, shares in weighted) for id in weighted[0][1]}


def _numbers(part: Part, values: dict[int, list[float]]) -> list[str]:
    """`pass@1 of OverSFT+RL, ID avg: 45.2`: means over the seeds."""
    columns = list(zip(*values.values(), strict=True)) or [()] * len(part.terms)
    return [
        f"{term}: {part.scale * sum(column) / len(column):.4g}" if column else f"{term}: {tables.MISSING}"
        for term, column in zip(part.terms, columns, strict=True)
    ]


def _settled(value: float) -> float:
    """0 for what rounding leaves of a sum that is 0: numbers that are all alike are on no side of it."""
    return 0.0 if abs(value) < ROUNDING else value


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}" if abs(value) >= 10 else f"{value:+.3g}"


def _line(each: Judged) -> list[str]:
    there, wanted = each.seeds
    theirs = tables.MISSING if each.published is None else _signed(each.published)
    seeds = "" if each.lacks else str(there) if there == wanted else f"{there} of {wanted}"
    return [each.lacking or each.interval, theirs, seeds, each.reset or tables.MISSING]


def _row(each: Judged, part: str) -> dict[str, tables.Value]:
    fields = _fields(each)
    made = estimate.NAME if each.low is not None else ""
    more = {"part": part, "seeds": each.seeds[0], "seeds_wanted": each.seeds[1], "missing": "; ".join(each.missing)}
    more |= {"lacks": "; ".join(each.lacks)}
    more |= {"neurons_reset": "; ".join(f"{row}: {share:.4g}" for row, share in each.resets.items())}
    return {name: ({**fields, **more, "interval": made})[name] for name in FIELDS}


def _fields(each: Judged) -> dict[str, Any]:
    return {name: getattr(each, name) for name in each.__dataclass_fields__}
