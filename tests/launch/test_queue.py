"""The queue as squeue shows it; of the real one see tests/slurm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launch import queue
from launch.claim import Claim
from launch.queue import Entry, Queue, Unanswered

TOKEN, OTHER = "a" * 12, "b" * 12


def entry(id: str, state: str, token: str | None = TOKEN) -> Entry:
    return Entry(id=id, state=state, reason="None", user="alice", node="", token=token)


def claim(**more: Any) -> Claim:
    return Claim(**{"token": TOKEN, "launcher": "slurm", "user": "alice", **more})


def test_a_job_is_found_by_the_token_in_its_name_before_its_id_is_known() -> None:
    found = Queue([entry("7", "PENDING")]).find(claim())
    assert found is not None and found.id == "7"


def test_a_job_that_was_given_the_same_id_later_is_another() -> None:
    assert Queue([entry("7", "RUNNING", OTHER)]).find(claim(job="7")) is None


def test_a_job_that_somebody_else_has_named_like_a_claim_is_not_its_job() -> None:
    seen = Queue([entry("7", "COMPLETED"), replace(entry("8", "PENDING"), user="eve")])
    found = seen.find(claim())
    assert found is not None and found.id == seen.last(claim()) == "7"


def test_elements_of_an_array_are_told_apart() -> None:
    seen = Queue([entry("7_0", "RUNNING"), entry("7_1", "PENDING")])
    found = [seen.find(claim(index=index)) for index in range(3)]
    assert [each and each.id for each in found] == ["7_0", "7_1", None]


@pytest.mark.parametrize(
    ("states", "counts"),
    [
        (["COMPLETED", "PENDING", "PENDING"], "8"),
        (["COMPLETED", "RUNNING", "PENDING"], "8"),
        (["COMPLETED", "FAILED", "PENDING"], "9"),
        (["COMPLETED", "COMPLETED", "FAILED"], "9"),
    ],
)
def test_of_several_segments_the_one_counts_that_is_furthest_from_its_end(states: list[str], counts: str) -> None:
    """Its dependents hang on the last."""
    seen = Queue([entry(str(7 + number), state) for number, state in enumerate(states)])
    found = seen.find(claim())
    assert found is not None
    assert found.state == states[int(counts) - 7]
    assert seen.last(claim()) == "9"


@pytest.mark.parametrize(
    ("id", "after", "stuck"),
    [
        ("12", "afterok:7(unfulfilled)", True),
        ("12", "afterok:9(unfulfilled),afterok:8_3(unfulfilled)", True),
        ("12", "afterok:8_2(unfulfilled)", False),
        ("12_3", "aftercorr:8_*(unfulfilled)", True),
        ("12_2", "aftercorr:8_*(unfulfilled)", False),
        ("12", "afterok:77(unfulfilled)", False),
        ("12", "", False),
    ],
)
def test_what_waits_for_a_job_that_slurm_holds_is_stuck(id: str, after: str, stuck: bool) -> None:
    held = [replace(entry(each, "PENDING"), reason="launch failed requeued held") for each in ("7", "8_3")]
    waits = replace(entry(id, "PENDING"), after=after)
    assert Queue([*held, entry("8_2", "PENDING"), waits]).stuck(waits) == stuck


def test_a_state_that_is_neither_over_nor_waiting_runs() -> None:
    for state in ("RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "STOPPED", "SIGNALING", "RESIZING", "NEW_IN_2030"):
        assert not entry("7", state).ended
        assert not entry("7", state).waiting


def test_a_command_that_fails_is_no_empty_queue() -> None:
    with pytest.raises(Unanswered, match="no-such-command is not on the PATH"):
        queue.ask("no-such-command")
    with pytest.raises(Unanswered, match="false: exit code 1"):
        queue.ask("false")


def test_to_cancel_nothing_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    queue.cancel([])


def test_a_name_with_lines_of_its_own_is_no_other_job(monkeypatch: pytest.MonkeyPatch) -> None:
    forged = f"9|RUNNING|None|bob|n1||x~{OTHER}"

    def squeue(*command: str) -> str:
        (form,) = (word.removeprefix("--format=") for word in command if word.startswith("--format="))
        mark = form.partition("|")[0]
        names = (f"x~{TOKEN}", f"y\n{forged}", f"y\u2028{forged}", f"y\x0b{forged}", f"y\r{forged}")
        return "".join(f"{mark}|{7 + n}|PENDING|None|alice|||{name}\n" for n, name in enumerate(names))

    monkeypatch.setattr(queue, "ask", squeue)
    found = queue.read(["alice", "bob"])
    assert [(each.id, each.user) for each in found.entries] == [(str(7 + n), "alice") for n in range(5)]
