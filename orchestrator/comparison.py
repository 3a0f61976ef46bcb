"""A comparison of two sides, problem by problem: how much changed, and which problems flipped.

A change is always the second side minus the first. A problem is right where more than half of its samples are. Only
problems that both have answered are compared; of several seeds, each is compared with the other side's of its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import differences, overlap, plan, report, side
from orchestrator.estimate import Unpaired
from orchestrator.flips import Moved, mcnemar
from orchestrator.graph import Node
from orchestrator.overlap import Pair
from orchestrator.pooling import Change
from orchestrator.pooling import pooled as pool
from orchestrator.side import Side


@dataclass(frozen=True, kw_only=True)
class Missing:
    """An evaluation that is not published, why, and the command that makes it."""

    evaluation: str
    state: str
    reason: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A benchmark: mean shares of both sides, the change, and how many problems flipped.

    `p` is that of McNemar's exact test: if flips to right and to wrong were equally likely, how often they would be
    this uneven. It is about these problems, one seed or many.
    """

    before: float
    after: float
    change: Change | None
    problems: int
    to_right: int
    to_wrong: int

    @property
    def p(self) -> float:
        return mcnemar(self.to_right, self.to_wrong)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sides: columns of the result table -> what is to be said of them, and what is missing or not comparable.

    `averages` are of the columns that average others; a flip of theirs is none.
    """

    before: Side
    after: Side
    benchmarks: dict[str, Compared]
    averages: dict[str, Change]
    moved: list[Moved]
    missing: list[Missing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def lacking(found: Comparison) -> list[str]:
    """What is missing, a line for each command that makes some of it."""
    by_command: dict[str, list[Missing]] = {}
    for lack in found.missing:
        by_command.setdefault(lack.command, []).append(lack)
    lines = []
    for command, lacks in by_command.items():
        more = f" and {len(lacks) - 1} more" if len(lacks) > 1 else ""
        lines.append(f"missing: {lacks[0].evaluation}{more}: {lacks[0].state}, {lacks[0].reason}; {command}")
    return lines


def compare(before: Side, after: Side) -> Comparison:
    """Compare whatever is published now."""
    maker = _Comparing(before, after)
    ours, theirs = (each.study.experiment.benchmarks for each in (before, after))
    found = {name: maker.benchmark(name) for name in ours if name in theirs}
    for name in sorted(ours.keys() ^ theirs.keys()):
        maker.notes.append(f"{name}: only {(before if name in ours else after).name} is evaluated on it")
    averages = _averages(before, {name: each for name, each in maker.pairs.items() if each}, list(found))
    return Comparison(
        before=before,
        after=after,
        benchmarks={name: each for name, each in found.items() if each is not None},
        averages=averages,
        moved=maker.moved,
        missing=maker.missing(),
        notes=maker.notes,
    )


class _Comparing:
    """Compares benchmark by benchmark, and notes what is on the way."""

    def __init__(self, before: Side, after: Side) -> None:
        self._sides = (before, after)
        self.pairs: dict[str, dict[int, Pair]] = {}  # benchmark -> number of the seed -> its shares
        self.moved: list[Moved] = []
        self.notes: list[str] = []
        self._lacking: list[tuple[Side, str, Node | None]] = []
        if len(before.variants) != len(after.variants) and 1 not in (len(before.variants), len(after.variants)):
            counts = " and ".join(f"{len(each.variants)} of {each.name}" for each in self._sides)
            self.notes.append(f"seeds: {counts}; those without a counterpart are left out")

    def benchmark(self, name: str) -> Compared | None:
        """A benchmark, over the seeds that have it on both sides; None if there is none."""
        seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
        places: dict[tuple[str, str], tuple[Path, Path]] = {}
        pairs: dict[int, Pair] = {}
        for number, variants in enumerate(self._counterparts()):
            nodes = [each.study.graph.scores.get((v, name)) for each, v in zip(self._sides, variants, strict=True)]
            folders = [self._published(*each, name) for each in zip(self._sides, variants, nodes, strict=True)]
            if nodes[0] is None or nodes[1] is None or folders[0] is None or folders[1] is None:
                continue
            pair = self._pair(name, (nodes[0], nodes[1]), (folders[0], folders[1]))
            if not pair:
                continue
            pairs[number] = pair
            for id, shares in pair.items():
                key = (nodes[0].inputs["benchmark"].fingerprint, id)
                if all(abs(shares[1] - shares[0]) > abs(after - before) for before, after in seen.get(key, [])):
                    places[key] = (folders[0], folders[1])  # the seed that shows the most of it
                seen.setdefault(key, []).append(shares)
        self.pairs[name] = pairs
        if not pairs:
            return None
        problems = [
            Moved(
                benchmark=name,
                id=key[1],
                before=_mean(s[0] for s in each),
                after=_mean(s[1] for s in each),
                rows=places[key],
            )
            for key, each in seen.items()
        ]
        self.moved += [each for each in problems if each.before != each.after]
        flips = [each.flip for each in problems]
        return Compared(
            before=_mean(_mean(shares[0] for shares in pair.values()) for pair in pairs.values()),
            after=_mean(_mean(shares[1] for shares in pair.values()) for pair in pairs.values()),
            change=_change({name: pairs}, [name]),
            problems=len(problems),
            to_right=flips.count("right"),
            to_wrong=flips.count("wrong"),
        )

    def missing(self) -> list[Missing]:
        """What was looked for in vain, each once."""
        found = []
        lacking = list(dict.fromkeys(self._lacking))
        studies = {id(of.study): of.study for of, _, _ in lacking}
        plans = {key: {e.node.fingerprint: e for e in plan.make(s.graph, s.store)} for key, s in studies.items()}
        for side_, name, node in lacking:
            state, reason = "run", "not in the graph"
            if node is not None:
                entry = plans[id(side_.study)][node.fingerprint]
                state, reason = entry.state, entry.reason
            command = side.missing_command(side_, [name.rpartition(".")[0]])
            found.append(Missing(evaluation=f"evaluate/{name}", state=state, reason=reason, command=command))
        return found

    def _counterparts(self) -> list[tuple[str, str]]:
        """Seed by seed; a side with one variant is compared with each of the other's."""
        ours, theirs = (each.variants for each in self._sides)
        most = max(len(ours), len(theirs))
        ours, theirs = (each * most if len(each) == 1 else each for each in (ours, theirs))
        return list(zip(ours, theirs, strict=False))

    def _published(self, of: Side, variant: str, node: Node | None, name: str) -> Path | None:
        folder = None if node is None else of.study.store.find(node.stage, node.fingerprint)
        if folder is None:
            self._lacking.append((of, f"{variant}.{name}", node))
        return folder

    def _pair(self, name: str, nodes: tuple[Node, Node], folders: tuple[Path, Path]) -> Pair:
        """The shares of the problems that both have answered."""
        try:
            before, after = (overlap.read(folder) for folder in folders)
        except Unpaired as error:
            self.notes.append(f"{name}: {error}")
            return {}
        samples = [max((count for _, count in each.values()), default=0) for each in (before, after)]
        if samples[0] != samples[1]:
            self._note(
                f"{name}: {samples[0]} and {samples[1]} samples of each problem; shares are compared all the same"
            )
        common = before.keys() & after.keys()
        if nodes[0].inputs["benchmark"].fingerprint != nodes[1].inputs["benchmark"].fingerprint:
            try:
                same = overlap.alike(nodes, folders)
            except Unpaired as error:
                self.notes.append(f"{name}: {error}")
                return {}
            common = {id for id in common if id in same}
            self._note(f"{name}: two test sets; only what both have is compared, {len(common)} problems")
        elif len(common) < max(len(before), len(after)):
            self._note(f"{name}: {len(before)} and {len(after)} problems; only the {len(common)} of both are compared")
        return {id: (before[id][0], after[id][0]) for id in before if id in common}

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _averages(first: Side, pairs: dict[str, dict[int, Pair]], common: list[str]) -> dict[str, Change]:
    """The averages of which every benchmark is there, over the seeds that have all of them."""
    found = {}
    columns = report.columns_of(first.study.experiment)
    for column, members in columns.items():
        names = list(_benchmarks(members, columns))
        if names and all(name in pairs for name in names) and set(names) <= set(common):
            change = _change(pairs, members, columns)
            if change is not None:
                found[column] = change
    return found


def _benchmarks(members: Sequence[str], columns: dict[str, list[str]]) -> Iterator[str]:
    """The benchmarks below a column that averages others."""
    for member in members:
        yield from _benchmarks(columns[member], columns) if columns[member] else [member]


def _change(
    pairs: dict[str, dict[int, Pair]], members: Sequence[str], columns: dict[str, list[str]] | None = None
) -> Change | None:
    """The change of a column: of one seed by the paired interval, of several by the one over seeds and problems."""
    groups = [[*_benchmarks([member], columns)] if columns else [member] for member in members]
    names = [name for group in groups for name in group]
    common = set.intersection(*(set(pairs[name]) for name in names))
    weights = {name: 1 / len(groups) / len(group) for group in groups for name in group}
    if not common:
        return None
    changes = {
        name: [{id: after - before for id, (before, after) in pairs[name][seed].items()} for seed in sorted(common)]
        for name in names
    }
    try:
        if len(common) > 1:
            return pool(changes, weights)
        means = [_paired([(name, pairs[name][next(iter(common))]) for name in group]) for group in groups]
    except Unpaired:
        return None
    found = differences.average(means)
    return None if found is None else Change(found.mean, *found.interval, seeds=1, problems=found.problems)


def _paired(group: Sequence[tuple[str, Pair]]) -> differences.Difference | None:
    return differences.average(
        [differences.paired({i: s[1] for i, s in p.items()}, {i: s[0] for i, s in p.items()}) for _, p in group]
    )


def _mean(values: Iterator[float]) -> float:
    every = list(values)
    return sum(every) / len(every)
