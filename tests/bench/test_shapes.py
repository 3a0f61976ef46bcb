"""Shapes: what the peers are given is the graph that is planned."""

from collections import Counter
from pathlib import Path

import pytest

import stages
from bench import shapes
from orchestrator import chains
from orchestrator.sources import Sources


def profile(needs: list[list[int]]) -> Counter[tuple[int, int]]:
    """How many nodes there are of each depth and number of needs; needs come before what needs them."""
    depths: list[int] = []
    for above in needs:
        depths.append(1 + max((depths[i] for i in above), default=0))
    return Counter(zip(depths, map(len, needs), strict=True))


@pytest.mark.parametrize("shape", shapes.SHAPES)
@pytest.mark.parametrize("size", [10, 100])
def test_peers_get_the_graph_that_is_planned(
    shape: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(shapes.STAGES)])
    graph = chains.expand(shapes.experiment(shape, size, tmp_path), Sources(tmp_path))
    position = {key: i for i, key in enumerate(graph.nodes)}
    planned = [sorted({position[need.fingerprint] for need in node.needs()}) for node in graph.nodes.values()]
    bare = [sorted(above) for above in shapes.needs(shape, size)]
    assert profile(planned) == profile(bare)
    assert 0.9 * size <= len(planned) <= size
