"""The graph as a tree: every node once, and what somebody looks for stays while the rest is folded away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import tree
from orchestrator.graph import Node
from orchestrator.plan import STATES, Entry
from orchestrator.tree import Branch


def entry(stage: str, label: str, state: str, *needs: Entry, reason: str = "new") -> Entry:
    """A line of a plan."""
    inputs = {f"input{number}": need.node for number, need in enumerate(needs)}
    node = Node(stage=stage, version=1, config={"of": f"{stage}/{label}"}, inputs=inputs, label=label)  # type: ignore[arg-type]
    return Entry(node=node, state=state, reason=reason, path=Path("nowhere"))


def study(*, chains: int = 2, benchmarks: int = 4, states: str = "done") -> list[Entry]:
    """A base; chains of sft and grpo, which reads the base too; and evaluations of everything."""
    entries = [entry("pretrain", "base", states)]
    for number in range(chains):
        sft = entry("sft", f"V{number}", states, entries[0])
        grpo = entry("grpo", f"V{number}+RL", states, entries[0], sft)
        entries += [sft, grpo]
        for made in (sft, grpo):
            entries += [
                entry("evaluate", f"{made.node.label}.b{n}", states, made, entries[0]) for n in range(benchmarks)
            ]
    return entries


def changed(entries: list[Entry], name: str, state: str) -> list[Entry]:
    """The same plan with a node in another state."""
    found = [each for each in entries if f"{each.node.stage}/{each.node.label}" == name]
    assert len(found) == 1
    return [Entry(node=e.node, state=state, reason=e.reason, path=e.path) if e in found else e for e in entries]


def outline(branches: Sequence[Branch], depth: int = 0) -> list[str]:
    """A line for each branch: its names, and how many nodes are hidden in it."""
    lines = []
    for branch in branches:
        names = {
            e.node.label if len(branch.entries) == 1 else f"{e.node.stage} x{len(branch.entries)}": 0
            for e in branch.entries
        }
        hidden = f" +{len(branch.hidden)}" if branch.hidden else ""
        lines += ["  " * depth + "".join(names) + hidden, *outline(branch.below, depth + 1)]
    return lines


def test_a_chain_goes_down_and_the_evaluations_of_a_checkpoint_are_one_line() -> None:
    assert outline(tree.grow(study(chains=1))) == [
        "base",
        "  V0",
        "    evaluate x4",
        "    V0+RL",
        "      evaluate x4",
    ]


def test_an_evaluation_that_runs_or_failed_has_a_line_of_its_own() -> None:
    entries = changed(changed(study(chains=1), "evaluate/V0.b1", "running"), "evaluate/V0.b3", "failed")
    assert outline(tree.grow(entries))[2:5] == ["    evaluate x4", "      V0.b1", "      V0.b3"]


def test_what_is_folded_first_is_done_and_then_what_has_not_begun() -> None:
    entries = changed(study(chains=3), "grpo/V2+RL", "running")
    for name in ("sft/V1", "grpo/V1+RL", *(f"evaluate/V1{rl}.b{n}" for rl in ("", "+RL") for n in range(4))):
        entries = changed(entries, name, "run")
    full = tree.grow(entries)
    assert tree.fold(full, 100) == full
    assert outline(tree.fold(full, 10)) == [
        "base",
        "  V0 +9",
        "  V1",
        "    evaluate x4",
        "    V1+RL",
        "      evaluate x4",
        "  V2",
        "    evaluate x4",
        "    V2+RL",
        "      evaluate x4",
    ]
    assert outline(tree.fold(full, 7)) == [
        "base",
        "  V0 +9",
        "  V1 +9",
        "  V2",
        "    evaluate x4",
        "    V2+RL",
        "      evaluate x4",
    ]
    assert outline(tree.fold(full, 6)) == [
        "base",
        "   +20",
        "  V2",
        "    evaluate x4",
        "    V2+RL",
        "      evaluate x4",
    ]
    assert outline(tree.fold(full, 2)) == ["V2+RL", " +30"]
    assert outline(tree.fold(full, 1)) == [" +31"]


@given(st.lists(st.sampled_from(STATES), min_size=37, max_size=37), st.integers(1, 40))
def test_every_node_is_in_it_once_and_it_fits(states: list[str], height: int) -> None:
    entries = [
        Entry(node=each.node, state=state, reason="", path=each.path)
        for each, state in zip(study(chains=4, benchmarks=3)[:37], [*states], strict=False)
    ]
    folded = tree.fold(tree.grow(entries), height)
    assert sum(branch.lines for branch in folded) <= height
    found = [each.node.fingerprint for branch in folded for each in branch.every]
    assert sorted(found) == sorted(each.node.fingerprint for each in entries)


def test_a_study_of_hundreds_of_nodes_with_many_failures_shows_the_failures() -> None:
    entries = study(chains=25, benchmarks=8, states="run")
    for number in range(5):
        entries = changed(entries, f"grpo/V{number}+RL", "failed")
    assert len(entries) == 451
    lines = outline(tree.fold(tree.grow(entries), 8))
    assert lines == [*(f"V{number}+RL" for number in range(5)), " +446"]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_node_is_below_the_deepest_of_what_it_needs(order: slice) -> None:
    base = entry("pretrain", "base", "done")
    sft = entry("sft", "V", "done", base)
    needs = [base, sft][order]
    assert outline(tree.grow([base, sft, entry("diagnose", "V-base", "done", *needs)])) == ["base", "  V", "    V-base"]
