"""The contents of a report, in the order for somebody who has ten minutes: the answer first, the protocol last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orchestrator import plan
from orchestrator.command import Study
from orchestrator.document import answer, cells, costs, paper, provenance, published, recipe, scoreboards, verdicts
from orchestrator.document.again import Again
from orchestrator.document.artifacts import Artifacts, Lacking
from orchestrator.document.blocks import Block, Cell, Document, Figure, Folded, Missing, Paragraph, Row, Section, Table
from orchestrator.document.figures import gallery, graph
from orchestrator.document.material import Material
from orchestrator.document.rows import Rows
from orchestrator.document.scoreboards import Boards
from orchestrator.results import Results


def document(study: Study, results: Results, overrides: Sequence[str]) -> Document:
    """The report of a study as its store is now; `overrides` are those of the command line."""
    material = Material(
        study=study,
        artifacts=Artifacts(study),
        rows=Rows(study),
        results=results,
        entries=plan.make(study.graph, study.store),
        again=[each for each in overrides if not each.startswith("only=")],
    )
    done = sum(entry.state == "done" for entry in material.entries)
    whole = len(material.entries)
    partial = done < whole
    state = (
        f"partial: {done} of {whole} nodes are published" if partial else f"complete: all {whole} nodes are published"
    )
    return Document(
        title=study.experiment.name,
        question=study.experiment.question.strip(),
        state=state,
        partial=partial,
        sections=[section for section in _sections(material) if section.blocks],
    )


def _sections(material: Material) -> Iterator[Section]:
    again = Again(material)
    yield Section("answer", "The answer", list(answer.decision(material, again)))
    yield Section("state", "State of the study", list(answer.missing(material, again)))
    yield Section("claims", "The paper's claims", list(verdicts.blocks(material.results.claims)))
    yield Section("results", "Results", list(_results(material)))
    yield Section("controls", "Resets and the random control", list(_resets(material, again)))
    yield Section("figures", "Figures of the paper", list(_figures(material, again, gallery.PAPER)))
    yield Section("dynamics", "Sweeps and training dynamics", list(_figures(material, again, gallery.OURS)))
    yield Section("measured", "Everything that was measured", list(_measured(material)))
    yield Section("cost", "Cost", list(costs.blocks(material)))
    yield Section("recipe", "Recipe", list(recipe.blocks(material)))
    yield Section("graph", "Graph", [graph.picture(material)] if material.entries else [])
    yield Section("provenance", "Code and machines", list(provenance.blocks(material)))
    yield Section("protocol", "Protocol", list(_protocol(material)))


def _results(material: Material) -> Iterator[Block]:
    """The paper's tables, the whole table, and the published ones."""
    boards = Boards(material)
    made = boards.blocks()
    yield from made
    whole = _whole(material)
    if whole.rows and len(whole.head) > 1:
        yield Folded(f"Every row and every benchmark ({len(whole.rows)} rows)", [whole]) if made else whole
    if boards.paper_s or made:
        yield Folded(
            "Table 3, the agentic study: published values, as there is no such study here yet", [published.table(3)]
        )
    if made and not boards.paper_s:
        others = [published.table(number) for number in (1, 2, 4, 5, 6, 7)]
        yield Folded("The paper's own tables, of another model on other benchmarks", others)


def _whole(material: Material) -> Table:
    """Every row by every benchmark."""
    found = material.results.table
    rows = [Row([Cell(name), *map(cells.of_score, scores)], name=name) for name, scores in found.rows.items()]
    ends = {name for name, lines in material.rows.lines.items() if lines[0].rl is not None}
    marks = {
        name: row
        for kind, mark in ((True, "best"), (False, "first"))
        for row in cells.marked([row for row in rows if (row.name in ends) is kind], mark)
        if (name := row.name)
    }
    return Table(
        name="all",
        title="Every row",
        head=["row", *found.columns],
        rows=[marks[row.name] for row in rows],
        caption=f"Pass@1 in percent ± standard error. {scoreboards.UNDERLINED}.",
    )


def _resets(material: Material, again: Again) -> Iterator[Block]:
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
            absent.append(Missing(f"Reset ratios of {name}", "its summary.json is of another version"))
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
            return Paragraph(f"{name}, in points [95 % interval]: {shown}.")
    return None


def _figures(material: Material, again: Again, wanted: Mapping[str, Callable[[Material], Figure]]) -> Iterator[Block]:
    for what, make in wanted.items():
        try:
            yield make(material)
        except Lacking as error:
            yield again.missing(what, error)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # An artifact has the file that the figure is of, but in it is something else than this version writes.
            yield Missing(what, f"what it is of cannot be drawn ({type(error).__name__}: {error})")


def _measured(material: Material) -> Iterator[Block]:
    """The tables that `report` prints, whole."""
    tables = material.results
    wanted = [
        ("averages", "Averages", tables.averages.head, tables.averages.cells(), 2, bool(tables.averages.rows)),
        (
            "differences",
            "Differences",
            tables.differences.head,
            tables.differences.cells(),
            1,
            bool(tables.differences.found),
        ),
        (
            "contamination",
            "Contamination",
            tables.contamination.head,
            tables.contamination.cells(),
            1,
            bool(tables.contamination.found),
        ),
        ("diagnoses", "Diagnoses", tables.diagnoses.head, tables.diagnoses.cells(), 1, bool(tables.diagnoses.found)),
    ]
    for name, title, head, lines, names, there in wanted:
        if there:
            rows = [Row([*map(Cell, line[:names]), *map(cells.of_text, line[names:])]) for line in lines]
            table = Table(name=name, title=title, head=head, rows=rows, names=names, caption=_CAPTIONS[name])
            yield table if name == "differences" else Folded(f"{title}: {_CAPTIONS[name]}", [table])
    for error in tables.differences.errors:
        yield Missing("A difference", error)


_CAPTIONS = {
    "averages": "averages of the benchmarks in percent; tokens: mean length of a completion",
    "differences": "pass@1 of one row minus that of another, in points, paired by problem [95 % interval]",
    "contamination": "share of the problems that occur in the data that is trained on",
    "diagnoses": "what each diagnosis measured",
}


def _protocol(material: Material) -> Iterator[Block]:
    text = material.study.experiment.protocol
    if text.strip():
        for part in text.strip().split("\n\n"):
            yield Paragraph(part)
    else:
        yield Paragraph("The experiment does not say how its settings were chosen.", "note")
    yield Paragraph(f"The paper: {paper.CITED}. " + " ".join(paper.remarks()), "note")
