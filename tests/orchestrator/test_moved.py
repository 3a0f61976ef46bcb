"""A data set whose branch has moved since something was made of it: said, with how to keep the old commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import chains, config, experiment, moved, plan
from orchestrator.__main__ import main
from orchestrator.graph import Graph, Node
from orchestrator.sources import Sources
from stages import artifact
from stages.store import Store
from tests import hub as hubs
from tests.orchestrator.forecast.paper import model

#: A shape that takes no time to hash.
SMALL = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 64}

ROWS = '{"prompt": "1+1=", "completion": "2"}\n'


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hubs.Hub]:
    with hubs.serve(tmp_path / "server") as server:
        server.use(tmp_path / "home", monkeypatch)
        server.write("datasets/o/rows", {"train.jsonl": ROWS})
        yield server


def words(tmp_path: Path, *more: str) -> list[str]:
    for name in ("base", "sft"):
        if not (tmp_path / name).exists():
            (model(tmp_path / name, **SMALL) / "name.txt").write_text(name)
    models = [f"base={tmp_path}/base", f"checkpoint={tmp_path}/sft", "calibration=o/rows", "rejuvenate.rho=0.01"]
    few = ["attribute.samples=1", "attribute.targets_per_sample=1", "rejuvenate.alpha=0.5"]
    return ["+experiment=rejuvenate", *models, *few, f"store={tmp_path}/store", *more]


def planned(given: list[str], store: Path) -> Graph:
    composed = config.compose(given)
    return chains.expand(experiment.read(composed.config, composed.overrides), Sources(store))


def publish(node: Node, store: Path, **inputs: dict[str, Any]) -> None:
    """Publish an empty artifact of a node, with the record that a worker would leave."""
    draft = store / node.stage / ".draft"
    draft.mkdir(parents=True)
    given = {
        kind: {"hub": each.spec().hub, "revision": each.spec().revision, "reading": each.spec().reading}
        for kind, each in node.inputs.items()
    }
    record = {
        "fingerprint": node.fingerprint,
        "identity": node.identity,
        "label": node.label,
        "config": node.config,
        "inputs": {**given, **inputs},
        "summary": {},
    }
    artifact.publish(draft, Store(store).final(node.stage, node.label, node.fingerprint), record)


def test_a_branch_that_moved(server: hubs.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, store = words(tmp_path), tmp_path / "store"
    old = server.commit("datasets/o/rows")
    attribution = next(node for node in planned(given, store).nodes.values() if node.stage == "attribute")
    publish(attribution, store)
    assert main(["plan", "--json", *given]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []
    new = server.write("datasets/o/rows", {"train.jsonl": ROWS * 2})
    assert main(["plan", *given]) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert note == (
        f"note: calibration=o/rows: main has moved to {new[:10]}, and attribute/Rejuvenated was made of {old[:10]}, "
        f"so it is made again; ++calibration.revision={old} keeps the old one"
    )


def test_what_it_proposes_keeps_the_old_one(
    server: hubs.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = "calibration={hub:o/rows,fields:{prompt:'{{ prompt }}',completion:'{{ completion }}'}}"
    given = [word for word in words(tmp_path, data) if word != "calibration=o/rows"]
    old = server.commit("datasets/o/rows")
    attribution = next(node for node in planned(given, tmp_path / "store").nodes.values() if node.stage == "attribute")
    publish(attribution, tmp_path / "store")
    server.write("datasets/o/rows", {"train.jsonl": ROWS * 2})
    assert main(["plan", "--json", *given, f"++calibration.revision={old}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["notes"] == []
    assert next(node["state"] for node in found["nodes"] if node["stage"] == "attribute") == "done"


def test_what_was_made_otherwise_anyway_is_none_of_it(server: hubs.Hub, tmp_path: Path) -> None:
    given, store = words(tmp_path), tmp_path / "store"
    attribution = next(node for node in planned(given, store).nodes.values() if node.stage == "attribute")
    publish(attribution, store)
    server.write("datasets/o/rows", {"train.jsonl": ROWS * 2})
    other = planned([*given, "attribute.keep=0.2"], store)
    made = Store(store)
    assert moved.notes(plan.make(other, made), other, made) == []


def test_demonstrations_that_are_calibration_too_have_one_key(server: hubs.Hub, tmp_path: Path) -> None:
    base = words(tmp_path)[1]
    given = ["+experiment=evolm_math", base, "benchmark=[]", "only=[Rejuvenation]", f"store={tmp_path}/store"]
    given += ["demonstrations.hub=o/rows", "problems.hub=o/rows"]
    graph, store = planned(given, tmp_path / "store"), Store(tmp_path / "store")
    old = {"hub": "o/rows", "revision": "a" * 40}
    for node in list(graph.nodes.values()):
        if node.stage in ("sft", "attribute"):
            kind = "demonstrations" if node.stage == "sft" else "calibration"
            publish_other(node, store.root, kind, old)
    found = moved.notes(plan.make(graph, Store(store.root)), graph, Store(store.root))
    assert len(found) == 2 and all(note.startswith("demonstrations=o/rows: main has moved") for note in found)


def publish_other(node: Node, store: Path, kind: str, given: dict[str, Any]) -> None:
    """Publish what the same config has made of another commit."""
    source = node.inputs[kind]
    reading = source.spec().reading
    other = replace(source, content={**source.content, "commit": given["revision"]})  # type: ignore[type-var]
    publish(replace(node, inputs={**node.inputs, kind: other}), store, **{kind: {**given, "reading": reading}})
