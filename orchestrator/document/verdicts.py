"""What the study says of the paper's claims, and which of them it has not the rows for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator import estimate, tables
from orchestrator.claims import Judged
from orchestrator.document.blocks import Block, Cell, Folded, Items, Paragraph, Row, Table

#: A verdict and the sign before it, so that no colour has to say it.
SIGNS = {"holds": "✓ holds", "does not hold": "✗ does not hold", "cannot tell": "? cannot tell"}

#: What a claim is counted as that cannot be told because something is not published yet.
MISSING = "missing"

#: How one claim of a verdict is counted, and several.
COUNTED = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "cannot tell": ("cannot be told", "cannot be told"),
    MISSING: ("waits for what is missing", "wait for what is missing"),
}


def blocks(claims: Sequence[Judged]) -> Iterator[Block]:
    """What came out in a sentence, a table of the claims, what is behind each, and what the others would need."""
    known = [each for each in claims if not each.lacks]
    others = [each for each in claims if each.lacks]
    if not known:
        yield Paragraph("This study judges none of the paper's claims: it has not the rows for them.", "note")
    elif _alone(known):
        yield Paragraph(_summary(known, others))
        yield Folded("The estimates so far, of one seed", [_table(known)])
    else:
        yield Paragraph(_summary(known, others))
        yield _table(known)
    numbers = [
        f"{each.claim} ({each.source}): {each.numbers}"
        for claim in known
        for each in ([claim] if not claim.parts else claim.parts)
        if each.numbers
    ]
    if numbers:
        yield Folded("The numbers behind each, and where the paper says it", [Items(numbers)])
    absent = list(dict.fromkeys(what for each in known for what in each.missing))
    if absent:
        yield Folded(f"Missing for these verdicts ({len(absent)} nodes)", [Items(absent)])
    if others:
        lacking = [f"{each.claim} ({each.source}): {each.lacking}." for each in others]
        yield Folded(f"Claims that this study has not the rows for ({len(others)})", [Items(lacking)])


def _summary(known: Sequence[Judged], others: Sequence[Judged]) -> str:
    """How many claims hold, do not hold and cannot be told; and what would tell, where one seed is all there is."""
    are = "is" if len(others) == 1 else "are"
    needs = f" {len(others)} more {are} about rows that this study does not have (listed below)." if others else ""
    if _alone(known):
        return (
            f"No verdict yet on {_claims(len(known))}: each row has one seed, and another training could say "
            f"otherwise. A verdict needs two seeds at least, better three or more: for example seeds=[0,1,2].{needs}"
        )
    counts = Counter(MISSING if each.missing and each.verdict == "cannot tell" else str(each.verdict) for each in known)
    said = [f"{counts[verdict]} {words[counts[verdict] > 1]}" for verdict, words in COUNTED.items() if counts[verdict]]
    return f"Of {_claims(len(known))} {', '.join(said)}.{needs}"


def _alone(known: Sequence[Judged]) -> bool:
    """Whether no claim is about rows of several seeds."""
    return all(each.seeds[1] < 2 for claim in known for each in [claim, *claim.parts])


def _claims(count: int) -> str:
    return "1 claim" if count == 1 else f"{count} claims"


def _table(known: Sequence[Judged]) -> Table:
    """A row for each claim, its parts below it."""
    published = any(part.published is not None for each in known for part in [each, *each.parts])
    resets = any(each.resets for each in known)
    more = [*(["the paper's"] if published else []), "seeds", *(["neurons reset"] if resets else [])]
    caption = (
        "A claim holds where the whole interval lies on its side of 0, and does not where it lies on the other or "
        f"within the margin; one of several parts holds if all do. One seed never tells. Rows are compared by their "
        f"overall average where no other is named. Interval: {estimate.NAME}; each for itself, so that of many claims "
        "one or the other comes out by chance."
    )
    if published:
        caption += " The paper's: the same difference of its own published numbers."
    if resets:
        caption += (
            " Neurons reset: the share of all neurons that the rejuvenated rows of the claim set back; the paper calls "
            "its own set very small, so a verdict on a large set is about something else."
        )
    return Table(
        name="claims",
        title="The paper's claims, and what this study says of them",
        head=["claim", "verdict", "estimate [95 % interval]", *more],
        rows=[_row(each, more, "after" if part else "") for claim in known for part, each in _with_parts(claim)],
        names=2,
        caption=caption,
    )


def _with_parts(claim: Judged) -> Iterator[tuple[bool, Judged]]:
    """The claim, then its parts."""
    yield False, claim
    yield from ((True, part) for part in claim.parts)


def _row(each: Judged, more: Sequence[str], kind: str) -> Row:
    there, wanted = each.seeds
    columns = {
        "the paper's": tables.MISSING if each.published is None else f"{each.published:+.3g}",
        "seeds": f"{there}/{wanted}" if each.estimate is not None or not each.parts else "",
        "neurons reset": each.reset or tables.MISSING,
    }
    cells = [Cell(each.claim), Cell(SIGNS.get(each.verdict, each.verdict)), Cell(each.interval)]
    return Row([*cells, *(Cell(columns[name]) for name in more)], kind, each.claim)
