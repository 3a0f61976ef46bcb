"""A sweep: members that differ in some values, as one experiment with one graph, so that nothing is done twice.

A study that is no sweep is a sweep of one member. What all members share keeps its label; where they differ, the label
says for which values: `Rejuvenation+RL@alpha=0.4,rho=0.01`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from orchestrator import chains, experiment, place
from orchestrator.config import Composed
from orchestrator.experiment import DATA, Difference, Experiment, Seeded
from orchestrator.graph import Context, Graph, Node
from orchestrator.labels import Names, Values
from orchestrator.refusal import ConfigError
from orchestrator.sources import Sources

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One choice of the values that a sweep varies, with its own experiment and graph.

    Attributes:
        values: what tells it apart from the others; its seed too, if it is one of several replicas.
        number: which of the command line's members it is; its replicas have the same.
    """

    values: Values
    experiment: Experiment
    graph: Graph
    number: int = 0

    @property
    def swept(self) -> Values:
        """The values that the command line varies."""
        return {key: text for key, text in self.values.items() if key != "seed" or not self.experiment.seeds}


def read(composed: Sequence[Composed], start: int = 0) -> list[Member]:
    """The members of a sweep, each with all of its replicas; the first has the number `start`.

    Raises:
        ConfigError: with every error of every member, equal ones once.
    """
    every = [(number, each) for number, whole in enumerate(composed, start) for each in whole.replicas or (whole,)]
    errors = _Errors([each.values for _, each in every])
    experiments: dict[int, Experiment] = {}
    for number, (_, each) in enumerate(every):
        errors.note(each.errors, number)
        with errors.of(number):
            if each.config:
                read = experiment.read(each.config, each.overrides)
                experiments[number] = replace(read, notes=[*each.notes, *read.notes])
    if not errors:
        errors.refuse(_differences(experiments.values()))
    members = []
    sources: dict[str, Sources] = {}
    for number, found in experiments.items():
        with errors.of(number):
            if found.store not in sources:
                sources[found.store] = Sources(place.store(found.store, found.reads).root)
            graph = chains.expand(found, sources[found.store])
            of, each = every[number]
            members.append(Member(values=each.values, experiment=found, graph=graph, number=of))
    errors.refuse()
    return members


def merge(members: Sequence[Member]) -> tuple[Experiment, Graph]:
    """One experiment and one graph of all members: every node once, every chain that differs as a row of its own.

    Tables of a sweep lie beside those of the study, in a folder that names what is swept: `tiny_math@alpha,rho`.
    """
    first, names = members[0].experiment, Names([member.values for member in members])
    swept = Names([member.swept for member in members]).keys
    merged = replace(first, name=f"{first.name}@{swept}" if swept else first.name)
    if len(members) == 1:
        return merged, members[0].graph
    graph, rows = _nodes(members, names), _rows(members)
    labels = names.labels({row: (row[0], holders) for row, holders in rows.items()})
    for row, holders in rows.items():
        variant, member = row[0], members[holders[0]]
        graph.variants[labels[row]] = _moved(member.graph.variants[variant], graph)
        for name in member.experiment.benchmarks:
            graph.scores[labels[row], name] = graph.nodes[member.graph.scores[variant, name].fingerprint]
    compared = _held(member.graph.diagnoses for member in members)
    diagnoses = names.labels({row: (row[0], holders) for row, holders in compared.items()})
    graph.diagnoses = {diagnoses[row]: graph.nodes[row[1]] for row in compared}
    graph.contamination = _searched(members, names, graph)
    graph.sort()
    pairs = _paired(members, {(row[0], number): labels[row] for row, holders in rows.items() for number in holders})
    differences = names.labels({row: (row[0], holders) for row, holders in pairs.items()})
    return replace(
        merged,
        variants={labels[row]: members[holders[0]].experiment.variants[row[0]] for row, holders in rows.items()},
        benchmarks={name: each for member in reversed(members) for name, each in member.experiment.benchmarks.items()},
        diagnoses={
            diagnoses[row]: members[holders[0]].experiment.diagnoses[row[0]] for row, holders in compared.items()
        },
        differences={differences[row]: row[1] for row in pairs},
        seeded_variants=_seeded(members, rows, labels),
        seeded_differences=_seeded(members, pairs, differences),
        seeded_diagnoses=_seeded(members, compared, diagnoses),
    ), graph


def _seeded(members: Sequence[Member], held: Mapping[tuple[str, Any], list[int]], labels: Mapping[Any, str]) -> Seeded:
    """Shown name -> seed -> label, of (plain name, what it is) -> the members that have it.

    What differs in its seed alone is shown as one; what differs in a value of the sweep is told apart by that.
    """
    found: dict[tuple[str, tuple[int, ...]], list[Any]] = {}
    for row, holders in held.items():
        numbers = tuple(dict.fromkeys(members[holder].number for holder in holders))
        found.setdefault((row[0], numbers), []).append(row)
    values = {member.number: member.swept for member in members}
    order = {number: place for place, number in enumerate(values)}
    shown = Names(list(values.values())).labels({key: (key[0], [order[number] for number in key[1]]) for key in found})
    return {
        shown[key]: {members[holder].experiment.seed: labels[row] for row in rows for holder in held[row]}
        for key, rows in found.items()
    }


def _differences(experiments: Iterable[Experiment]) -> Iterator[str]:
    """What members must have in common, and do not."""
    found = list(experiments)
    for key, why in (("store", "one store"), ("name", "one experiment, whose tables have its name")):
        several = list(dict.fromkeys(getattr(each, key) for each in found))
        if len(several) > 1:
            yield f"{key}={','.join(several)}: a sweep has {why}; run once for each"
    if any(each.cluster != found[0].cluster for each in found):
        yield "cluster: differs among the members; a sweep runs on one cluster; run once for each"
    if any((each.reads, each.reports) != (found[0].reads, found[0].reports) for each in found):
        yield "reads, reports: differ among the members; a sweep has one store and one folder of reports"


def _nodes(members: Sequence[Member], names: Names) -> Graph:
    """The nodes of all members, inputs before what reads them, each once and labelled for those that have it."""
    held: dict[str, tuple[Node, list[int]]] = {}
    for number, member in enumerate(members):
        for key, node in member.graph.nodes.items():
            held.setdefault(key, (node, []))[1].append(number)
    suffixes = names.tell_apart({key: ((node.stage, node.label), holders) for key, (node, holders) in held.items()})
    graph = Graph()
    for key, (node, _) in held.items():
        graph.add(replace(node, label=node.label + suffixes[key], inputs=_moved(node.inputs, graph)))
    graph.references = sum(member.graph.references for member in members)
    return graph


def _moved(context: Context, graph: Graph) -> Context:
    """The same nodes and sources, as `graph` has them."""
    moved: Context = {}
    for kind, given in context.items():
        if isinstance(given, Node):
            moved[kind] = graph.nodes[given.fingerprint]
        elif given.origin is not None:
            moved[kind] = replace(given, origin=graph.nodes[given.origin.fingerprint])
        else:
            moved[kind] = given
    return moved


def _rows(members: Sequence[Member]) -> dict[tuple[str, Hashable], list[int]]:
    """(variant, what its chain makes and how it is scored) -> the members that have it, variant by variant."""
    found: dict[str, dict[Hashable, list[int]]] = {}
    for number, member in enumerate(members):
        for variant in member.experiment.variants:
            made = [
                given.fingerprint for kind, given in member.graph.variants[variant].items() if kind not in DATA
            ]  # data that a chain merely could have read does not tell it apart
            scores = [(name, member.graph.scores[variant, name].fingerprint) for name in member.experiment.benchmarks]
            found.setdefault(variant, {}).setdefault((*made, *scores), []).append(number)
    return {(variant, chain): holders for variant, chains in found.items() for chain, holders in chains.items()}


def _held(members: Iterable[Mapping[Key, Node]]) -> dict[tuple[Key, str], list[int]]:
    """(name, fingerprint of its node) -> the members that have it, name by name."""
    found: dict[Key, dict[str, list[int]]] = {}
    for number, named in enumerate(members):
        for name, node in named.items():
            found.setdefault(name, {}).setdefault(node.fingerprint, []).append(number)
    return {(name, key): holders for name, keys in found.items() for key, holders in keys.items()}


def _searched(members: Sequence[Member], names: Names, graph: Graph) -> dict[tuple[str, str], Node]:
    """What looks for the problems of benchmarks in data; where that differs, the kind of data says for which values."""
    held = _held(member.graph.contamination for member in members)
    apart = names.tell_apart({row: (row[0], holders) for row, holders in held.items()})
    return {(benchmark, kind + apart[(benchmark, kind), key]): graph.nodes[key] for (benchmark, kind), key in held}


def _paired(
    members: Sequence[Member], labels: Mapping[tuple[str, int], str]
) -> dict[tuple[str, Difference], list[int]]:
    """(name, difference between rows as they are labelled) -> the members that have it, name by name.

    `labels` are of (variant, member).
    """
    found: dict[str, dict[Difference, list[int]]] = {}
    for number, member in enumerate(members):
        for name, each in member.experiment.differences.items():
            pair = replace(each, variant=labels[each.variant, number], reference=labels[each.reference, number])
            found.setdefault(name, {}).setdefault(pair, []).append(number)
    return {(name, pair): holders for name, pairs in found.items() for pair, holders in pairs.items()}


class _Errors:
    """The messages of all members, each with the members that have it."""

    def __init__(self, members: Sequence[Values]) -> None:
        self._names = Names(members)
        self._found: dict[str, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def note(self, messages: Iterable[str], number: int) -> None:
        for message in messages:
            self._found.setdefault(message, []).append(number)

    @contextmanager
    def of(self, number: int) -> Iterator[None]:
        """Note the messages of a ConfigError raised in the block, and go on after it."""
        try:
            yield
        except ConfigError as error:
            self.note(error.messages, number)

    def refuse(self, more: Iterable[str] = ()) -> None:
        """Raise what was noted; a message that does not say for which values it holds is told so."""
        messages = [*(self._said(message, holders) for message, holders in self._found.items()), *more]
        if messages:
            raise ConfigError(messages)

    def _said(self, message: str, holders: list[int]) -> str:
        shared = self._names.shared(holders).items()
        unsaid = {key: text for key, text in shared if f"{key.lstrip('+~')}={text}" not in message}
        return f"{message} (where {self._names.text(unsaid)})" if unsaid else message
