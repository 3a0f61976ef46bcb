"""The paper's tables 1 to 7 in the paper's own layout: ours with errors, its published values beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator import report
from orchestrator.best import listed
from orchestrator.document import cells, paper
from orchestrator.document.artifacts import Lacking
from orchestrator.document.blocks import Block, Cell, Row, Table
from orchestrator.document.material import Material
from orchestrator.document.paper import Line, Published
from orchestrator.graph import Node
from orchestrator.report import Score


@dataclass(frozen=True)
class Boards:
    """The tables of a study, as far as it has their rows."""

    material: Material

    @property
    def paper_s(self) -> bool:
        """Whether the experiment is the paper's own."""
        return paper.is_of(self.material.study.experiment.name)

    @property
    def columns(self) -> list[str]:
        """Benchmarks of ID and OOD, with their averages; extra and validation ones are in no table of the paper's."""
        of = self.material.study.experiment.benchmarks
        names = report.columns_of(self.material.study.experiment)
        return [name for name in names if name not in of or of[name].group in ("ID", "OOD")]

    def blocks(self) -> list[Block]:
        """Tables 2, 1, 4, 5, 6 and 7, where the study has two rows of them or more, in the order of their weight."""
        if not self.columns:
            return []
        made = [self.main(), self.diversity(), self.components(), self.alphas(), self.rhos(), self.starts()]
        return [block for blocks in made for block in blocks]

    def main(self) -> Iterator[Block]:
        """Table 2: before and after RL, with the gain."""
        found = paper.table(2)
        starts = [(line, name) for line in found.lines if (name := self._present(line.names))]
        ours = [name for name in found.ours if self._present([name])]
        before: list[Row] = []
        after: list[Row] = []
        order: list[tuple[str, int]] = []
        theirs: dict[int, list[Row]] = {}
        for line, name in [*starts, *((None, name) for name in ours)]:
            rl = self._present([f"{name}+RL"])
            before.append(self._row(name, name))
            order.append(("before", len(before) - 1))
            if rl:
                after.append(self._row("+RL", rl, self._gain(name, rl), kind="after"))
                order.append(("after", len(after) - 1))
            if line is not None and self.paper_s:
                theirs[len(order) - 1] = self._published(found, line)
        if not after:
            return
        groups = {"before": self._marked(before, "first"), "after": self._marked(after, "best")}
        rows = []
        for place, (group, number) in enumerate(order):
            rows += [groups[group][number], *theirs.get(place, ())]
        gain = "Behind RL's average, in brackets, the gain over its start."
        yield self._table(found, rows, [row.name for row in (*before, *after)], gain)

    def components(self) -> Iterator[Block]:
        """Table 4: fusion alone, and with the reset."""
        yield from self._plain(4, [(line, self._present(line.names)) for line in paper.table(4).lines])

    def starts(self) -> Iterator[Block]:
        """Table 7: rejuvenation of a moderate checkpoint."""
        lines = [(line, self._present(line.names)) for line in paper.table(7).lines]
        if lines[1][1]:
            yield from self._plain(7, lines)

    def alphas(self) -> Iterator[Block]:
        """Table 5: fusion weights."""
        yield from self._swept(5, self.material.sweep("rejuvenate", "alpha"), "{:g}")

    def rhos(self) -> Iterator[Block]:
        """Table 6: reset percentages; rho 0 is fusion alone, which is in table 5."""
        swept = [(100 * value, name) for value, name in self.material.sweep("rejuvenate", "rho") if value > 0]
        yield from self._swept(6, swept, "{:g}%")

    def diversity(self) -> Iterator[Block]:
        """Table 1: training loss, entropy and the gap of checkpoints before RL."""
        material, found = self.material, paper.table(1)
        names = [name for line in found.lines if (name := self._present(line.names))]
        names += [name for name in material.main if material.rows.first(name).rl is None and name not in names]
        benchmark = self._sampled()
        if len(names) < 2 or benchmark is None:
            return
        source, entropies = self._entropies(names)
        rows = []
        for name in names:
            shares = [self._seeds(name, benchmark, key) for key in ("pass@1", "gap")]
            numbers = [cells.of_number(self._loss(name), 3), cells.of_number(entropies.get(name), 3)]
            rows.append(Row([Cell(name), *numbers, *map(cells.of_score, shares)], name=name))
            line = next((line for line in found.lines if name in line.names), None)
            if line is not None and self.paper_s:
                loss, entropy, *rest = line.values
                exact = [Cell(f"{value:.3f}", "", value) for value in (loss, entropy)]
                published = [Cell(f"{name}, published"), *exact, *map(cells.published, rest)]
                rows.append(Row(published, "paper", f"{name}, published"))
        titled = "MATH-500" if benchmark == "math500" else benchmark
        yield Table(
            name=found.name,
            title=f"Table 1: {found.title}",
            head=["checkpoint", "training loss", "entropy", f"{titled} pass@1", "pass@K - pass@1 gap"],
            rows=rows,
            caption=f"{seeds(material, names)} Training loss: mean of the last epoch, nats. Entropy: {source}. Pass@1 "
            f"and its gap to pass@K are on {titled}, in percent ± standard error; of loss and entropy it is over seeds "
            "alone.",
        )

    def _plain(self, number: int, lines: Sequence[tuple[Line, str]]) -> Iterator[Block]:
        """A table of rows after RL."""
        found = paper.table(number)
        present = [(line, name) for line, name in lines if name]
        ours = [name for name in found.ours if self._present([name])]
        if len(present) < 2:
            return
        rows = [self._row(line.label, name) for line, name in present] + [self._row(name, name) for name in ours]
        both = self._interleaved(found, [line for line, _ in present], self._marked(rows, "best"))
        yield self._table(found, both, [row.name for row in rows])

    def _swept(self, number: int, points: Sequence[tuple[float, str]], label: str) -> Iterator[Block]:
        found = paper.table(number)
        if len(points) < 2:
            return
        rows = self._marked([self._row(label.format(value), name) for value, name in points], "best")
        by_label = {line.label: line for line in found.lines}
        lines = [by_label.get(label.format(value)) for value, _ in points]
        yield self._table(found, self._interleaved(found, lines, rows), [name for _, name in points])

    def _interleaved(self, found: Published, lines: Sequence[Line | None], rows: Sequence[Row]) -> list[Row]:
        """Ours, each with the published one below it, if the experiment is the paper's."""
        both: list[Row] = []
        for number, row in enumerate(rows):
            line = lines[number] if number < len(lines) else None
            both += [row, *(self._published(found, line) if line is not None and self.paper_s else ())]
        return both

    def _marked(self, rows: Sequence[Row], mark: str) -> list[Row]:
        """These rows with the highest of each column marked, where seeds tell it from all others."""
        names, judge = [row.name for row in rows], self.material.results.judge
        return cells.chosen(rows, mark, [judge.leader(names, column) for column in self.columns])

    def _table(self, found: Published, rows: Sequence[Row], names: Sequence[str], more: str = "") -> Table:
        """A table of these rows of the study, published ones among them."""
        said = [seeds(self.material, names), marks(self.material, names), more, self._beside()]
        return Table(
            name=found.name,
            title=f"Table {found.name[-1]}: {found.title.replace(' of EvoLM-4B', '')}",
            head=["method", *map(paper.column, self.columns)],
            rows=rows,
            caption=" ".join(["Pass@1 in percent ± standard error.", *filter(None, said)]),
        )

    def _beside(self) -> str:
        """What published values are, where they stand below ours, and how far the same was measured."""
        if not self.paper_s:
            return ""
        official = any(paper.column(name) != name for name in self._of_group("OOD"))
        prompts = (
            " OOD sets are graded by official scripts, as the paper says; it does not say how it asked, nor how many "
            "worked examples it showed: ours are in docs/RECIPE.md."
        )
        return f"Published values stand below ours, under what is of the same benchmarks.{prompts if official else ''}"

    def _of_group(self, group: str) -> list[str]:
        return [name for name, each in self.material.study.experiment.benchmarks.items() if each.group == group]

    def _alike(self, column: str) -> str:
        """How the paper calls a column of ours, if it is of the same benchmarks there; else empty."""
        weights = report.weights(report.columns_of(self.material.study.experiment), column)
        same = paper.benchmarks(column) == {paper.column(name) for name in weights}
        return paper.column(column) if same else ""

    def _present(self, names: Sequence[str]) -> str:
        """The first of these names that is a row of the study; empty if none is."""
        return next((name for name in names if name in self.material.results.table.rows), "")

    def _scores(self, name: str) -> list[Score | None]:
        table = self.material.results.table
        row = dict(zip(table.columns, table.rows[name], strict=True))
        return [row[column] for column in self.columns]

    def _row(self, label: str, name: str, gain: float | None = None, kind: str = "") -> Row:
        *others, last = self._scores(name)
        return Row([Cell(label), *map(cells.of_score, others), cells.of_score(last, gain)], kind, name)

    def _gain(self, start: str, end: str) -> float | None:
        before, after = self._scores(start)[-1], self._scores(end)[-1]
        return None if before is None or after is None else after.mean - before.mean

    def _published(self, found: Published, line: Line) -> list[Row]:
        """The paper's rows, under the columns that we have of theirs."""
        places = [found.head.index(name) if name in found.head else None for name in map(self._alike, self.columns)]
        rows = []
        for values, gain, behind in ((line.values, None, ""), (line.after, line.gain, "+RL")):
            if values:
                shown = [cells.NOTHING if at is None else cells.published(values[at]) for at in places]
                if gain is not None and places[-1] is not None:
                    shown[-1] = cells.published(values[places[-1]], gain=gain)
                label = f"{line.label}{behind}, published"
                rows.append(Row([Cell(label), *shown], "paper", label))
        return rows

    def _sampled(self) -> str | None:
        """The benchmark of table 1: MATH-500, else the first of ID with several samples."""
        benchmarks = self.material.study.experiment.benchmarks
        if "math500" in benchmarks:
            return "math500"
        of_id = [name for name, each in benchmarks.items() if each.group == "ID"]
        return next((name for name in of_id if benchmarks[name].evaluate.get("k", 1) > 1), None)

    def _seeds(self, name: str, benchmark: str, key: str) -> Score | None:
        """A number of an evaluation, with the error that it has in the other tables."""
        scores, members = self.material.results.scores, self.material.rows.replicas[name]
        if len(members) == 1:
            return report.score(scores.get((members[0], benchmark)), key)
        return report.pooled(members, key, {benchmark: 1.0}, scores, self.material.solved)

    def _loss(self, name: str) -> Score | None:
        lines = self.material.rows.lines[name]
        if lines[0].end is None or lines[0].end.stage != "sft":
            return None
        return over_seeds([self._recorded(line.sft, "loss") for line in lines])

    def _entropies(self, names: Sequence[str]) -> tuple[str, Mapping[str, Score | None]]:
        """Where the entropies are from, and the entropies: all of diagnoses, or all of the last epoch of SFT."""
        material = self.material
        measured = {
            each.checkpoint: over_seeds([self._recorded(node, "entropy_checkpoint") for node in each.nodes])
            for each in material.before_rl()
        }
        trained = {
            name: over_seeds([self._recorded(line.sft, "entropy") for line in material.rows.lines[name]])
            for name in names
            if (end := material.rows.first(name).end) is not None and end.stage == "sft"
        }
        if measured and all(measured.get(name) is not None for name in trained):
            return "mean over the response tokens of the calibration samples, nats, as diagnosed", measured
        return "mean of the last epoch of SFT, nats, while it trained", trained

    def _recorded(self, node: Node | None, key: str) -> Score | None:
        if node is None:
            return None
        try:
            value = self.material.artifacts.summary(node).get(key)
        except Lacking:
            return None
        return Score(float(value)) if isinstance(value, int | float) else None


def seeds(material: Material, names: Sequence[str]) -> str:
    """With which seeds these rows were run: `Seeds 11, 12 and 13.`; rows with others are named."""
    of: dict[tuple[int, ...], list[str]] = {}
    for name in dict.fromkeys(names):
        known = material.study.experiment.seeded_variants.get(name, {})
        apart = dict.fromkeys(known.values())  # of seeds that make no difference, the first
        of.setdefault(tuple(next(s for s, each in known.items() if each == one) for one in apart), []).append(name)
    said = [
        (f"Seed {used[0]} alone" if len(used) == 1 else f"Seeds {listed(list(map(str, used)))}", rows)
        for used, rows in of.items()
        if used
    ]
    if len(said) == 1:
        return f"{said[0][0]}: one run of each row." if said[0][0].endswith("alone") else f"{said[0][0]}."
    return " ".join(f"{text}: {listed(rows)}." for text, rows in said)


def marks(material: Material, names: Sequence[str]) -> str:
    """What is marked in a table of these rows, or why nothing is."""
    replicas = material.rows.replicas
    if all(len(replicas.get(name, ())) < 2 for name in names):
        return "No value is marked as the highest: one seed does not tell rows apart."
    return (
        "Bold after RL, underlined before: the highest of its column, where the 95 % interval of its lead over every "
        "other row, over seeds, excludes 0."
    )


def over_seeds(scores: Sequence[Score | None]) -> Score | None:
    """One seed as it is; of several the mean, with the standard error over seeds; None if one is missing."""
    known = [each for each in scores if each is not None]
    if not known or len(known) < len(scores):
        return None
    if len(known) == 1:
        return known[0]
    means = [each.mean for each in known]
    return Score(statistics.fmean(means), statistics.stdev(means) / len(means) ** 0.5)
