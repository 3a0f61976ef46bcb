"""The contents of a report, in the order for somebody who has ten minutes: the answer first, the protocol last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orchestrator import differences, plan
from orchestrator.command import Study
from orchestrator.document import (
    answer,
    cells,
    costs,
    paper,
    provenance,
    published,
    recipe,
    resets,
    scoreboards,
    verdicts,
)
from orchestrator.document.again import Again
from orchestrator.document.artifacts import Artifacts, Lacking, Unmade
from orchestrator.document.blocks import (
    Block,
    Cell,
    Command,
    Document,
    Figure,
    Folded,
    Missing,
    Paragraph,
    Row,
    Section,
    Table,
)
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
        given=overrides,
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
    yield Section("answer", "The answer", list(answer.decision(material)))
    yield Section("state", "State of the study", list(answer.missing(material, again)))
    yield Section("claims", "The paper's claims", list(_claims(material, again)))
    yield Section("results", "Results", list(_results(material)))
    yield Section("controls", "Resets and the random control", list(resets.blocks(material, again)))
    yield Section("figures", "Figures of the paper", list(_figures(material, again, gallery.PAPER)))
    yield Section("dynamics", "Sweeps and training dynamics", list(_figures(material, again, gallery.OURS)))
    yield Section("measured", "Everything that was measured", list(_measured(material)))
    yield Section("cost", "Cost", list(costs.blocks(material, again)))
    yield Section("recipe", "Recipe", list(recipe.blocks(material)))
    yield Section("graph", "Graph", [graph.picture(material)] if material.entries else [])
    yield Section("provenance", "Code and machines", list(provenance.blocks(material, again)))
    yield Section("protocol", "Protocol", list(_protocol(material)))


def _claims(material: Material, again: Again) -> Iterator[Block]:
    """The verdicts, and the command that makes what is missing for some of them."""
    claims = material.results.claims
    yield from verdicts.blocks(claims)
    if any(each.missing for each in claims):
        yield Paragraph("What is missing for verdicts is made by")
        yield Command(again.everything())


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
    marks: dict[str, Row] = {}
    for kind, mark in ((True, "best"), (False, "first")):
        of = [row for row in rows if (row.name in ends) is kind]
        leaders = [material.results.judge.leader([row.name for row in of], column) for column in found.columns]
        marks |= {row.name: row for row in cells.chosen(of, mark, leaders)}
    return Table(
        name="all",
        title="Every row",
        head=["row", *found.columns],
        rows=[marks[row.name] for row in rows],
        caption=f"Pass@1 in percent ± standard error. {scoreboards.seeds(material, list(found.rows))} "
        f"{scoreboards.marks(material, list(found.rows))}",
    )


def _figures(material: Material, again: Again, wanted: Mapping[str, Callable[[Material], Figure]]) -> Iterator[Block]:
    """The figures that the study has or is to have; below them, folded, those that none of its rows makes."""
    unmade: list[Block] = []
    for what, make in wanted.items():
        try:
            yield make(material)
        except Unmade as error:
            unmade.append(again.missing(what, error))
        except Lacking as error:
            yield again.missing(what, error)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # An artifact has the file that the figure is of, but in it is something else than this version writes.
            yield Missing(what, f"what it is of cannot be drawn ({type(error).__name__}: {error})")
    if unmade:
        yield Folded(f"Figures that no row of this study makes, and the experiment that does ({len(unmade)})", unmade)


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
            alone = name == "differences" and tables.differences.alone
            caption = _CAPTIONS[name] + (differences.ALONE if alone else "")
            table = Table(name=name, title=title, head=head, rows=rows, names=names, caption=caption)
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
