"""What the study says of the paper's claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator import estimate, tables
from orchestrator.claims import Judged
from orchestrator.document.blocks import Block, Cell, Folded, Items, Paragraph, Row, Table

#: A verdict and the sign before it, so that no colour has to say it.
SIGNS = {"holds": "✓ holds", "does not hold": "✗ does not hold", "cannot tell": "? cannot tell"}

#: How one claim of a verdict is counted, and several.
COUNTED = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "cannot tell": ("cannot be told", "cannot be told"),
}


def blocks(claims: Sequence[Judged]) -> Iterator[Block]:
    """A table of the claims, the numbers behind each, and what is missing for those that cannot be told."""
    if not claims:
        yield Paragraph("This study judges none of the paper's claims: it has not the rows for them.", "note")
        return
    counts = Counter(str(each.verdict) for each in claims)
    said = [f"{counts[verdict]} {words[counts[verdict] > 1]}" for verdict, words in COUNTED.items() if counts[verdict]]
    yield Paragraph(f"Of {len(claims)} claims {', '.join(said)}.")
    rows = [row for each in claims for row in [_row(each, each.claim), *(_part(part) for part in each.parts)]]
    yield Table(
        name="claims",
        title="The paper's claims, and what this study says of them",
        head=["claim", "verdict", "estimate [95 % interval]", "the paper's", "seeds"],
        rows=rows,
        names=2,
        caption="A claim holds where the whole interval lies on its side of 0, and does not where it lies on the other "
        f"or within the margin; one of several parts holds if all do. Interval: {estimate.NAME}. One seed never tells.",
    )
    numbers = [f"{each.claim}: {each.numbers}" for claim in claims for each in [claim, *claim.parts] if each.numbers]
    if numbers:
        yield Folded("The numbers behind each", [Items(numbers)])
    absent = list(dict.fromkeys(what for each in claims for what in each.missing))
    if absent:
        yield Folded(f"Missing for these verdicts ({len(absent)} nodes)", [Items(absent)])


def _row(each: Judged, label: str) -> Row:
    there, wanted = each.seeds
    published = tables.MISSING if each.published is None else f"{each.published:+.3g}"
    return Row(
        [
            Cell(label),
            Cell(SIGNS.get(each.verdict, each.verdict)),
            Cell(each.interval),
            Cell(published),
            Cell(f"{there}/{wanted}" if each.estimate is not None or not each.parts else ""),
        ],
        name=each.claim,
    )


def _part(each: Judged) -> Row:
    found = _row(each, each.claim)
    return Row(found.cells, "after", found.name)
