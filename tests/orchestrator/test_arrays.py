"""Which jobs go to Slurm with one call of sbatch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.job import Allocation, Cluster
from orchestrator.arrays import Array, arrange
from orchestrator.batch import batches
from orchestrator.graph import Graph, Node
from tests.conftest import cluster, study

pytestmark = pytest.mark.usefixtures("toys")


def chain(rate: float, *digits: int, epochs: int = 2) -> list[list[Any]]:
    """Chains of one training each, probed at some digits, or not at all."""
    train = {"toy_train": {"epochs": epochs, "rate": rate}}
    return [[train, {"toy_probe": {"digit": digit}}] for digit in digits] or [[train]]


def graph(tmp_path: Path, *chains: list[Any]) -> Graph:
    return study(tmp_path / "store", {f"V{number}": chain for number, chain in enumerate(chains)})[1]


def arranged(found: Graph, most: int = 1000, leave: tuple[str, ...] = (), on: Cluster | None = None) -> list[Array]:
    open = [node for node in found.nodes.values() if node.stage not in leave]
    return arrange(batches(open), found, on or cluster(), most)


def shape(arrays: list[Array]) -> list[tuple[str, int, bool]]:
    """Stage, elements, and whether it follows another array element by element."""
    return [(array.batches[0][0].stage, len(array.batches), array.follows is not None) for array in arrays]


def test_siblings_that_wait_for_one_job_are_an_array(tmp_path: Path) -> None:
    found = graph(tmp_path, *chain(2.0), *chain(3.0), *chain(4.0))
    assert shape(arranged(found)) == [("toy_base", 1, False), ("toy_train", 3, False)]


def test_siblings_that_wait_for_nothing_new_are_an_array(tmp_path: Path) -> None:
    found = graph(tmp_path, *chain(2.0), *chain(3.0))
    assert shape(arranged(found, leave=("toy_base",))) == [("toy_train", 2, False)]


def test_an_array_follows_an_array_element_by_element(tmp_path: Path) -> None:
    found = graph(tmp_path, *chain(2.0, 0), *chain(3.0, 0), *chain(4.0, 0))
    arrays = arranged(found)
    assert shape(arrays) == [("toy_base", 1, False), ("toy_train", 3, False), ("toy_probe", 3, True)]
    trains, probes = arrays[1], arrays[2]
    assert probes.follows is trains
    for train, probe in zip(trains.batches, probes.batches, strict=True):
        assert probe[0].inputs["checkpoint"] is train[0]


def test_nodes_that_share_what_they_load_are_one_element(tmp_path: Path) -> None:
    found = graph(tmp_path, *chain(2.0, 0, 1), *chain(3.0, 0, 1))
    arrays = arranged(found)
    assert shape(arrays)[-1] == ("toy_probe", 2, True)
    assert [len(batch) for batch in arrays[-1].batches] == [2, 2]


def test_what_follows_a_part_of_an_array_goes_alone(tmp_path: Path) -> None:
    """`aftercorr` needs as many elements on both sides."""
    found = graph(tmp_path, *chain(2.0, 0), *chain(3.0, 0), *chain(4.0))
    arrays = arranged(found)
    assert shape(arrays)[2:] == [("toy_probe", 1, False), ("toy_probe", 1, False)]


def test_what_waits_for_several_elements_goes_alone(tmp_path: Path) -> None:
    """The longer trainings wait for two shorter ones each: their checkpoints to continue from."""
    chains = [each for rate in (2.0, 3.0) for epochs in (1, 2, 4) for each in chain(rate, epochs=epochs)]
    arrays = arranged(graph(tmp_path, *chains))
    assert all(array.follows is None for array in arrays if len(array.batches) == 1)
    assert sum(len(array.batches) for array in arrays) == 7
    assert_in_order(arrays, graph(tmp_path, *chains))


@pytest.mark.parametrize(("most", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (5, [5]), (9, [5])])
def test_no_array_is_larger_than_slurm_allows(most: int, sizes: list[int], tmp_path: Path) -> None:
    found = graph(tmp_path, *(chain(float(rate), 0)[0] for rate in range(2, 7)))
    arrays = arranged(found, most)
    assert [len(array.batches) for array in arrays if array.batches[0][0].stage == "toy_train"] == sizes
    assert sum(len(array.batches) for array in arrays if array.batches[0][0].stage == "toy_probe") == 5
    assert_in_order(arrays, found)


def test_a_stage_in_segments_is_no_array(tmp_path: Path) -> None:
    """Segment 1 of element 2 would wait for segment 0 of all of them."""
    plain = cluster()
    on = Cluster(launcher="slurm", default=plain.default, stages={"toy_train": replace(Allocation(), segments=3)})
    found = graph(tmp_path, *chain(2.0, 0), *chain(3.0, 0))
    arrays = arranged(found, on=on)
    assert shape(arrays)[1:3] == [("toy_train", 1, False)] * 2
    assert_in_order(arrays, found)


def test_every_node_is_in_one_array_behind_what_it_waits_for(tmp_path: Path) -> None:
    chains = [each for rate in (2.0, 3.0, 5.0) for epochs in (1, 4) for each in chain(rate, 0, 1, epochs=epochs)]
    found = graph(tmp_path, *chains)
    arrays = arranged(found)
    nodes = [node.fingerprint for array in arrays for batch in array.batches for node in batch]
    assert sorted(nodes) == sorted(found.nodes)
    assert_in_order(arrays, found)


def assert_in_order(arrays: list[Array], found: Graph) -> None:
    """What a node waits for is in an earlier array; in the one that it follows, it is the element of its own number."""
    before: set[str] = set()
    new = {node.fingerprint for array in arrays for batch in array.batches for node in batch}
    for array in arrays:
        for number, batch in enumerate(array.batches):
            needs = {need.fingerprint for node in batch for need in found.waits_for(node)} & new
            assert needs <= before
            if array.follows is not None:
                assert _keys(array.follows.batches[number]) & needs
                assert not _keys(node for each in array.follows.batches for node in each) & needs - _keys(
                    array.follows.batches[number]
                )
        before |= _keys(node for batch in array.batches for node in batch)


def _keys(nodes: Any) -> set[str]:
    return {node.fingerprint for node in nodes if isinstance(node, Node)}
