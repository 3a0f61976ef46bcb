"""Data sets with fewer rows than a stage needs, where it is known how many they have: refused before they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from orchestrator.forecast import rows
from orchestrator.graph import Node
from orchestrator.sources import Source
from stages.store import Store

#: What is wrong with so many rows of what a node reads; the text says whose they are.
_Check = Callable[[Node, int, str], Iterator[str]]


def errors(nodes: Iterable[Node], store: Store) -> list[str]:
    """What of these nodes cannot run for want of rows, each once."""
    return _said(nodes, store, _STAGES)


def held_out(nodes: Iterable[Node], store: Store) -> list[str]:
    """What cannot run because too many rows are held out: a plan shows the nodes and says so, a run is refused."""
    return _said(nodes, store, {"grpo": ("problems", _grpo_left)})


def _said(nodes: Iterable[Node], store: Store, stages: Mapping[str, tuple[str, _Check]]) -> list[str]:
    found: dict[str, None] = {}
    for node in nodes:
        kind, check = stages.get(node.stage, ("", None))
        given = node.inputs.get(kind)
        count = rows.count(given, store)
        if check is not None and count is not None and isinstance(given, Source):
            found |= dict.fromkeys(check(node, count, f"{given.name} has {count} row{'s' if count != 1 else ''}"))
    return list(found)


def _sft(node: Node, count: int, has: str) -> Iterator[str]:
    samples, batch = node.config["samples"], node.config["batch"]
    if samples is not None and samples > count:
        yield f"sft.samples={samples}: but {has}; allowed: at most {count}, or null for all"
    least = count if samples is None else min(samples, count)
    if batch > least:
        of = has if least == count else f"sft.samples={samples}"
        yield f"sft.batch={batch}: sequences in a step, but {of}; allowed: at most {least}"


def _grpo(node: Node, count: int, has: str) -> Iterator[str]:
    prompts, held = node.config["prompts"], node.config["validation_problems"]
    if prompts > count:
        yield f"grpo.prompts={prompts}: problems in a rollout, but {has}; allowed: at most {count}"
    if held > count:
        yield f"grpo.validation_problems={held}: held out, but {has}; allowed: at most {max(0, count - prompts)}"


def _grpo_left(node: Node, count: int, has: str) -> Iterator[str]:
    prompts, held = node.config["prompts"], node.config["validation_problems"]
    if max(prompts, held) <= count < prompts + held:
        yield (
            f"grpo.prompts={prompts}: problems in a rollout, but {has}, and grpo.validation_problems={held} leaves "
            f"{count - held} to train on; allowed: together at most {count}"
        )


def _samples(node: Node, count: int, has: str) -> Iterator[str]:
    samples = node.config["samples"]
    if samples > count:
        yield f"{node.stage}.samples={samples}: but {has}; allowed: at most {count}"


def _evaluate(node: Node, count: int, has: str) -> Iterator[str]:
    expected = node.config["problems"]
    if expected is not None and expected != count:
        yield f"evaluate.problems={expected}: but {has}; allowed: {count}, or null for any number"


#: Stage -> the data that it reads, and its check.
_STAGES: dict[str, tuple[str, _Check]] = {
    "sft": ("demonstrations", _sft),
    "grpo": ("problems", _grpo),
    "attribute": ("calibration", _samples),
    "diagnose": ("calibration", _samples),
    "evaluate": ("benchmark", _evaluate),
}
