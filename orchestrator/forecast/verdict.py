"""The verdict on a plan: what is wrong with it, all at once, while it is planned; and what is, before it is started."""

from __future__ import annotations

from collections.abc import Sequence

from rich.filesize import decimal

from orchestrator import access, requirements
from orchestrator.command import Study
from orchestrator.forecast import misfit, mismatch, outlook, scarce
from orchestrator.forecast.outlook import Outlook
from orchestrator.graph import Node
from orchestrator.names import full
from orchestrator.plan import Entry
from orchestrator.refusal import ConfigError


def on_plan(entries: Sequence[Entry], study: Study) -> Outlook:
    """The outlook of a plan.

    Raises:
        ConfigError: some of it cannot run, whatever is spent.
    """
    found = outlook.make(entries, study)
    _refuse(_wrong(found, study))
    return found


def on_start(entries: Sequence[Entry], study: Study) -> Outlook:
    """The outlook of a plan that is about to be carried out.

    Raises:
        ConfigError: some of it cannot run, now and here.
    """
    found = outlook.make(entries, study)
    nodes = [each.node for each in found.to_run]
    here = [*misfit.kernels(found), *_disk(found, study), *requirements.errors(nodes)]
    _refuse([*_wrong(found, study), *scarce.held_out(nodes, study.store), *here])
    return found


def notes(found: Outlook) -> list[str]:
    """What is odd about a plan and harmless, and what it cannot be run with here."""
    return [*mismatch.notes([each.node for each in found.to_run], found.checkpoints), *misfit.kernels(found)]


def _wrong(found: Outlook, study: Study) -> list[str]:
    nodes = [each.node for each in found.to_run]
    return [
        *scarce.errors(nodes, study.store),
        *misfit.errors(found),
        *mismatch.errors(nodes, found.checkpoints),
        *access.errors(nodes),
    ]


def _disk(found: Outlook, study: Study) -> list[str]:
    """A store that cannot hold what this plan will put there, even if one job runs at a time."""
    projection, node = found.projection, found.projection.at[0]
    if projection.least <= projection.free or node is None:
        return []
    sizes = (projection.free, projection.least, projection.least - projection.running, projection.running)
    free, least, before, running = (decimal(round(size)) for size in sizes)
    return [
        f"store={study.store.root}: {free} are free there, but this needs {least}, one job at a time: {before} that is "
        f"published by then, and {running} while {full(node)} runs{_answers(node)}; plan --cost shows all. "
        "Name another store or fewer variants (only=[...]), or make room: gc shows what can go"
    ]


def _answers(node: Node) -> str:
    """How much an evaluation generates."""
    if node.stage != "evaluate":
        return ""
    k, tokens = node.config["k"], node.config["max_new_tokens"]
    return f" (evaluate.k={k} answers a problem, each a quarter of evaluate.max_new_tokens={tokens})"


def _refuse(messages: list[str]) -> None:
    if messages:
        raise ConfigError(messages)
