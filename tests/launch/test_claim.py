"""Claims: of everybody who wants a node, one gets it."""

from __future__ import annotations

import errno
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch import claim as claims
from launch.claim import Claim


def mine(**more: object) -> Claim:
    return replace(Claim(token=claims.new_token(), launcher="slurm"), **more)  # type: ignore[arg-type]


def test_a_node_that_nobody_claimed_has_no_claim(tmp_path: Path) -> None:
    assert claims.read(tmp_path) is None
    assert not claims.holds(tmp_path, "0" * 12)


def test_the_first_claim_holds(tmp_path: Path) -> None:
    taken = claims.take(tmp_path, mine(), over=None)
    assert taken is not None and taken.number == 1
    assert claims.read(tmp_path) == taken
    assert claims.holds(tmp_path, taken.token)


def test_a_claim_is_taken_over_by_the_next_number(tmp_path: Path) -> None:
    dead = claims.take(tmp_path, mine(), over=None)
    assert dead is not None
    heir = claims.take(tmp_path, mine(), over=dead)
    assert heir is not None and heir.number == 2
    assert claims.take(tmp_path, mine(), over=dead) is None, "the heir was faster"
    assert not claims.holds(tmp_path, dead.token)


def test_what_a_dead_holder_writes_late_changes_nothing(tmp_path: Path) -> None:
    dead = claims.take(tmp_path, mine(), over=None)
    assert dead is not None
    heir = claims.take(tmp_path, mine(), over=dead)
    claims.update(tmp_path, replace(dead, job="7"))
    assert claims.read(tmp_path) == heir


def test_a_released_claim_is_no_claim(tmp_path: Path) -> None:
    taken = claims.take(tmp_path, mine(), over=None)
    assert taken is not None
    claims.release(tmp_path, taken)
    assert not claims.holds(tmp_path, taken.token)
    assert claims.take(tmp_path, mine(), over=claims.read(tmp_path)) is not None


def test_of_a_node_that_was_published_meanwhile_there_is_nothing_to_take(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert claims.take(gone, mine(), over=None) is None
    claims.update(gone, mine(number=1))
    assert not gone.exists()


def test_no_draft_is_left(tmp_path: Path) -> None:
    first = claims.take(tmp_path, mine(), over=None)
    claims.take(tmp_path, mine(), over=None)
    assert first is not None
    claims.update(tmp_path, first)
    assert [file.name for file in tmp_path.iterdir()] == ["claim-1.json"]


def test_age_is_since_the_last_touch(tmp_path: Path) -> None:
    taken = claims.take(tmp_path, mine(), over=None)
    assert taken is not None
    os.utime(tmp_path / "claim-1.json", (0, time.time() - 100))
    assert 99 < claims.age(tmp_path, taken) < 110
    claims.update(tmp_path, taken)
    assert claims.age(tmp_path, taken) < 5
    assert claims.age(tmp_path, replace(taken, number=2)) == float("inf")


def test_a_claim_that_was_cut_short_is_of_nobody_we_know(tmp_path: Path) -> None:
    """A power cut leaves empty files. It is waited for as long as for anybody, and taken over."""
    (tmp_path / "claim-1.json").write_text("")
    found = claims.read(tmp_path)
    assert found is not None and (found.number, found.here, found.user) == (1, False, "somebody")
    heir = claims.take(tmp_path, mine(), over=found)
    assert heir is not None and claims.read(tmp_path) == heir


def test_a_claim_of_a_later_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    taken = claims.take(tmp_path, mine(), over=None)
    assert taken is not None
    file = tmp_path / "claim-1.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "later": 1}))
    assert claims.read(tmp_path) == taken


def test_claims_work_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with ThreadPoolExecutor(8) as pool:
        won = [each for each in pool.map(lambda _: claims.take(tmp_path, mine(), None), range(32)) if each]
    assert len(won) == 1 and claims.read(tmp_path) == won[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(takers=st.integers(2, 16), rounds=st.integers(1, 4))
def test_of_many_concurrent_takers_exactly_one_wins(
    takers: int, rounds: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each round all of them try to take over what they all saw."""
    folder = tmp_path_factory.mktemp("node")
    with ThreadPoolExecutor(takers) as pool:
        for number in range(1, rounds + 1):
            seen = claims.read(folder)
            futures = [pool.submit(claims.take, folder, mine(), seen) for _ in range(takers)]
            taken = [found for future in futures if (found := future.result()) is not None]
            assert len(taken) == 1
            assert claims.read(folder) == taken[0]
            assert taken[0].number == number


def _try(folder: Path) -> str | None:
    taken = claims.take(folder, mine(), over=None)
    return taken and taken.token


def test_exactly_one_process_wins(tmp_path: Path) -> None:
    with get_context("spawn").Pool(4) as pool:
        won = [token for token in pool.map(_try, [tmp_path] * 64) if token]
    assert len(won) == 1
    assert claims.holds(tmp_path, won[0])


def _update(folder: Path, claim: Claim) -> None:
    for digits in range(300):
        claims.update(folder, replace(claim, job="7" * digits))


def test_readers_never_see_a_claim_half_written(tmp_path: Path) -> None:
    """The head and the worker of one job write the same claim at the same time."""
    taken = claims.take(tmp_path, mine(), over=None)
    assert taken is not None
    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(_update, tmp_path, taken) for _ in range(3)]
        while not all(writer.done() for writer in writers):
            found = claims.read(tmp_path)
            assert found is not None and found.token == taken.token
        assert [writer.exception() for writer in writers] == [None] * 3
