"""Notices on the real cluster: the head has gone, and its jobs say what becomes of the study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch import webhook
from tests.launch.receiver import Receiver, receiving
from tests.slurm.cluster import Cluster
from tests.slurm.toy import Toy

pytestmark = pytest.mark.usefixtures("toys")

VARIANTS: dict[str, list[Any]] = {
    "Bad": [{"toy_train": {"epochs": 4, "limit": 1.0}}, {"toy_probe": {"digit": 0}}],
    "Good": [{"toy_train": {"epochs": 1, "rate": 3.0}}, {"toy_probe": {"digit": 0}}],
}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as found:
        monkeypatch.setenv(webhook.VARIABLE, found.url)
        yield found


def test_the_jobs_tell_the_first_failure_and_the_end(slurm: Cluster, tmp_path: Path, receiver: Receiver) -> None:
    toy = Toy(slurm, tmp_path / "store", VARIANTS)
    assert toy.run() == 0  # submitted; nobody waits
    toy.wait_until(lambda: sorted(receiver.events) == ["end", "failure"])
    first = next(message for message in receiver.messages if message["event"] == "failure")
    assert (first["node"], first["reason"]) == ("toy_train/Bad", "toy_train.limit=1.0: reached 24.0")
    end = next(message for message in receiver.messages if message["event"] == "end")
    assert (end["done"], end["failed"], end["blocked"], end["total"]) == (3, 1, 1, 5)
    written = [file for file in (tmp_path / "store").rglob("*") if file.is_file()]
    assert not [file for file in written if receiver.url.encode() in file.read_bytes()]


def test_a_head_that_waits_and_its_jobs_tell_it_once(slurm: Cluster, tmp_path: Path, receiver: Receiver) -> None:
    toy = Toy(slurm, tmp_path / "store", VARIANTS)
    assert toy.run("--wait") == 1
    assert sorted(receiver.events) == ["end", "failure"]
