"""The hub: what is downloaded, what is refused and in which words. The real client asks a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import hub, rows
from stages.contract import Input, StageError
from stages.hub import Repository
from tests import hub as hubs

#: A config of several splits, as of allenai/ai2_arc; only what is asked for is ever downloaded.
CARD = """---
configs:
- config_name: ARC-Challenge
  data_files: [{split: train, path: ARC-Challenge/train.jsonl}, {split: test, path: ARC-Challenge/test*}]
- config_name: ARC-Easy
  data_files: [{split: test, path: ARC-Easy/test.jsonl}]
---
"""
ROW = '{"question": "Which is a solid?", "choices": {"text": ["ice", "steam"]}, "answerKey": "A"}\n'
ARC = {
    "README.md": CARD,
    "ARC-Challenge/train.jsonl": ROW,
    "ARC-Challenge/test-1.jsonl": ROW * 2,
    "ARC-Challenge/test-2.jsonl": ROW * 3,
    "ARC-Easy/test.jsonl": "not even JSON",
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hubs.Hub]:
    with hubs.serve(tmp_path / "server") as server:
        server.use(tmp_path / "home", monkeypatch)
        yield server


def data(id: str, commit: str, config: str | None = None, split: str | None = None) -> Input:
    reading = {"config": config, "split": split, "fields": {"question": "{{ question }}"}}
    return Input(fingerprint="", path=None, hub=id, revision=commit, reading=reading)


def test_a_data_set_is_downloaded_no_further_than_the_split_needs(server: hubs.Hub) -> None:
    commit = server.write("datasets/o/arc", ARC)
    assert len(rows.load(data("o/arc", commit, "ARC-Challenge", "test"))) == 5
    assert sorted(server.downloads()) == ["ARC-Challenge/test-1.jsonl", "ARC-Challenge/test-2.jsonl", "README.md"]


def test_offline_the_rows_are_those_of_the_commit_not_of_the_last_one_seen(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = server.write("datasets/o/plain", {"test.jsonl": '{"question": "1+1"}\n'})
    second = server.write("datasets/o/plain", {"test.jsonl": '{"question": "2+2"}\n'})
    online = [rows.load(data("o/plain", commit)) for commit in (first, second)]
    server.use(tmp_path / "home", monkeypatch, offline=True)
    assert [rows.load(data("o/plain", commit)) for commit in (first, second)] == online
    assert online == [[{"question": "1+1"}], [{"question": "2+2"}]]
    assert server.asked == []


def test_offline_what_was_not_fetched_is_said(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = server.write("datasets/o/arc", ARC)
    rows.load(data("o/arc", commit, "ARC-Challenge", "train"))
    server.use(tmp_path / "home", monkeypatch, offline=True)
    with pytest.raises(hub.Unreachable) as caught:
        rows.load(data("o/arc", commit, "ARC-Challenge", "test"))
    assert "dataset o/arc" in str(caught.value) and "HF_HUB_OFFLINE is set" in str(caught.value)
    assert "python -m orchestrator fetch" in str(caught.value)


def test_a_commit_moves_with_the_files(server: hubs.Hub) -> None:
    asked = Repository(id="o/plain", kind="dataset", revision="main")
    first = server.write("datasets/o/plain", {"test.jsonl": "1"})
    assert hub.commit(asked) == first and hub.known_commit(asked) is None
    assert hub.keep_commit(asked) == first == hub.known_commit(asked)
    assert hub.commit(asked) == first != server.write("datasets/o/plain", {"test.jsonl": "2"}) == hub.commit(asked)


def test_a_model_is_its_config_its_tokenizer_and_its_weights_in_one_format(server: hubs.Hub) -> None:
    files = ["config.json", "merges.txt", "tokenizer.json", "model-00001-of-00001.safetensors"]
    others = ["pytorch_model.bin", "consolidated.safetensors", "original/tokenizer.json", "README.md", "logo.png"]
    commit = server.write("models/o/m", {name: name for name in files + others})
    folder = hub.model("o/m", commit)
    assert all((folder / name).read_text() == name for name in files)
    assert set(server.downloads()) == {*files, "README.md"}
    assert hub.model_files(["config.json", "pytorch_model.bin"]) == ["config.json", "pytorch_model.bin"]
    with pytest.raises(StageError, match=r"o/none at \w+: no checkpoint in it; expected config.json and"):
        hub.model("o/none", server.write("models/o/none", {"config.json": ""}))


@pytest.mark.parametrize(
    ("id", "revision", "message"),
    [
        ("o/gated", "main", "model o/gated: gated; accept its conditions at {url}/o/gated, then set HF_TOKEN"),
        ("o/none", "main", r"model o/none: not on the hub \({url}/o/none\), or private: then set HF_TOKEN"),
        ("o/open", "v9", "model o/open: no revision 'v9'; see {url}/o/open/commits/main"),
        ("no id at all", "main", "model no id at all: Repo id must"),
    ],
)
def test_what_the_hub_refuses_is_one_message(id: str, revision: str, message: str, server: hubs.Hub) -> None:
    server.write("models/o/open", {"config.json": "{}"})
    server.write("models/o/gated", {"config.json": "{}"})
    server.gated.add("o/gated")
    with pytest.raises(hub.Refused, match=message.replace("{url}", server.url)):
        hub.download(Repository(id=id, kind="model", revision=revision), ["config.json"])


def test_a_token_opens_what_is_gated(server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = server.write("datasets/o/gated", {"test.csv": 'question\n"a, b"\n'})
    server.gated.add("o/gated")
    with pytest.raises(hub.Refused, match=f"accept its conditions at {server.url}/datasets/o/gated"):
        rows.load(data("o/gated", commit))
    server.use(tmp_path / "home", monkeypatch, token="hf_of_somebody_else")
    with pytest.raises(hub.Refused, match="gated"):
        rows.load(data("o/gated", commit))
    server.use(tmp_path / "home", monkeypatch, token=hubs.TOKEN)
    assert rows.load(data("o/gated", commit)) == [{"question": "a, b"}]


@pytest.mark.parametrize(
    ("config", "split", "message"),
    [
        ("ARC-Hard", "test", "o/arc: config=ARC-Hard: allowed: ARC-Challenge, ARC-Easy"),
        ("ARC-Easy", "train", "o/arc: split=train: allowed: test"),
    ],
)
def test_what_a_data_set_does_not_have(config: str, split: str, message: str, server: hubs.Hub) -> None:
    with pytest.raises(StageError) as caught:
        rows.load(data("o/arc", server.write("datasets/o/arc", ARC), config, split))
    assert str(caught.value) == message


def test_a_hub_that_does_not_answer_is_unreachable(server: hubs.Hub) -> None:
    server.broken = 500
    with pytest.raises(hub.Unreachable) as caught:
        hub.commit(Repository(id="o/open", kind="model", revision="main"))
    assert caught.value.why == "the hub cannot be reached (it answers 500)"


def test_a_cache_that_cannot_be_written_is_no_refusal(server: hubs.Hub, tmp_path: Path) -> None:
    commit = server.write("models/o/open", {"config.json": "{}"})
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StageError, match="model o/open: cannot be kept in the local cache: .*Not a directory"):
        hub.download(Repository(id="o/open", kind="model", revision=commit), ["config.json"])


def test_what_describes_a_model_is_downloaded_once_and_without_its_weights(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = server.write("models/o/m", {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "weights"})
    asked = Repository(id="o/m", kind="model", revision=commit)
    folder = hub.described(asked)
    assert {name for name in hub.DESCRIBING if (folder / name).is_file()} == {"config.json", "tokenizer.json"}
    assert "model.safetensors" not in server.downloads()
    server.asked.clear()
    assert hub.described(asked) == folder and server.asked == []
    server.use(tmp_path / "home", monkeypatch, offline=True)
    assert hub.described(asked) == folder


def test_offline_a_config_alone_describes_a_model_and_nothing_does_not(
    server: hubs.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = server.write("models/o/m", {"config.json": "{}", "tokenizer.json": "{}"})
    asked = Repository(id="o/m", kind="model", revision=commit)
    hub.listing(asked)  # as `fetch` begins, and may be stopped
    server.use(tmp_path / "home", monkeypatch, offline=True)
    assert (hub.described(asked) / "config.json").is_file()
    with pytest.raises(hub.Unreachable):
        hub.described(Repository(id="o/m", kind="model", revision="0" * 40))


def test_a_model_that_nobody_may_read_does_not_describe_itself(server: hubs.Hub) -> None:
    commit = server.write("models/o/gated", {"config.json": "{}"})
    server.gated.add("o/gated")
    with pytest.raises(hub.Refused, match="model o/gated: gated; accept its conditions at"):
        hub.described(Repository(id="o/gated", kind="model", revision=commit))


def test_the_password_of_a_mirror_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://me:hunter2@mirror.example/hf")
    page = Repository(id="o/data", kind="dataset", revision="main").page
    assert page == "https://mirror.example/hf/datasets/o/data"
