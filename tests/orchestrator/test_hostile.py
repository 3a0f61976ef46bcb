"""Every verb on a store in which somebody has planted more than fifty entries: it ends, and names what is spoilt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.__main__ import main
from orchestrator.document.figures import gallery
from tests.orchestrator.hostile import EXPERIMENT, Hostile


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    yield Hostile(tmp_path_factory.mktemp("hostile") / "store")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report has no figure but the graph: to draw them takes most of the time."""
    monkeypatch.setattr(gallery, "PAPER", {})
    monkeypatch.setattr(gallery, "OURS", {})


#: Verb and its flags -> the exit code.
VERBS = {
    "plan": 0,
    "plan --cost": 0,
    "why evaluate": 0,
    "status": 0,
    "status --json": 0,
    "logs NODE": 0,
    "inspect NODE": 0,
    "inspect NODE --html": 0,
    "inspect OverSFT.tiny_words": 1,
    "compare ModSFT OverSFT --html": 1,
    "cancel ModSFT.tiny_sums": 0,
    "gc": 0,
    "gc --delete": 1,
    "doctor": 0,
    "report": 0,
}


def _run(hostile: Hostile, words: str) -> int:
    verb, *others = words.replace("NODE", hostile.kept.label).split()
    about = [] if verb in ("gc", "doctor") else [EXPERIMENT, "wandb.mode=disabled"]
    return main([verb, *others, *about, f"store={hostile.store.root}"])


@pytest.mark.parametrize("words", VERBS)
def test_each_verb_ends_and_names_what_is_spoilt_once(
    hostile: Hostile, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile.memories()
    assert _run(hostile, words) == VERBS[words]
    out, err = capfd.readouterr()
    assert "Traceback" not in err and "\x1b" not in out + err
    spoilt = [line.split(": ")[1] for line in err.splitlines() if line.startswith("no valid record: ")]
    assert len(spoilt) == len(set(spoilt))
    told = hostile.told[words.split()[0]]
    assert told <= set(spoilt), told - set(spoilt)


def test_a_plan_has_every_other_node_as_before(hostile: Hostile, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(hostile, "plan --json") == 0
    states = {node["fingerprint"]: node["state"] for node in json.loads(capfd.readouterr().out)["nodes"]}
    assert all(states[node.fingerprint] == "done" for node in hostile.healthy)
    assert all(states[node.fingerprint] != "done" for node in hostile.spoilt)


def test_read_beside_a_store_of_ones_own_it_gives_its_healthy_nodes_alone(
    hostile: Hostile, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stores = [f"store={tmp_path}/ours", f"reads=[{hostile.store.root}]"]
    assert main(["plan", "--json", EXPERIMENT, "wandb.mode=disabled", *stores]) == 0
    out, err = capfd.readouterr()
    assert "Traceback" not in err and "\x1b" not in out + err
    nodes = {node["fingerprint"]: node for node in json.loads(out)["nodes"]}
    for node in hostile.healthy:
        assert nodes[node.fingerprint]["state"] == "done"
        assert nodes[node.fingerprint]["reason"].endswith(f"; in {hostile.store.root}")
    assert all(nodes[node.fingerprint]["state"] != "done" for node in hostile.spoilt)


def test_nothing_outside_the_store_is_changed(hostile: Hostile, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(hostile, "report") == 0
    for file in hostile.outside.rglob("*"):
        assert file.is_dir() or file.read_text() == "not the store's"
    assert len([file for file in hostile.outside.rglob("*") if file.is_file()]) == 6
    folder = hostile.store.reports("tiny_math")
    assert not any(file.is_symlink() for file in [folder / "table.md", folder / "tables", folder / "report.html"])
