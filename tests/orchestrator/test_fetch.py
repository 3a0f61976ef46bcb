"""Fetch: everything that a study needs of the hub, once, with a network; and then the study without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from orchestrator.__main__ import main
from tests import hub as hubs

ROOT = Path(__file__).parents[2]
CALIBRATION = '{"prompt": "1+1=", "completion": "2"}\n'
WEIGHTS, TRAINED = (save({"x": torch.tensor([value])}) for value in (0.0, 1.0))
CHECKPOINT: dict[str, str | bytes] = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": WEIGHTS}
GATED = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\nWhy?,a,b,c,d\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hubs.Hub]:
    """A hub with two models, an open data set and a gated one, whose conditions nobody has accepted yet."""
    with hubs.serve(tmp_path / "server") as server:
        server.write("models/o/base", {**CHECKPOINT, "original/weights.pth": "big"})
        server.write("models/o/sft", {**CHECKPOINT, "model.safetensors": TRAINED})
        server.write("datasets/o/open", {"train.jsonl": CALIBRATION})
        server.write("datasets/o/gated", {"test.csv": GATED})
        server.gated.add("o/gated")
        server.use(tmp_path / "home", monkeypatch)
        yield server


def words(store: Path, *more: str) -> list[str]:
    """A study that has all four."""
    return [
        "+experiment=rejuvenate",
        "base=o/base",
        "checkpoint=o/sft",
        "calibration=o/open",
        "benchmark=[gpqa]",
        "benchmark.gpqa.data.hub=o/gated",
        "benchmark.gpqa.data.split=test",
        "benchmark.gpqa.data.revision=main",
        "benchmark.gpqa.evaluate.problems=1",
        "+evaluate=tiny",
        f'store="{store}"',
        *more,
    ]


def fetched(capsys: pytest.CaptureFixture[str], store: Path, *more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and what became of each source."""
    code = main(["fetch", "--json", *words(store, *more)])
    sources = json.loads(capsys.readouterr().out)["sources"]
    return code, {source["name"]: source for source in sources}


def planned(capsys: pytest.CaptureFixture[str], store: Path) -> dict[str, Any]:
    assert main(["plan", "--json", *words(store)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    found["cost"]["disk"].pop("free")  # of a disk that others use
    return found


def test_what_cannot_be_had_stops_nothing_else_and_is_there_the_next_time(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = fetched(capsys, tmp_path)
    assert code == 1
    assert {name: source["state"] for name, source in found.items()} == {
        "o/base": "fetched",
        "o/sft": "fetched",
        "o/open": "fetched",
        "o/gated": "missing",
    }
    assert f"gated; accept its conditions at {server.url}/datasets/o/gated" in found["o/gated"]["why"]
    assert found["o/sft"]["bytes"] == len("{}" + "{}") + len(TRAINED)
    assert "original/weights.pth" not in server.downloads()
    server.use(tmp_path / "home", monkeypatch, token=hubs.TOKEN)
    code, found = fetched(capsys, tmp_path)
    assert code == 0 and server.downloads() == ["test.csv"]
    assert [source["state"] for source in found.values()] == ["there", "there", "there", "fetched"]


def test_afterwards_the_study_needs_no_network(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.gated.clear()
    online = planned(capsys, tmp_path)
    assert fetched(capsys, tmp_path)[0] == 0
    server.use(tmp_path / "home", monkeypatch, offline=True)
    assert planned(capsys, tmp_path) == online
    assert [source["unresolved"] for source in online["sources"]] == [None] * 4
    code, found = fetched(capsys, tmp_path)
    assert code == 0 and {source["state"] for source in found.values()} == {"there"}
    assert server.asked == []


def test_a_hub_that_is_away_is_asked_once_and_what_is_there_is_enough(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.gated.clear()
    assert fetched(capsys, tmp_path)[0] == 0
    server.broken = 503
    server.use(tmp_path / "home", monkeypatch)
    code, found = fetched(capsys, tmp_path)
    assert code == 0 and {source["state"] for source in found.values()} == {"there"}
    server.use(tmp_path / "another", monkeypatch)
    code, found = fetched(capsys, tmp_path)
    assert code == 1 and {source["state"] for source in found.values()} == {"missing"}
    assert "the hub cannot be reached (it answers 503), so its commit is unknown" in found["o/base"]["why"]


def test_a_branch_that_moved_is_another_source(
    server: hubs.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.gated.clear()
    before = {source["name"]: source["fingerprint"] for source in planned(capsys, tmp_path)["sources"]}
    server.write("datasets/o/open", {"train.jsonl": CALIBRATION * 2})
    after = {source["name"]: source["fingerprint"] for source in planned(capsys, tmp_path)["sources"]}
    assert [name for name in before if before[name] != after[name]] == ["o/open"]


def test_lines_for_people(server: hubs.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(CALIBRATION)
    assert main(["fetch", *words(tmp_path, f'calibration="{file}"')]) == 1
    base, sft, local, gated, counts = capsys.readouterr().out.splitlines()
    assert base == f"fetched model    o/base @{server.commit('models/o/base')[:10]}  {4 + len(WEIGHTS)} bytes"
    assert local == f"local   file     {file}"
    assert gated.startswith(f"missing dataset  o/gated gpqa_diamond/test @{server.commit('datasets/o/gated')[:10]}  ")
    assert counts == "1 local, 2 fetched, 1 missing"


def test_without_a_network_what_is_missing_is_said(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.use(tmp_path / "home", monkeypatch, offline=True)
    code, found = fetched(capsys, tmp_path, f"benchmark.gpqa.data.revision={'a' * 40}")
    assert code == 1 and {source["state"] for source in found.values()} == {"missing"}
    assert "HF_HUB_OFFLINE is set, so its commit is unknown" in found["o/base"]["why"]
    assert "not all of it is in the local cache, and HF_HUB_OFFLINE is set" in found["o/gated"]["why"]


def test_what_is_not_on_the_hub_is_refused_before_anything_is_fetched(
    server: hubs.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", *words(tmp_path, "base=o/none", "benchmark.gpqa.data.revision=v9")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert f"error: base=o/none: model o/none: not on the hub ({server.url}/o/none), or private" in errors[0]
    assert "error: benchmark.gpqa.data=o/gated: dataset o/gated: no revision 'v9'" in errors[1]
    assert server.downloads() == []


@pytest.mark.slow
def test_a_study_of_hub_models_runs_without_a_network(server: hubs.Hub, tmp_path: Path) -> None:
    from tests import tiny_models  # imports torch, which no other test here needs

    for name, folder in (
        ("base", tiny_models.base(tmp_path / "base", "qwen2")),
        ("sft", tiny_models.sft(tmp_path / "sft", tmp_path / "base", shard_size="60KB")),
    ):
        (server.root / f"models/o/{name}/model.safetensors").unlink()
        server.write(f"models/o/{name}", {file.name: file.read_bytes() for file in folder.iterdir()})
    rows = tiny_models.calibration(tmp_path / "rows.jsonl").read_text()
    server.write("datasets/o/open", {"train.jsonl": rows})
    few = ["rejuvenate.alpha=0.5", "rejuvenate.rho=0.02", "attribute.samples=3", "attribute.targets_per_sample=2"]
    study = words(tmp_path / "store", *few, "cluster=inline", "evaluate.max_new_tokens=4")

    def orchestrator(verb: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **server.environment(tmp_path / "home", **variables)}
        command = [sys.executable, "-m", "orchestrator", verb, *study]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)

    refused = orchestrator("run", HF_HUB_OFFLINE="1", HF_TOKEN="")
    assert (
        refused.returncode == 2
        and "so its commit is unknown; where there is a network, fetch notes it down" in refused.stderr
    )
    assert orchestrator("fetch", HF_HUB_OFFLINE="0", HF_TOKEN=hubs.TOKEN).returncode == 0
    server.asked.clear()
    done = orchestrator("run", HF_HUB_OFFLINE="1", HF_TOKEN="")
    assert done.returncode == 0, done.stderr
    assert "done evaluate/Rejuvenated.gpqa" in done.stdout
    assert server.asked == []
