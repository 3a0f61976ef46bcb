"""What the study says of the paper's claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.document.blocks import Block, Cell, Items, Paragraph, Row, Table
from orchestrator.document.material import Judged

#: A verdict and the sign before it, so that no colour has to say it.
SIGNS = {"holds": "✓ holds", "does not hold": "✗ does not hold", "cannot tell": "? cannot tell"}


def blocks(claims: Sequence[Judged]) -> Iterator[Block]:
    """A table of the claims, and what is missing for those that cannot be told."""
    if not claims:
        yield Paragraph("This study does not judge the paper's claims.", "note")
        return
    counts = Counter(each.verdict for each in claims)
    yield Paragraph(
        "; ".join(f"{counts[verdict]} {words}" for verdict, words in SIGNS.items() if counts[verdict]) + "."
    )
    rows = [
        Row(
            [
                Cell(SIGNS.get(each.verdict, each.verdict)),
                Cell(each.claim),
                Cell(each.numbers),
                _interval(each),
            ],
            name=each.name,
        )
        for each in claims
    ]
    yield Table(
        name="claims",
        title="The paper's claims, and what this study says of them",
        head=["verdict", "claim", "numbers", "difference [95 %]"],
        rows=rows,
        names=3,
        caption="A claim holds where the whole interval lies on its side, and does not where it lies on the other; a "
        "claim of several parts holds if all of them do.",
    )
    absent = [f"{each.claim}: {what}" for each in claims for what in each.missing]
    if absent:
        yield Paragraph("Missing for these verdicts:")
        yield Items(absent)


def _interval(claim: Judged) -> Cell:
    if claim.estimate is None:
        return Cell("–")
    known = claim.low is not None and claim.high is not None
    behind = f"[{claim.low:+.3g}, {claim.high:+.3g}]" if known else ""
    return Cell(f"{claim.estimate:+.3g}", f"{behind} {claim.unit}".strip())
