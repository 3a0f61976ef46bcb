"""Graphs: what waits for what, and in which order."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import study

pytestmark = pytest.mark.usefixtures("toys")

RUNS = st.lists(st.tuples(st.integers(1, 9), st.sampled_from([1.0, 2, 2.5])), min_size=1, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RUNS)
def test_a_node_waits_for_the_longest_shorter_run_and_comes_after_it(
    tmp_path: Path, runs: list[tuple[int, float]]
) -> None:
    variants = {f"V{i}": [{"toy_train": {"epochs": e, "rate": rate}}] for i, (e, rate) in enumerate(runs)}
    _, found, _ = study(tmp_path, variants)
    base, *trainings = found.nodes.values()
    order = list(found.nodes)
    for node in trainings:
        shorter = [found.nodes[key] for _, key in found.shorter(node) if key in found.nodes]
        assert found.waits_for(node) == [base, *shorter[:1]]
        assert all(order.index(need.fingerprint) < order.index(node.fingerprint) for need in found.waits_for(node))


def test_a_deep_graph_is_sorted_and_shown(tmp_path: Path) -> None:
    steps = [{"toy_train": {"epochs": 1, "seconds": 0.001 * step}} for step in range(1500)]  # beyond any recursion
    _, found, _ = study(tmp_path, {"Chain": steps})
    nodes = list(found.nodes.values())
    assert [found.waits_for(node) for node in nodes[1:]] == [[node] for node in nodes[:-1]]
    assert "toy_train" in repr(nodes[-1])
