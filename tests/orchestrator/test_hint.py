"""Where to look next: commands that can be typed as they are."""

from __future__ import annotations

import shlex

import pytest

from orchestrator import hint
from orchestrator.command import Command
from tests.orchestrator.test_tree import changed, entry, study

COMMAND = Command("status", None, frozenset({"--watch"}), ["+experiment=toy", "variants={A: [x]}"])


def verbs(entries: list, **given: object) -> list[str]:  # type: ignore[type-arg]
    return [shlex.split(each.command)[3] for each in hint.hints(entries, COMMAND)]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("failed", ["logs", "retry", "report"]),
        ("running", ["logs", "report"]),
        ("queued", ["status", "report"]),
        ("run", ["run", "report"]),
        ("done", ["report"]),
    ],
)
def test_what_fits_the_state(state: str, expected: list[str]) -> None:
    assert verbs(changed(study(chains=1), "grpo/V0+RL", state)) == expected


def test_before_anything_is_there() -> None:
    assert verbs(study(chains=1, states="run")) == ["run"]


def test_a_command_can_be_typed() -> None:
    found = hint.hints(changed(study(chains=1), "grpo/V0+RL", "failed"), COMMAND)
    assert found[0].command == "python -m orchestrator logs grpo/V0+RL +experiment=toy 'variants={A: [x]}'"
    sweep = Command("run", None, frozenset({"-m"}), ["seed=0,1"])
    assert hint.line(sweep, "report") == "python -m orchestrator report -m seed=0,1"


def test_a_name_that_is_not_plain_or_not_alone_is_a_fingerprint() -> None:
    one, other = entry("sft", "\x1b[2J", "failed"), entry("grpo", "V", "failed")
    assert hint.name(one.node, [one.node]) == one.node.fingerprint[:10]
    assert hint.name(other.node, [one.node, other.node]) == "grpo/V"
    assert hint.name(other.node, [other.node, other.node]) == other.node.fingerprint[:10]
