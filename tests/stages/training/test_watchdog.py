"""The watchdog: it ends what has gone quiet, and says where; what moves it leaves alone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from stages.contract import Resources
from stages.training.watchdog import Watchdog
from tests.stages.training import test_grpo

#: Seconds until it gives up, and in which a test gives up on it.
PATIENCE, LONG = 1, 30


def watchdog(folder: Path, said: list[str]) -> Watchdog:
    given = test_grpo.context(folder, {})
    return Watchdog(replace(given, resources=Resources(patience=PATIENCE), rank=3, abandon=said.append))


def test_what_goes_quiet_is_abandoned_with_what_it_did_last(tmp_path: Path) -> None:
    said: list[str] = []
    with watchdog(tmp_path, said) as dog:
        dog.beat("rollout")
        deadline = time.monotonic() + LONG
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(said) == 1
    assert said[0].startswith("rollout: nothing has moved on rank 3 for ")
    assert "patience: 1 s" in said[0]


def test_it_prints_the_stacks_of_all_threads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    with watchdog(tmp_path, said):
        deadline = time.monotonic() + LONG
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "test_it_prints_the_stacks_of_all_threads" in capfd.readouterr().err


def test_what_ends_in_time_is_left_alone(tmp_path: Path) -> None:
    said: list[str] = []
    with watchdog(tmp_path, said) as dog:
        dog.beat("training")
    time.sleep(1.5 * PATIENCE)
    assert said == []
