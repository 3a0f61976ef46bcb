"""Submitting, with an sbatch and a queue of the test's own: how often it is called, and what an answer makes of it."""

from __future__ import annotations

import getpass
import shutil
from pathlib import Path
from typing import Any

import pytest

from launch import claim as claims
from launch import queue, slurm, snapshot
from launch.claim import Claim
from launch.queue import Entry, Queue, Unanswered
from launch.slurm import Refused, Silent, Submission, Unclear
from launch.snapshot import Snapshot
from orchestrator import handing, plan
from orchestrator.command import Study
from orchestrator.refusal import ConfigError
from orchestrator.submit import Submitted, Submitter
from tests.conftest import carry_out, study

pytestmark = pytest.mark.usefixtures("toys")

#: A base, so many trainings, and a probe of each.
MANY = 20
SWEEP: dict[str, list[Any]] = {
    f"V{number}": [{"toy_train": {"epochs": 2, "rate": number + 20.0}}, {"toy_probe": {"digit": 0}}]
    for number in range(MANY)
}
ON_SLURM = {"launcher": "slurm", "default": {}, "stages": {}}


class Site:
    """A Slurm that takes everything; `answers` are raised first, one for each call of sbatch."""

    def __init__(self, answers: list[Exception]) -> None:
        self.calls: list[Submission] = []
        self.answers = answers
        self.entries: list[Entry] = []
        self.deaf: list[Unanswered] = []
        self.hears_all = False

    def submit(self, given: Submission) -> str:
        self.calls.append(given)
        answer = self.answers.pop(0) if self.answers else None
        if answer is None or self.hears_all:
            self._queue(given)
        if answer is not None:
            raise answer
        return str(len(self.calls))

    def _queue(self, given: Submission) -> None:
        number, token = len(self.calls), given.name.rpartition("~")[2]
        for id in [f"{number}_{index}" for index in range(given.size)] if given.size > 1 else [str(number)]:
            self.entries.append(
                Entry(id=id, state="PENDING", reason="Priority", user=getpass.getuser(), node="", token=token)
            )

    def read(self, users: Any) -> Queue:
        if self.deaf:
            raise self.deaf.pop()
        return Queue(self.entries)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site([])
    monkeypatch.setattr(slurm, "submit", made.submit)
    monkeypatch.setattr(queue, "read", made.read)
    monkeypatch.setattr(queue, "settings", lambda: {"ClusterName": "alpha"})
    monkeypatch.setattr(queue, "cancel", lambda ids: None)
    code = Snapshot(folder=tmp_path, digest="")
    monkeypatch.setattr(snapshot, "take", lambda store, tell: code)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(handing, "wait_exponential", lambda **_: lambda state: 0)
    return made


def sweep(store: Path, variants: dict[str, list[Any]]) -> Study:
    store.mkdir(exist_ok=True)
    return Study(*study(store, variants, cluster=ON_SLURM))


def send(made: Study, told: list[str] | None = None) -> Submitted:
    made.store.refresh()
    tell = print if told is None else told.append
    entries = plan.make(made.graph, made.store)
    return Submitter(made.graph, made.store, made.cluster, tell).submit(entries)


def do(made: Study, *names: str) -> None:
    """Carry out the nodes of some names, as jobs that ended before everything was cancelled."""
    kept = {key: node for key, node in made.graph.nodes.items() if f"{node.stage}/{node.label}" in names}
    needed = {need.fingerprint: need for node in kept.values() for need in node.needs()}
    part = study(made.store.root)[1]
    part.nodes = {**needed, **kept}
    part.sort()
    carry_out(part, made.store)


@pytest.mark.parametrize(
    ("done", "calls"),
    [
        (0, [("toy_base", 1), ("toy_train", MANY), ("toy_probe", MANY)]),
        (1, [("toy_train", MANY - 1), ("toy_probe", 1), ("toy_probe", MANY - 1)]),
        (MANY // 2, [("toy_train", MANY // 2), ("toy_probe", MANY // 2), ("toy_probe", MANY // 2)]),
        (MANY - 1, [("toy_train", 1), ("toy_probe", MANY - 1), ("toy_probe", 1)]),
        (MANY, [("toy_probe", MANY)]),
    ],
)
def test_what_is_done_does_not_break_an_array(
    done: int, calls: list[tuple[str, int]], tmp_path: Path, site: Site
) -> None:
    made = sweep(tmp_path / "store", SWEEP)
    do(made, *(f"toy_train/V{number}" for number in range(done)))
    submitted = send(made)
    assert sorted((given.name.partition(" ")[0].partition("/")[0], given.size) for given in site.calls) == sorted(calls)
    assert submitted.calls == len(calls)
    assert submitted.nodes == sum(size for _, size in calls)


def test_after_everything_was_cancelled_it_goes_out_as_before(tmp_path: Path, site: Site) -> None:
    made = sweep(tmp_path / "store", SWEEP)
    assert send(made).calls == 3
    site.entries = [Entry(**{**vars(each), "state": "CANCELLED"}) for each in site.entries]
    assert send(made).calls == 3
    assert {given.size for given in site.calls} == {1, MANY}


def test_arrays_hang_together_element_by_element(tmp_path: Path, site: Site) -> None:
    made = sweep(tmp_path / "store", SWEEP)
    do(made, *(f"toy_train/V{number}" for number in range(5)))
    send(made)
    assert sorted(given.after or "" for given in site.calls) == ["", "", "aftercorr:1"]


def test_a_claim_names_its_cluster(tmp_path: Path, site: Site) -> None:
    made = sweep(tmp_path / "store", {"A": [{"toy_train": {"epochs": 1}}]})
    send(made)
    found = [claims.read(made.store.job(node.stage, node.fingerprint)) for node in made.graph.nodes.values()]
    assert [claim and (claim.cluster, claim.job) for claim in found] == [("alpha", "1"), ("alpha", "2")]


def one(store: Path) -> Study:
    """A study of which one node is left."""
    made = sweep(store, {"A": [{"toy_shell": {"command": "echo 1"}}]})
    do(made, "toy_base/base")
    made.store.refresh()
    return made


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("answer", [Silent("Socket timed out"), Unclear("sbatch ended with signal 9 (SIGKILL)")])
def test_what_nobody_knows_is_asked_again_and_submitted_once(
    answer: Exception, heard: bool, tmp_path: Path, site: Site
) -> None:
    site.answers, site.hears_all, site.deaf = [answer], heard, []
    told: list[str] = []
    submitted = send(one(tmp_path / "store"), told)
    assert len(site.entries) == submitted.nodes == 1
    assert submitted.calls == (1 if heard else 2)
    assert told[0] == f"Slurm: {answer}; trying again in 0 s"


def test_a_queue_that_does_not_answer_is_asked_until_it_does(tmp_path: Path, site: Site) -> None:
    made = one(tmp_path / "store")
    site.answers, site.hears_all = [Silent("Socket timed out")], True
    entries = plan.make(made.graph, made.store)
    site.deaf = [Unanswered("squeue: no route") for _ in range(3 * handing.TRIES)]
    told: list[str] = []
    submitted = Submitter(made.graph, made.store, made.cluster, told.append).submit(entries)
    assert (submitted.calls, submitted.nodes) == (1, 1)
    assert told.count("Slurm: squeue: no route; trying again in 0 s") == 3 * handing.TRIES


@pytest.mark.parametrize("kind", ["unclear", "refused", "silent"])
def test_how_long_it_is_asked(kind: str, tmp_path: Path, site: Site) -> None:
    """A refusal once; what says nothing a few times, while the queue answers; a controller that is away for ever."""
    answer = {
        "unclear": Unclear("Unspecified error"),
        "refused": Refused("Invalid qos"),
        "silent": Silent("Zero Bytes"),
    }
    site.answers = [answer[kind]] * (3 * handing.TRIES)
    made = one(tmp_path / "store")
    if kind == "silent":
        assert send(made).calls == 3 * handing.TRIES + 1
        return
    with pytest.raises(ConfigError) as caught:
        send(made)
    (message,) = caught.value.messages
    if kind == "refused":
        assert (message, len(site.calls)) == ("cluster.stages.toy_shell: Slurm refuses the job: Invalid qos", 1)
    else:
        said = f"Slurm did not take the job in {handing.TRIES} attempts, and its queue does not have it"
        assert message == f"cluster.stages.toy_shell: {said}; sbatch says: Unspecified error"
        assert len(site.calls) == handing.TRIES
    made.store.refresh()
    assert all(entry.claim is None or entry.claim.released for entry in plan.make(made.graph, made.store))


def test_what_waits_for_a_worker_outside_of_slurm_is_said(tmp_path: Path, site: Site) -> None:
    made = sweep(tmp_path / "store", {"A": [{"toy_train": {"epochs": 1}}]})
    base = next(iter(made.graph.nodes.values()))
    folder = made.store.job(base.stage, base.fingerprint)
    folder.mkdir(parents=True)
    claims.take(folder, Claim(token="b" * 12, launcher="local", user="bob", host="n7", boot="other", pid=1), None)
    told: list[str] = []
    assert send(made, told).nodes == 0
    assert told == ["toy_base/base: a worker of bob on n7 has it; what needs it is not submitted yet"]
