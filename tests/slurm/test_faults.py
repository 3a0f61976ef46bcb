"""Fault rounds: whatever is killed, frozen or lost, the same command ends the study, and ran nothing twice.

A round is an empty store, a toy study, one fault at a moment drawn from a seed, the same command again until it says
that everything is done, and then the checks. FAULT_ROUNDS says how many rounds (`make test-faults`: 100), FAULT_SEED
which; a round that failed is repeated alone by its number, `-k round-17`, with the same two numbers.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from launch import queue
from stages import artifact
from tests.conftest import ROOT, TOYS
from tests.slurm.cluster import Cluster
from tests.slurm.configuration import NODES
from tests.slurm.conftest import become_client, running
from tests.slurm.processes import environment_of, started_at

# `slow`: not what a commit waits for.
pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROUNDS, SEED = int(os.environ.get("FAULT_ROUNDS", "10")), int(os.environ.get("FAULT_SEED", "0"))
#: An option of every command: how long an epoch takes.
SECONDS = "--seconds=0.15"
#: Seconds that a study may take after its fault; a lost node alone takes 18 until it is noticed.
PATIENCE = 150.0
#: Seconds that slurmctld is away.
OUTAGE = 20.0


@dataclass
class Round:
    """One round: its cluster, its store, its journal, and the moments that its seed draws."""

    cluster: Cluster
    folder: Path
    draw: random.Random
    heads: list[subprocess.Popen[bytes]] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def environment(self) -> dict[str, str]:
        """What makes toys of the stages, and marks every process of this round as its own."""
        return {**os.environ, "JOURNAL": str(self.journal), "PYTHONPATH": f"{TOYS}{os.pathsep}{ROOT}"}

    def say(self, what: str) -> None:
        """Remember what happened, for whoever reads the failure."""
        self.happened.append(f"{time.time():.3f} {what}")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The command: always the same study."""
        self.say(f"command {' '.join(arguments)}")
        with (self.folder / "heads.txt").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.slurm.head", str(self.store), "run", SECONDS, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        self.heads.append(process)
        return process

    def status(self) -> list[dict[str, Any]]:
        """What the command line says of each node."""
        command = [sys.executable, "-m", "tests.slurm.head", str(self.store), "status", SECONDS]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True)
        nodes: list[dict[str, Any]] = json.loads(done.stdout)["nodes"]
        return nodes

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code of a command that ends by itself."""
        code = process.wait(PATIENCE)
        self.say(f"exit code {code}")
        return code

    def until(self, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline, f"not so after {seconds:.0f} s"
            time.sleep(0.01)

    def pause(self, most: float) -> None:
        """A moment that the seed draws: the fault is somewhere in it."""
        time.sleep(self.draw.uniform(0, most))

    def until_orders(self, number: int, process: subprocess.Popen[bytes]) -> None:
        """Until a head is about to call sbatch for the n-th time, or has ended."""
        self.until(lambda: len(list(self.store.glob("jobs/*/order.json"))) >= number or process.poll() is not None)

    def until_journal(self, *words: str) -> list[str]:
        """Until a line with these words is in the journal; returns it in its parts."""
        found: list[list[str]] = []

        def has() -> bool:
            found[:] = [line.split() for line in self._lines() if all(word in line for word in words)]
            return bool(found)

        self.until(has)
        return found[0]

    def jobs(self, *states: str) -> list[str]:
        """Our jobs in these states (of squeue), all that are not over by default."""
        tokens = {folder.name for folder in self.store.glob("jobs/*")}
        found = [entry for entry in queue.read([self.cluster.user]).entries if entry.token in tokens]
        return [entry.id for entry in found if (entry.state in states if states else not entry.ended)]

    def processes(self) -> list[int]:
        """What is alive of this round: heads, calls of sbatch, workers."""
        mark = f"JOURNAL={self.journal}"
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if mark in environment_of(pid) and started_at(pid) is not None]

    def runs(self) -> dict[str, list[Run]]:
        """What the stages of each node really did."""
        found: dict[str, dict[str, Run]] = defaultdict(dict)
        exited = {}
        for line in self._lines():
            when, process, event, node = line.split()
            if event == "exit":
                exited[process] = float(when)
                continue
            run = found[node].setdefault(process, Run(float(when), float(when)))
            run.last = float(when)
            run.whole = run.whole or event == "end"
        for runs in found.values():
            for process, run in runs.items():
                run.whole = run.whole and process in exited
        return {node: list(runs.values()) for node, runs in found.items()}

    def _lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []


@dataclass
class Run:
    """One run of a node by one process, from its start to its last sign of life.

    `whole`: it came to the end of the stage, and its process to its own end; a run that was killed in between, or while
    publishing, is not, and has to be done again.
    """

    start: float
    last: float
    whole: bool = False


# The faults. Each starts the command, and does something to it or to the cluster.


def head_killed(round: Round) -> None:
    """kill -9 of the head, anywhere between its start and the last call of sbatch."""
    process = round.start()
    orders = round.draw.randrange(6)
    round.until_orders(orders, process) if orders else round.pause(1.5)
    round.pause(0.06)
    process.kill()
    round.say(f"killed, {orders} orders were written")
    process.wait()


def two_heads(round: Round) -> None:
    """The command twice, within 50 ms."""
    first = round.start()
    round.pause(0.05)
    second = round.start(*round.draw.choice([(), ("--wait",)]))
    assert round.end(first) == round.end(second) == 0


def controller_down(round: Round) -> None:
    """slurmctld is away in the middle of the submission, ended or killed; the head may be killed meanwhile."""
    process = round.start()
    round.until_orders(round.draw.randrange(1, 5), process)
    round.pause(0.05)
    how = round.draw.choice([signal.SIGTERM, signal.SIGKILL])
    round.cluster.stop_controller(how)
    away = time.monotonic() + OUTAGE
    round.say(f"slurmctld ended by {how.name}")
    if round.draw.random() < 0.5:
        round.pause(OUTAGE / 2)
        process.kill()
        round.say("head killed")
    time.sleep(max(0.0, away - time.monotonic()))
    round.cluster.start_controller()
    round.say("slurmctld is back")
    process.wait(PATIENCE)


def preempted_and_requeued(round: Round) -> None:
    """Jobs that run lose their nodes to others, and go back into the queue."""
    _preempt(round, "low")


def preempted_and_cancelled(round: Round) -> None:
    """Jobs that run lose their nodes to others, and are cancelled."""
    _preempt(round, "scavenge")


def _preempt(round: Round, partition: str) -> None:
    process = round.start(f"--partition={partition}", *round.draw.choice([(), ("--wait",)]))
    round.until_journal("start", round.draw.choice(["toy_base", "toy_train", "toy_probe"]))
    round.pause(0.3)
    rush = round.cluster.submit("--partition=high", "--nodes=3", "--exclusive", wrap="sleep 600")
    round.cluster.wait_for(rush, "RUNNING")
    round.say("preempted")
    round.pause(2.0)
    round.cluster.run("scancel", rush)
    round.end(process)


def node_lost(round: Round) -> None:
    """slurmd is killed where something runs: alone, or with everything on the machine. It comes back much later."""
    process = round.start(*round.draw.choice([(), ("--wait",)]))
    round.until_journal("start", "toy_train")
    entries = [each for each in queue.read([round.cluster.user]).entries if each.node and not each.ended]
    node = entries[0].node if entries else NODES[0]
    if round.draw.random() < 0.5:
        round.cluster.kill_node(node)
    else:
        round.cluster.kill_slurmd(node)
    round.say(f"{node} is lost")
    # What ran there may have been quick; then nothing waits for slurmctld to notice, which takes it up to a minute.
    round.until(lambda: round.cluster.node_state(node).startswith("down") or not round.jobs(), seconds=120)
    round.say(f"{node} is {round.cluster.node_state(node)}")
    round.end(process)


def killed_while_publishing(round: Round) -> None:
    """kill -9 of a worker, at a moment between the end of its stage and the removal of its folder."""
    process = round.start(*round.draw.choice([(), ("--wait",)]))
    stage = round.draw.choice(["toy_base", "toy_train", "toy_probe"])
    line = round.until_journal("end", stage)
    time.sleep(round.draw.uniform(0, 0.02))
    with suppress(ProcessLookupError):
        os.kill(int(line[1].partition(".")[0]), signal.SIGKILL)
    round.say(f"killed {line[1]}, which published {line[3]}")
    round.end(process)


def scancelled(round: Round) -> None:
    """Some jobs vanish under their dependents, by scancel: in the queue, or while they run."""
    process = round.start(*round.draw.choice([(), ("--wait",)]))
    round.until_orders(5, process)
    round.pause(4.0)
    jobs = round.jobs()
    gone = round.draw.sample(jobs, min(len(jobs), round.draw.randrange(1, 3)))
    if gone:
        round.cluster.run("scancel", "--quiet", *gone)
    round.say(f"cancelled {gone} of {jobs}")
    round.end(process)


def purged(round: Round) -> None:
    """A head is frozen for so long that what it submitted is over and forgotten when it goes on."""
    process = round.start()
    round.until_orders(round.draw.randrange(1, 5), process)
    round.pause(0.1)
    process.send_signal(signal.SIGSTOP)
    round.say("frozen")
    if round.draw.random() < 0.5:  # what it submitted is lost as well
        with suppress(AssertionError):
            round.until(lambda: bool(round.jobs()), seconds=1)
        round.cluster.run("scancel", "--quiet", *round.jobs()) if round.jobs() else None
        round.say("cancelled")
    frozen = time.monotonic() + round.draw.choice([3.0, 14.0])
    if round.draw.random() < 0.5:
        round.end(round.start())
    time.sleep(max(0.0, frozen - time.monotonic()))
    with suppress(AssertionError):
        round.until(lambda: not queue.read([round.cluster.user]).entries, seconds=14)
    process.send_signal(signal.SIGCONT)
    round.say("goes on")
    round.end(process)


#: In ten rounds every fault occurs.
FAULTS: list[Callable[[Round], None]] = [
    head_killed,
    two_heads,
    controller_down,
    preempted_and_requeued,
    preempted_and_cancelled,
    node_lost,
    killed_while_publishing,
    scancelled,
    purged,
    head_killed,
]


@pytest.fixture(scope="module")
def with_accounting() -> Iterator[Cluster]:
    with running() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Cluster]:
    """Without accounting; jobs are forgotten as soon as Slurm can, which is seconds after their end."""
    with running(accounting=False, min_job_age=2) as cluster:
        yield cluster


@pytest.mark.parametrize("number", range(ROUNDS), ids=lambda number: f"round-{number}-{FAULTS[number % 10].__name__}")
def test_a_round(number: int, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = FAULTS[number % len(FAULTS)]
    remembers = fault is not purged and (number // len(FAULTS) + number) % 2 == 0
    cluster: Cluster = request.getfixturevalue("with_accounting" if remembers else "forgetful")
    become_client(cluster, monkeypatch)
    cluster.settle()
    round = Round(cluster, tmp_path, random.Random(f"{SEED}-{number}"))
    try:
        fault(round)
        while round.end(round.start("--wait")) != 0:
            assert len(round.heads) < 8, "the same command does not end it"
        check(round)
    except BaseException:
        show(round, f"FAULT_SEED={SEED}, round {number}: {fault.__name__}")
        raise
    finally:
        for process in round.heads:
            process.kill()
            process.wait()


def check(round: Round) -> None:
    """Everything is there, whole, and made once; nothing of ours is left."""
    nodes = round.status()
    assert [node["state"] for node in nodes] == ["done"] * 9
    for node in nodes:
        assert_whole(Path(node["path"]))
    for node, runs in round.runs().items():
        assert sum(run.whole for run in runs) <= 1, f"{node} was done twice"
        runs.sort(key=lambda run: run.start)
        overlaps = [(one, next) for one, next in itertools.pairwise(runs) if next.start < one.last]
        assert not overlaps, f"{node} was run by two at once: {overlaps}"
    round.until(lambda: not round.jobs(), seconds=10)
    round.until(lambda: not round.processes(), seconds=5)
    left = [path for stage in ("toy_base", "toy_train", "toy_probe") for path in (round.store / stage).glob(".*")]
    assert left == []


def assert_whole(folder: Path) -> None:
    """An artifact is what its record says, to the byte, and nothing else is in it."""
    record = artifact.read(folder)
    assert record is not None
    for output in record["outputs"]:
        assert artifact.sha256(folder / output["path"]) == output["sha256"]
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    state = {name for name in there if name.startswith(f"{artifact.STATE}/")}
    assert there - state == {artifact.RECORD, *(output["path"] for output in record["outputs"])}


def show(round: Round, title: str) -> None:
    """What a person needs who wants to know why a round failed."""
    print(title, *round.happened, sep="\n")
    print((round.folder / "heads.txt").read_text(), "journal:", *round._lines(), sep="\n")
    with suppress(Exception):
        print(round.cluster.run("squeue", "--states=all", "--array", "--format=%i %T %r %j %E"))
    for log in sorted((round.store / "logs").glob("*/*")):
        print(f"{log}:\n{log.read_text()}")
