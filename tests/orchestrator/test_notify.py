"""Notifying from the head: what a study that runs here says of itself, to a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch import claim as claims
from launch import notice, webhook
from launch.claim import Claim
from orchestrator import carry_out, notify, plan, run
from orchestrator.__main__ import main
from orchestrator.command import Command, Study
from tests.conftest import study
from tests.launch.receiver import Receiver, receiving

pytestmark = pytest.mark.usefixtures("toys")

BAD: dict[str, list[Any]] = {
    "Bad": [{"toy_train": {"epochs": 4, "limit": 1.0}}, {"toy_probe": {"digit": 0}}],
    "Worse": [{"toy_train": {"epochs": 3, "limit": 1.0}}],
    "Good": [{"toy_train": {"epochs": 2}}],
}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as found:
        monkeypatch.setenv(webhook.VARIABLE, found.url)
        yield found


def act(store: Path, variants: dict[str, list[Any]] | None = None, **command: Any) -> int:
    """Run a toy study as the verb does."""
    return carry_out.verb(Study(*study(store, variants)), Command("run", None, frozenset(), ["seed=1"], **command))


def test_a_study_that_succeeds_says_so_once(tmp_path: Path, receiver: Receiver) -> None:
    assert act(tmp_path) == 0
    (message,) = receiver.messages
    assert message["text"].startswith("toy: ended; 5 of 5 done, 0 failed, 0 blocked, after ")
    assert message["command"] == "python -m orchestrator report seed=1"
    assert act(tmp_path) == 0
    assert len(receiver.messages) == 1  # nothing was run


def test_the_first_failure_and_the_end_each_time_that_it_is_run(tmp_path: Path, receiver: Receiver) -> None:
    for _ in range(2):
        assert act(tmp_path, BAD) == 1
        first, end = receiver.messages
        assert (first["event"], first["node"]) == ("failure", "toy_train/Worse")
        assert first["reason"] == "toy_train.limit=1.0: reached 12.0"
        assert first["command"] == "python -m orchestrator logs toy_train/Worse seed=1"
        assert (end["event"], end["done"], end["failed"], end["blocked"]) == ("end", 2, 1, 2)
        receiver.messages.clear()
    (folder,) = notice.folder_of(study(tmp_path, BAD)[2]).iterdir()  # that of the last time


def test_a_batch_of_a_search_is_no_study(tmp_path: Path, receiver: Receiver) -> None:
    assert act(tmp_path, shows=False) == 0
    assert receiver.messages == []


def test_an_interrupted_study_says_so(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: run.Run) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.Run, "carry_out", interrupt)
    with pytest.raises(KeyboardInterrupt):
        act(tmp_path)
    (message,) = receiver.messages
    assert message["text"].startswith("toy: ended (interrupted); 0 of 5 done")


def test_a_server_in_trouble_changes_nothing(
    tmp_path: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answers = [403]
    assert act(tmp_path) == 0
    assert capsys.readouterr().err == "REJUVENATION_WEBHOOK: not notified: the server answered 403\n"


def test_the_same_command_while_it_is_in_flight_has_the_same_notice(tmp_path: Path, receiver: Receiver) -> None:
    found = Study(*study(tmp_path))
    command = Command("run", None, frozenset(), ["seed=1"])
    notify.Head(found, plan.make(found.graph, found.store), command)
    (first,) = notice.folder_of(found.store).iterdir()
    node = next(iter(found.graph.nodes.values()))
    folder = found.store.job(node.stage, node.fingerprint)
    folder.mkdir(parents=True)
    claims.take(folder, Claim(token="0" * 12, launcher="local", host="elsewhere", pid=1), None)
    found.store.refresh()
    notify.Head(found, plan.make(found.graph, found.store), command)
    assert list(notice.folder_of(found.store).iterdir()) == [first]


@pytest.mark.parametrize("verb", ["run", "retry"])
def test_a_bad_url_is_refused_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setenv(webhook.VARIABLE, "hooks.example.com/services/SECRET")
    code = main([verb, "+experiment=smoke", f'store="{tmp_path}"'])
    shown = capsys.readouterr()
    if verb == "run":  # there is nothing to retry
        assert code == 2 and shown.err == (
            "error: REJUVENATION_WEBHOOK: has no scheme; allowed: http:// or https:// with a host\n"
        )
    assert "SECRET" not in shown.err + shown.out
    assert not list(tmp_path.glob("[!.]*/*"))
