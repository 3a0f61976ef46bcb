"""How a store grows by the paper's study of EvoLM-4B, in units of P = 4.0 GB."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.job import Allocation, Cluster
from orchestrator import chains, config, experiment, plan
from orchestrator.__main__ import main
from orchestrator.forecast import disk
from orchestrator.forecast.disk import Projection, Size
from orchestrator.graph import Graph, Node
from orchestrator.sources import Sources
from stages.store import Store
from tests.orchestrator.forecast.paper import EVOLM, P, study
from tests.orchestrator.forecast.test_shape import of


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def planned(tmp_path: Path, *overrides: str) -> tuple[Graph, Store]:
    composed = config.compose(study(tmp_path, *overrides))
    assert not composed.errors
    store = Store(tmp_path / "store")
    return chains.expand(experiment.read(composed.config, composed.overrides), Sources(store.root)), store


def sizes(graph: Graph) -> dict[str, Size]:
    found = {key: disk.of(node, of(EVOLM), "bfloat16", None) for key, node in graph.nodes.items()}
    return {key: size for key, size in found.items() if size is not None}


def projected(graph: Graph, store: Store, launcher: str = "inline", **needs: Any) -> Projection:
    cluster = Cluster(launcher=launcher, cpus=8, gpus=8, default=Allocation(**needs), stages={})
    return disk.project(plan.make(graph, store), graph, store, sizes(graph), cluster)


def in_parameters(size: float) -> float:
    return round(size / P, 3)


def named(graph: Graph, stage: str) -> list[Node]:
    return [node for node in graph.nodes.values() if node.stage == stage]


def test_every_stage(tmp_path: Path) -> None:
    graph, _ = planned(tmp_path, "only=[Rejuvenation+RL]")
    found = {node.stage: sizes(graph)[key] for key, node in graph.nodes.items()}
    # float32 weights and two moments, twice while it runs
    assert found["sft"] == Size(published=12 * P, state=8 * P, running=24 * P)
    assert found["grpo"] == Size(published=4 * P, running=24 * P)
    assert found["rejuvenate"] == Size(published=4 * P, running=4 * P)  # in the dtype of the checkpoint, SFT's
    # 64 samples, 16 targets of each, a tenth of 912,576 neurons
    kept = 12 * 64 * 16 * 91_258
    assert found["attribute"] == Size(published=kept, running=kept, exact=False)


def test_a_checkpoint_that_is_rejuvenated_as_it_is_keeps_its_dtype(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1+1=", "completion": "2"}\n')
    planned(tmp_path)
    given = [f"base={tmp_path}/base", f"checkpoint={tmp_path}/base", f"calibration={rows}"]
    composed = config.compose(["+experiment=rejuvenate", *given, "rejuvenate.rho=0.0", "rejuvenate.alpha=0.5"])
    graph = chains.expand(experiment.read(composed.config, composed.overrides), Sources(tmp_path))
    (node,) = named(graph, "rejuvenate")
    assert disk.of(node, of(EVOLM), "bfloat16", None) == Size(published=2 * P, running=2 * P)


def test_generations(tmp_path: Path) -> None:
    graph, _ = planned(tmp_path, "only=[ModSFT]", "benchmark=[math500]")
    (node,) = named(graph, "evaluate")
    text = 4 * 500 * 4 * 1024  # bytes a token, problems, samples, tokens
    assert disk.of(node, of(EVOLM), None, None) == Size(published=text, running=3 * text, exact=False, sure=text / 4)


def test_one_after_the_other(tmp_path: Path) -> None:
    # ModSFT leaves 12P, OverSFT needs 24P beside it and then frees 8P; in the end 4P + 12P
    graph, store = planned(tmp_path, "only=[ModSFT,OverSFT]")
    found = projected(graph, store)
    assert (in_parameters(found.published), in_parameters(found.least)) == (16, 36)
    assert found.at[0] is not None and found.at[0].config["epochs"] == 32


def test_side_by_side(tmp_path: Path) -> None:
    # ModSFT 24P; then OverSFT and the RL on ModSFT beside its 12P: 12P + 24P + 24P; then RL on OverSFT, 20P + 24P
    graph, store = planned(tmp_path, "only=[ModSFT+RL,OverSFT+RL]")
    found = projected(graph, store, "slurm")
    assert in_parameters(found.published) == 4 + 12 + 4 + 4
    assert (in_parameters(found.most), in_parameters(found.least)) == (60, 44)
    assert sorted(node.stage for node in found.at[1]) == ["grpo", "sft"]


def test_side_by_side_is_as_far_as_there_is_room(tmp_path: Path) -> None:
    graph, store = planned(tmp_path, "only=[ModSFT+RL,OverSFT+RL]")
    assert in_parameters(projected(graph, store, "local", gpus=8).most) == 44
    assert in_parameters(projected(graph, store, "local", gpus=4).most) == 60


def test_what_is_there_already_is_not_needed_again(tmp_path: Path) -> None:
    graph, store = planned(tmp_path, "only=[ModSFT]")
    (node,) = named(graph, "sft")
    work = store.job(node.stage, node.fingerprint) / "work"
    work.mkdir(parents=True)
    (work / "checkpoint").write_bytes(bytes(1000))
    found = projected(graph, Store(store.root))
    assert found.least == 24 * P - 1000 and found.published == 12 * P - 1000


def test_state_of_a_published_run_goes_when_a_longer_one_is_there(tmp_path: Path) -> None:
    graph, store = planned(tmp_path, "only=[ModSFT,OverSFT]")
    short, long = sorted(named(graph, "sft"), key=lambda node: node.config["epochs"])
    entries = plan.make(graph, store)
    folder = tmp_path / "published"
    (folder / "state").mkdir(parents=True)
    done = [entry for entry in entries if entry.node is not short]
    done.append(replace(next(e for e in entries if e.node is short), state="done", path=folder))
    cluster = Cluster(launcher="inline", default=Allocation(), stages={})
    found = disk.project(done, graph, store, sizes(graph), cluster)
    assert (in_parameters(found.least), in_parameters(found.published)) == (24, 12 - 8)
    (folder / "state").rmdir()
    assert in_parameters(disk.project(done, graph, store, sizes(graph), cluster).published) == 12


def test_what_is_not_known_is_counted_as_such(tmp_path: Path) -> None:
    graph, store = planned(tmp_path, "only=[ModSFT]")
    cluster = Cluster(launcher="inline", default=Allocation(), stages={})
    found = disk.project(plan.make(graph, store), graph, store, {}, cluster)
    assert (found.least, found.unknown) == (0, len(graph.nodes))


def test_the_volume_of_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    there, free = disk.free(tmp_path / "a" / "store")
    assert there == tmp_path and free > 0


def test_answers_that_fill_the_disk_are_marked_by_a_plan_and_refused_by_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["+experiment=tiny_math", "benchmark=[tiny_sums]", "only=[ModSFT]", f"store={tmp_path / 'store'}"]
    many = [*words, f"benchmark.tiny_sums.evaluate.k={10**12}"]
    assert main(["plan", *many]) == 0
    assert "; only " in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("disk: "))
    assert main(["run", *many]) == 2
    message = capsys.readouterr().err
    assert "evaluate/ModSFT.tiny_sums runs (evaluate.k=1000000000000 answers a problem, each a quarter of" in message
    assert not (tmp_path / "store").exists()
    assert main(["plan", *words]) == 0
    assert "; only " not in capsys.readouterr().out
