"""A sweep: members that differ in some values, as one experiment with one graph, so that nothing is done twice.

A study that is no sweep is a sweep of one member. What all members share keeps its label; where they differ, the label
says for which values: `Rejuvenation+RL@alpha=0.4,rho=0.01`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from orchestrator import chains, experiment
from orchestrator.config import Composed
from orchestrator.experiment import DATA, Benchmark, Diagnosis, Difference, Experiment, Step
from orchestrator.graph import Context, Graph, Node
from orchestrator.refusal import ConfigError
from orchestrator.sources import Sources

Key = TypeVar("Key", bound=Hashable)

#: Characters of a label that say for which values it is; a folder's name has at most 255 bytes.
LONGEST = 100

#: key -> text, as on the command line.
Values = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One choice of the values that a sweep varies, with its own experiment and graph."""

    values: Values
    experiment: Experiment
    graph: Graph


def read(composed: Sequence[Composed]) -> list[Member]:
    """The members of a sweep.

    Raises:
        ConfigError: with every error of every member, equal ones once.
    """
    errors = _Errors([each.values for each in composed])
    experiments: dict[int, Experiment] = {}
    for number, each in enumerate(composed):
        errors.note(each.errors, number)
        with errors.of(number):
            if each.config:
                experiments[number] = experiment.read(each.config, each.overrides)
    if not errors:
        errors.refuse(_differences(experiments.values()))
    members = []
    sources = {found.store: Sources(Path(found.store).expanduser().absolute()) for found in experiments.values()}
    for number, found in experiments.items():
        with errors.of(number):
            graph = chains.expand(found, sources[found.store])
            members.append(Member(values=composed[number].values, experiment=found, graph=graph))
    errors.refuse()
    return members


def merge(members: Sequence[Member]) -> tuple[Experiment, Graph]:
    """One experiment and one graph of all members: every node once, every chain that differs as a row of its own.

    Tables of a sweep lie beside those of the study, in a folder that names what is swept: `tiny_math@alpha,rho`.
    """
    first, names = members[0].experiment, _Names([member.values for member in members])
    merged = replace(first, name=f"{first.name}@{names.keys}" if names.keys else first.name)
    if len(members) == 1:
        return merged, members[0].graph
    graph = _nodes(members, names)
    rows = _rows(members)
    suffixes = names.tell_apart({row: (row[0], holders) for row, holders in rows.items()})
    variants: dict[str, list[Step]] = {}
    benchmarks: dict[str, Benchmark] = {}
    for row, holders in rows.items():
        variant, member, label = row[0], members[holders[0]], row[0] + suffixes[row]
        variants[label] = member.experiment.variants[variant]
        graph.variants[label] = _moved(member.graph.variants[variant], graph)
        for name, benchmark in member.experiment.benchmarks.items():
            benchmarks.setdefault(name, benchmark)
            graph.scores[label, name] = graph.nodes[member.graph.scores[variant, name].fingerprint]
    compared = _held(member.graph.diagnoses for member in members)
    apart = names.tell_apart({row: (row[0], holders) for row, holders in compared.items()})
    diagnoses: dict[str, Diagnosis] = {}
    for row, holders in compared.items():
        name, key = row
        diagnoses[name + apart[row]] = members[holders[0]].experiment.diagnoses[name]
        graph.diagnoses[name + apart[row]] = graph.nodes[key]
    graph.contamination = _searched(members, names, graph)
    graph.sort()
    labels = {(row[0], number): row[0] + suffixes[row] for row, holders in rows.items() for number in holders}
    differences = _paired(members, labels, names)
    return replace(
        merged, variants=variants, benchmarks=benchmarks, diagnoses=diagnoses, differences=differences
    ), graph


def _differences(experiments: Iterable[Experiment]) -> Iterator[str]:
    """What members must have in common, and do not."""
    found = list(experiments)
    for key, why in (("store", "one store"), ("name", "one experiment, whose tables have its name")):
        several = list(dict.fromkeys(getattr(each, key) for each in found))
        if len(several) > 1:
            yield f"{key}={','.join(several)}: a sweep has {why}; run once for each"
    if any(each.cluster != found[0].cluster for each in found):
        yield "cluster: differs among the members; a sweep runs on one cluster; run once for each"


def _nodes(members: Sequence[Member], names: _Names) -> Graph:
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


def _searched(members: Sequence[Member], names: _Names, graph: Graph) -> dict[tuple[str, str], Node]:
    """What looks for the problems of benchmarks in data; where that differs, the kind of data says for which values."""
    held = _held(member.graph.contamination for member in members)
    apart = names.tell_apart({row: (row[0], holders) for row, holders in held.items()})
    return {(benchmark, kind + apart[(benchmark, kind), key]): graph.nodes[key] for (benchmark, kind), key in held}


def _paired(members: Sequence[Member], labels: Mapping[tuple[str, int], str], names: _Names) -> dict[str, Difference]:
    """The differences of all members, between rows as they are labelled: (variant, member) -> label."""
    found: dict[str, dict[Difference, list[int]]] = {}
    for number, member in enumerate(members):
        for name, each in member.experiment.differences.items():
            pair = replace(each, variant=labels[each.variant, number], reference=labels[each.reference, number])
            found.setdefault(name, {}).setdefault(pair, []).append(number)
    held = {(name, pair): holders for name, pairs in found.items() for pair, holders in pairs.items()}
    apart = names.tell_apart({row: (row[0], holders) for row, holders in held.items()})
    return {row[0] + apart[row]: row[1] for row in held}


class _Names:
    """What tells members of a sweep apart: the values, of the keys that have several, by the last word of the key."""

    def __init__(self, members: Sequence[Values]) -> None:
        self._members = members
        every = dict.fromkeys(key for values in members for key in values)
        last = [_last(key) for key in every]
        self._short = {key: _last(key) if last.count(_last(key)) == 1 else key.lstrip("+~") for key in every}
        self._several = [key for key in every if len({values.get(key) for values in members}) > 1]

    @property
    def keys(self) -> str:
        """All keys that the sweep names, also those that have one value so far."""
        return ",".join(self._short.values())

    def shared(self, holders: Sequence[int]) -> dict[str, str]:
        """The values that these members have in common, and others have not."""
        if len(holders) == len(self._members):
            return {}
        first, *rest = (self._members[number] for number in holders)
        keys = [key for key in self._several if key in first]
        return {key: first[key] for key in keys if all(values.get(key) == first[key] for values in rest)}

    def text(self, values: Values) -> str:
        """`alpha=0.4,rho=0.01`; the end of a long one is a hash, because names of folders are made of it."""
        whole = ",".join(f"{self._short[key]}={text}" for key, text in values.items())
        return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}~{hashlib.sha256(whole.encode()).hexdigest()[:6]}"

    def tell_apart(self, held: Mapping[Key, tuple[Hashable, list[int]]]) -> dict[Key, str]:
        """What to put behind each plain label, of (plain label, the members that have it): nothing if it is alone."""
        alike: dict[Hashable, list[Key]] = {}
        for key, (plain, _) in held.items():
            alike.setdefault(plain, []).append(key)
        suffixes: dict[Key, str] = {}
        for keys in alike.values():
            texts = [self.text(self.shared(held[key][1])) if len(keys) > 1 else "" for key in keys]
            for key, text in zip(keys, texts, strict=True):
                holders = held[key][1]
                if len(holders) < len(self._members) and len(keys) > 1 and (not text or texts.count(text) > 1):
                    text = self.text({name: self._members[holders[0]][name] for name in self._several})
                suffixes[key] = f"@{text}" if text else ""
        return suffixes


class _Errors:
    """The messages of all members, each with the members that have it."""

    def __init__(self, members: Sequence[Values]) -> None:
        self._names = _Names(members)
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


def _last(key: str) -> str:
    return key.lstrip("+~").rpartition(".")[2]
