"""How long a study still takes: by what runs, by records, and by how many jobs there is room for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.job import Cluster
from orchestrator import plan
from orchestrator.command import Study
from orchestrator.forecast import remaining
from orchestrator.graph import Node
from tests.conftest import carry_out, cluster, study
from tests.orchestrator.test_tree import entry

pytestmark = pytest.mark.usefixtures("toys")


def end(seconds: dict[str, float], needs: dict[str, list[str]], where: Cluster) -> float:
    """The end of nodes by their names."""
    nodes: dict[str, Node] = {name: entry("toy_train", name, "run").node for name in seconds}
    keys = {name: node.fingerprint for name, node in nodes.items()}
    return remaining.end(
        nodes.values(),
        {keys[name]: {keys[need] for need in needs.get(name, [])} for name in nodes},
        {keys[name]: each for name, each in seconds.items()},
        where,
    )


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (cluster("inline"), 16.0),  # one after the other
        (cluster("local", cpus=1), 16.0),
        (cluster("local", cpus=2), 10.0),  # a, then b and c, then d beside what is left
        (replace(cluster("local"), launcher="slurm"), 9.0),  # the longest chain: a, c, d
    ],
)
def test_by_the_room_that_there_is(where: Cluster, expected: float) -> None:
    seconds = {"a": 3.0, "b": 3.0, "c": 4.0, "e": 4.0, "d": 2.0}
    needs = {"b": ["a"], "c": ["a"], "e": ["a"], "d": ["c"]}
    found = end(seconds, needs, where)
    assert found == expected


def test_what_takes_an_unknown_time_takes_none_and_is_counted(tmp_path: Path) -> None:
    found = Study(*study(tmp_path))
    entries = plan.make(found.graph, found.store)
    assert remaining.left(entries, found, {}) is None  # nothing is known of any
    report = {"rate": 0.5, "step": 2, "total": 12}
    left = remaining.left(entries, found, {entries[0].node.fingerprint: report})
    assert left is not None and (left.seconds, left.unknown) == (20.0, 4)
    assert str(left) == "about 0:00:20 left, without 4 of unknown duration"


def test_by_the_records_of_the_stage(tmp_path: Path) -> None:
    variants: dict[str, list[Any]] = {"A": [{"toy_train": {"epochs": 1, "seconds": 1.0}}]}
    first = Study(*study(tmp_path, variants))
    carry_out(first.graph, first.store)
    variants["B"] = [{"toy_train": {"epochs": 1, "seconds": 1.0, "rate": 3.0}}]
    more = Study(*study(tmp_path, variants))
    left = remaining.left(plan.make(more.graph, more.store), more, {})
    assert left is not None and left.unknown == 0 and left.seconds == pytest.approx(1.0, abs=0.5)


def test_nothing_is_left_of_what_is_done(tmp_path: Path) -> None:
    found = Study(*study(tmp_path))
    carry_out(found.graph, found.store)
    assert remaining.left(plan.make(found.graph, found.store), found, {}) is None
