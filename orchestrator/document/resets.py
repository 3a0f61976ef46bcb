"""What each rejuvenation reset: how many neurons, by module and by layer, and against as many drawn at random."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator import differences
from orchestrator.best import listed
from orchestrator.document.again import Again
from orchestrator.document.artifacts import Lacking
from orchestrator.document.blocks import Block, Cell, Folded, Paragraph, Row, Table
from orchestrator.document.material import Material

#: Share of the neurons from which on a reset set is not "very small", as the paper calls its own.
LARGE = 0.05


def ratios(material: Material) -> dict[str, float]:
    """Row before RL -> the share of all neurons that its rejuvenation set back, of the first seed; no fusions alone."""
    found = {}
    for name, lines in material.rows.lines.items():
        line = lines[0]
        if line.repair is not None and line.rl is None and line.repaired("rho"):
            try:
                found[name] = float(material.artifacts.json(line.repair, "summary.json")["reset_ratio"])
            except (Lacking, KeyError, TypeError, ValueError):
                continue
    return found


def caution(material: Material) -> Iterator[Block]:
    """How large the reset sets are, beside the paper's; nothing where nothing is reset."""
    found = ratios(material)
    if not found:
        return
    of: dict[str, list[str]] = {}
    for name, ratio in found.items():
        of.setdefault(f"{100 * ratio:.1f} %", []).append(name)
    shares = listed([f"{share} ({', '.join(names)})" for share, names in of.items()])
    large = (
        " So what is said of resets here is about large ones, and does not carry over to the paper's."
        if max(found.values()) >= LARGE
        else ""
    )
    yield Paragraph(
        f"Of all neurons, resets set {shares} back to the base in this study; the paper calls its own set very "
        f"small.{large}"
    )


def blocks(material: Material, again: Again) -> Iterator[Block]:
    """What each rejuvenation reset, and how it fares against as many neurons drawn at random."""
    rows, by_layer, absent = [], [], []
    for name, lines in material.rows.lines.items():
        line = lines[0]
        if line.repair is None or line.rl is not None:
            continue
        try:
            summary = material.artifacts.json(line.repair, "summary.json")
            counts = [summary[key] for key in ("alpha", "rho", "neurons", "selected", "reset_ratio", "parameter_ratio")]
            alpha, rho, neurons, selected, ratio, parameters = map(float, counts)
            chosen = str(summary.get("selection", "attributed")) if rho else "none"
            values = [
                *(Cell(f"{value:g}", "", value) for value in (alpha, rho)),
                *(Cell(f"{value:,.0f}", "", value) for value in (neurons, selected)),
                *(Cell(f"{100 * value:.2f}", "", value) for value in (ratio, parameters)),
            ]
            rows.append(Row([Cell(name), Cell(chosen), *values], name=name))
            for of in ("kinds", "layers"):
                for part, found in summary.get(of, {}).items():
                    value = float(found["reset_ratio"])
                    by_layer.append(Row([Cell(name), Cell(f"{of[:-1]} {part}"), Cell(f"{100 * value:.2f}", "", value)]))
        except Lacking as error:
            absent.append(again.missing(f"Reset ratios of {name}", error))
        except (AttributeError, KeyError, TypeError, ValueError):
            spoilt = material.artifacts.spoilt(line.repair, "its summary.json is of another version")
            absent.append(again.missing(f"Reset ratios of {name}", spoilt))
    if rows:
        yield Table(
            name="resets",
            title="Reset ratios",
            head=["row", "neurons chosen", "α", "ρ", "neurons", "reset", "reset ratio, %", "of parameters, %"],
            rows=rows,
            names=2,
            caption="Of all neurons of the seven projections, and of all parameters. Random ones are as many of each "
            "module as the attribution selects.",
        )
    if by_layer:
        head = ["row", "part", "reset ratio, %"]
        table = Table(name="resets_by_part", title="Reset ratios by part", head=head, rows=by_layer, names=2)
        yield Folded("By kind of module and by layer", [table])
    yield from absent
    control = _control(material)
    if control:
        yield control


def _control(material: Material) -> Paragraph | None:
    """How the attributed reset fares against the random one."""
    for name, found in material.results.differences.found.items():
        if "RandomReset" in name and any(found):
            shown = "; ".join(
                f"{column} {each}"
                for column, each in zip(material.results.differences.columns, found, strict=True)
                if each is not None
            )
            alone = differences.ALONE if any(each is not None and each.wanted < 2 for each in found) else ""
            return Paragraph(f"{name}, in points [95 % interval]: {shown}{alone}.")
    return None
