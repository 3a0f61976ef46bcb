"""What this Slurm can do, what degrades because of it, and which classes of resources it has no place for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launch import queue, slurm
from launch.job import Allocation, Cluster
from launch.queue import Unanswered
from launch.snapshot import Snapshot
from orchestrator.finding import Finding
from orchestrator.refusal import instead
from stages import contract

#: Commands that we call, and what is lacking without them; submitit looks for srun.
NEEDED = {
    "sbatch": "nothing can be submitted",
    "squeue": "nothing is known of jobs",
    "scancel": "nothing can be cancelled",
    "srun": "nothing can be submitted",
}
HELPFUL = {
    "scontrol": "jobs cannot requeue themselves at their time limit: the same command continues them",
    "sinfo": "partitions are not known here",
}
#: Seconds for which an ended job should stay in the queue, for everybody who looks to see how it ended.
LONG_ENOUGH = 30


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One group of equal machines of a partition, as sinfo shows it; `time` in minutes, None for no limit."""

    name: str
    default: bool
    up: bool
    time: float | None
    nodes: int
    cpus: int
    memory: int
    gpus: int
    gres: str


def findings(cluster: Cluster) -> Iterator[Finding]:
    """Everything about Slurm; nothing is submitted."""
    yield from _commands()
    up = _controller()
    yield up
    if up.fatal:
        return
    try:
        settings = queue.settings()
    except Unanswered as error:
        yield Finding(what="settings", value="unknown", means=f"what this Slurm allows is not known: {error}")
    else:
        yield from _settings(settings)
    try:
        partitions = read_partitions()
    except Unanswered as error:
        yield Finding(what="partitions", value="unknown", means=f"classes cannot be checked: {error}")
        return
    yield from _partitions(partitions)
    yield from _classes(cluster, partitions)


def _commands() -> Iterator[Finding]:
    lacks = {name: means for name, means in {**NEEDED, **HELPFUL}.items() if shutil.which(name) is None}
    if len(lacks) < len(NEEDED) + len(HELPFUL):
        yield _version()
    for name, means in lacks.items():
        yield Finding(what=name, value="not on the PATH", means=means, fatal=name in NEEDED)


def _version() -> Finding:
    try:
        return Finding(what="Slurm", value=queue.ask("sbatch", "--version").strip())
    except Unanswered as error:
        return Finding(what="Slurm", value="unknown", means=f"nothing can be submitted: {error}", fatal=True)


def _controller() -> Finding:
    try:
        words = " ".join(queue.ask("scontrol", "ping").split())
    except Unanswered as error:
        return Finding(what="slurmctld", value="no answer", means=f"nothing can be submitted: {error}", fatal=True)
    return Finding(what="slurmctld", value=words)


def _settings(given: Mapping[str, str]) -> Iterator[Finding]:
    """What slurm.conf means for us."""
    accounting = given.get("AccountingStorageType", "unknown")
    yield Finding(what="accounting", value=f"{accounting}; {_sacct()}; not needed, squeue is asked")
    mode = f"{given.get('PreemptMode', 'unknown')}, {given.get('PreemptType', 'unknown')}"
    cancels = "CANCEL" in mode.upper() or "SUSPEND" in mode.upper()
    means = "a preempted job is lost: the same command, or run --wait, submits it again, and it continues"
    yield Finding(what="preemption", value=mode, means=means if cancels else "")
    requeue = given.get("JobRequeue", "unknown")
    yield Finding(what="JobRequeue", value=f"{requeue}; every job asks for it itself")
    yield _min_job_age(given.get("MinJobAge", ""))
    size = _number(given.get("MaxArraySize", ""))
    means = f"siblings are submitted in groups of at most {max(1, size - 1)}" if 0 < size <= 100 else ""
    yield Finding(what="MaxArraySize", value=given.get("MaxArraySize", "unknown"), means=means)
    count = _number(given.get("MaxJobCount", ""))
    means = "a large study waits while it submits, until there is room" if 0 < count < 1000 else ""
    yield Finding(what="MaxJobCount", value=given.get("MaxJobCount", "unknown"), means=means)
    kills = "kill_invalid_depend" in given.get("DependencyParameters", "")
    yield Finding(
        what="kill_invalid_depend", value="for all jobs" if kills else "not set; every job asks for it itself"
    )
    hides = "jobs" in given.get("PrivateData", "").lower()
    means = "jobs of others cannot be seen: a node that somebody else has counts as running until it is published"
    yield Finding(what="PrivateData", value=given.get("PrivateData", "unknown"), means=means if hides else "")
    wait = _number(given.get("KillWait", ""))
    yield Finding(what="KillWait", value=given.get("KillWait", "unknown"), means=_kill_wait(wait))


def _sacct() -> str:
    try:
        words = queue.ask("sacct", "--noheader", "--allocations")
    except Unanswered as error:
        return f"sacct does not answer ({error})"
    return "sacct is disabled" if "disabled" in words else "sacct answers"


def _min_job_age(value: str) -> Finding:
    age = _number(value)
    short = 0 < age < LONG_ENOUGH
    means = "how a job ended (OUT_OF_MEMORY, TIMEOUT) is forgotten soon; it is then only known to be gone"
    return Finding(what="MinJobAge", value=value or "unknown", means=means if short else "")


def _kill_wait(seconds: int) -> str:
    return "a preempted job may have too little time to save; it continues from what it saved before" * (seconds < 10)


def read_partitions() -> list[Partition]:
    """What `sinfo` shows.

    Raises:
        Unanswered: it gave no answer.
    """
    lines = queue.ask("sinfo", "--noheader", "--format=%P|%a|%l|%D|%c|%m|%G").splitlines()
    return [_partition(*line.split("|")) for line in lines if line.count("|") == 6]


def _partition(name: str, up: str, *numbers: str) -> Partition:
    time, nodes, cpus, memory, gres = numbers
    return Partition(
        name=name.rstrip("*"),
        default=name.endswith("*"),
        up=up == "up",
        time=_minutes(time),
        nodes=_number(nodes),
        cpus=_number(cpus),
        memory=_number(memory),
        gpus=sum(int(count) for count in re.findall(r"gpu(?::[^:,(]+)?:(\d+)", gres)),
        gres=gres,
    )


def _partitions(partitions: list[Partition]) -> Iterator[Finding]:
    for each in partitions:
        star = " (the default)" if each.default else ""
        limit = "no time limit" if each.time is None else f"at most {each.time:.0f} min"
        machines = f"{each.nodes} x {each.cpus} cores, {each.memory / 1024:.1f} GB, {each.gpus} GPUs"
        down = "" if each.up else "it takes no jobs now"
        yield Finding(what=f"partition {each.name}{star}", value=f"{machines}, {limit}", means=down)
    gpus = sum(each.nodes * each.gpus for each in partitions)
    if not gpus:
        yield Finding(what="GPUs", value="0", means="no partition has any; classes with gpus cannot run here")


def _classes(cluster: Cluster, partitions: list[Partition]) -> Iterator[Finding]:
    """Each class of resources against its partition, and whether Slurm itself would take it."""
    used: dict[str, list[str]] = {}
    classes = {**cluster.classes, "default": cluster.default}
    for stage in contract.names():
        needs = cluster.needs(stage)
        name = next((name for name, each in classes.items() if each == needs), f"of {stage}")
        classes.setdefault(name, needs)
        used.setdefault(name, []).append(stage)
    for name, needs in classes.items():
        stages = ", ".join(used.get(name, []))
        value = f"{_spell(needs)}; " + (f"for {stages}" if stages else "no stage has it")
        ranks = max((needs.ranks(stage) for stage in used.get(name, [])), default=1)
        wrong = _misfit(needs, ranks, partitions) or _refusal(needs, ranks, cluster.grace)
        yield Finding(what=f"class {name}", value=value, means=wrong or "", fatal=bool(wrong and stages))


def _spell(needs: Allocation) -> str:
    parts = [
        f"{needs.nodes} machines" if needs.nodes > 1 else "",
        f"{needs.cpus} cores" + (" a process" if (needs.processes or needs.gpus) > 1 else ""),
        needs.gres or ("1 GPU" if needs.gpus == 1 else f"{needs.gpus} GPUs" if needs.gpus else ""),
        f"{needs.memory:g} GB" if needs.memory else "",
        f"{needs.time} min",
        f"partition {needs.partition}" if needs.partition else "",
    ]
    return ", ".join(filter(None, parts))


def _misfit(needs: Allocation, ranks: int, partitions: list[Partition]) -> str | None:
    """Why no machine of its partition suits a class; None if one does, or if that cannot be told."""
    names = list(dict.fromkeys(each.name for each in partitions))
    wanted = needs.partition.split(",") if needs.partition else [each.name for each in partitions if each.default]
    there = [each for each in partitions if each.name in wanted]
    if not wanted:
        return f"there is no default partition; set partition, one of {', '.join(names)}"
    if not there:
        return f"there is no partition {needs.partition}{instead(str(needs.partition), names)}"
    where = f"partition {', '.join(wanted)}"
    if not any(each.time is None or needs.time <= each.time for each in there):
        return (
            f"{where} allows {max(each.time or 0 for each in there):.0f} min; lower time, or choose another partition"
        )
    asked = {"cores": needs.cpus * ranks, "GPUs": 0 if needs.gres else needs.gpus, "GB": needs.memory or 0}
    machines = [{"cores": each.cpus, "GPUs": each.gpus, "GB": each.memory / 1024} for each in there]
    if any(all(each[what] >= asked[what] for what in asked) for each in machines):
        return None
    most = {what: max(each[what] for each in machines) for what in asked}
    over = [what for what in asked if asked[what] > most[what]]
    if not over:
        return f"no machine of {where} has all of it at once"
    return "; ".join(
        f"no machine of {where} has {asked[what]:g} {what}, the largest has {most[what]:.3g}" for what in over
    )


def _refusal(needs: Allocation, ranks: int, grace: int) -> str | None:
    """Slurm's own words if it would refuse a job of this class."""
    given = slurm.Submission(
        folder=Path("/tmp"),
        name="doctor",
        size=1,
        ranks=ranks,
        after=None,
        allocation=needs,
        code=Snapshot(folder=Path("/tmp"), digest=""),
        grace=grace,
    )
    try:
        slurm.rehearse(given)
    except slurm.Refused as error:
        return f"Slurm would refuse it: {error}"
    return None


def _minutes(text: str) -> float | None:
    """Minutes of `[days-][hours:]minutes:seconds` as sinfo writes it; None for `infinite`."""
    if not re.fullmatch(r"[\d:-]+", text):
        return None
    days, _, rest = text.rpartition("-")
    seconds = 0
    for part in rest.split(":"):
        seconds = 60 * seconds + int(part)
    return 24 * 60 * int(days or 0) + seconds / 60


def _number(text: str) -> int:
    """The number that a text begins with; 0 if with none."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
