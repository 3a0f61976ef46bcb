"""Arrays: which batches go to Slurm with one call of sbatch.

Batches of one stage are siblings. Siblings that wait for the same jobs are one job array with that dependency. Siblings
that each wait for another element of one array, all of it and in its order, are an array that follows it element by
element (`aftercorr`), so that no element waits for its neighbours. All others go alone. What is published already is
waited for by nobody, so it tells no siblings apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from launch.job import Allocation, Cluster
from orchestrator.graph import Graph, Node


@dataclass(eq=False)
class Array:
    """Batches that are submitted together; most often one.

    `follows`: the array whose element i is what element i of this one waits for.
    """

    batches: list[list[Node]]
    needs: Allocation
    follows: Array | None = None


def arrange(
    batches: list[list[Node]], graph: Graph, cluster: Cluster, most: int, done: Collection[str] = ()
) -> list[Array]:
    """Arrays of at most `most` elements, each behind those that it waits for. `done`: fingerprints of what is there."""
    return list(_Arrangement(batches, graph, cluster, most, done).arrays())


class _Arrangement:
    """Places batches level by level: those of a level wait for earlier levels only."""

    def __init__(
        self, batches: list[list[Node]], graph: Graph, cluster: Cluster, most: int, done: Collection[str]
    ) -> None:
        self._batches = batches
        self._done = frozenset(done)
        self._graph = graph
        self._cluster = cluster
        self._most = most
        self._batch_of = {node.fingerprint: number for number, batch in enumerate(batches) for node in batch}
        self._level: dict[int, int] = {}
        self._place: dict[int, tuple[Array, int]] = {}  # batch -> its array, and its element there

    def arrays(self) -> Iterator[Array]:
        siblings: dict[tuple[int, str], list[int]] = {}
        for number, batch in enumerate(self._batches):
            level = 1 + max((self._level[need] for need in self._new_needs(number)), default=-1)
            self._level[number] = level
            siblings.setdefault((level, batch[0].stage), []).append(number)
        for _, numbers in sorted(siblings.items(), key=lambda item: item[0][0]):
            yield from self._split(numbers)

    def _new_needs(self, number: int) -> list[int]:
        """The batches of this submission that a batch waits for."""
        needs = (need.fingerprint for node in self._batches[number] for need in self._graph.waits_for(node))
        return sorted({self._batch_of[need] for need in needs if need in self._batch_of} - {number})

    def _split(self, numbers: list[int]) -> Iterator[Array]:
        """Arrays of siblings, by what they wait for."""
        alike: dict[tuple[frozenset[str], Array | None], list[int]] = {}
        for number in numbers:
            own = [need for need in self._new_needs(number) if len(self._place[need][0].batches) > 1]
            common = self._outside(number) - {node.fingerprint for need in own for node in self._batches[need]}
            follows = self._place[own[0]][0] if len(own) == 1 else None
            if len(own) > 1:
                common |= {f"alone {number}"}
            alike.setdefault((common, follows), []).append(number)
        for (_, follows), members in alike.items():
            if follows is not None:
                members = sorted(members, key=self._element)
            corresponds = follows is None or [self._element(each) for each in members] == [*range(len(follows.batches))]
            size = self._most if corresponds and self._cluster.needs(self._stage(members)).segments == 1 else 1
            for start in range(0, len(members), size):
                yield self._place_all(members[start : start + size], follows if corresponds else None)

    def _outside(self, number: int) -> frozenset[str]:
        """Everything that a batch waits for, and that is not there yet."""
        batch = self._batches[number]
        return frozenset(need.fingerprint for node in batch for need in self._graph.waits_for(node)) - self._done

    def _element(self, number: int) -> int:
        """Which element of the array that it follows a batch waits for."""
        return next(self._place[need][1] for need in self._new_needs(number) if len(self._place[need][0].batches) > 1)

    def _stage(self, numbers: list[int]) -> str:
        return self._batches[numbers[0]][0].stage

    def _place_all(self, numbers: list[int], follows: Array | None) -> Array:
        needs = self._cluster.needs(self._stage(numbers))
        array = Array([self._batches[number] for number in numbers], needs, follows if len(numbers) > 1 else None)
        for element, number in enumerate(numbers):
            self._place[number] = (array, element)
        return array
