"""A data set that the hub does not give to us is refused before anything is spent on models for it to be asked of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.__main__ import main
from tests import hub as hubs
from tests.orchestrator.forecast.paper import EVOLM

GATED = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\nWhy?,a,b,c,d\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hubs.Hub]:
    """What the paper's study needs of the hub, GPQA gated, as it is."""
    with hubs.serve(tmp_path / "server") as server:
        server.write("models/o/base", {"config.json": json.dumps(EVOLM)})
        server.write("datasets/ZhentingNLP/mathaug-disjoint", {"train.jsonl": "{}"})
        server.write("datasets/Idavidrein/gpqa", {"gpqa_diamond.csv": GATED})
        server.gated.add("Idavidrein/gpqa")
        server.use(tmp_path / "home", monkeypatch)
        yield server


def words(tmp_path: Path, server: hubs.Hub, *more: str) -> list[str]:
    """A study of one variant and GPQA, pinned to a commit, as it is in conf/."""
    commit = f"benchmark.gpqa.data.revision={server.commit('datasets/Idavidrein/gpqa')}"
    study = ["+experiment=evolm_math", "only=[ModSFT]", "benchmark=[gpqa]", "base=o/base", commit]
    return [*study, f"store={tmp_path}/store", *more]


def errors(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(list(arguments)) == 2
    lines = capsys.readouterr().err.splitlines()
    return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]


def test_a_gated_benchmark_is_refused_with_what_to_do(
    server: hubs.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = (
        f"dataset Idavidrein/gpqa: gated; accept its conditions at {server.url}/datasets/Idavidrein/gpqa, then set "
        "HF_TOKEN or run `hf auth login`; or name the other benchmarks, benchmark=[...]"
    )
    assert errors(capsys, "plan", *words(tmp_path, server)) == [message]
    assert message in errors(capsys, "run", *words(tmp_path, server))
    asked = [path for _, path in server.asked if path.endswith("/Idavidrein/gpqa/auth-check")]
    assert len(asked) == 2  # once a command, for two nodes that need it


def test_a_data_set_that_is_not_there_is_refused_at_whatever_commit(
    server: hubs.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (message,) = errors(capsys, "plan", *words(tmp_path, server, "benchmark.gpqa.data.hub=o/gone"))
    assert message.startswith(f"dataset o/gone: not on the hub ({server.url}/datasets/o/gone), or private")


def test_who_has_access_plans(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.use(tmp_path / "home", monkeypatch, token=hubs.TOKEN)
    assert main(["plan", *words(tmp_path, server)]) == 0
    assert server.downloads() == ["config.json"]


def test_what_was_fetched_is_not_asked_for(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.use(tmp_path / "home", monkeypatch, token=hubs.TOKEN)
    main(["fetch", *words(tmp_path, server)])
    server.use(tmp_path / "home", monkeypatch)
    assert main(["plan", *words(tmp_path, server)]) == 0
    assert not [path for _, path in server.asked if path.endswith("gpqa/auth-check")]


def test_a_hub_that_does_not_answer_that_refuses_nothing(
    server: hubs.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan", *words(tmp_path, server)])  # the base's config is in the cache now
    server.broken = 503
    assert main(["plan", *words(tmp_path, server)]) == 0
