"""The doctor: what this machine, this Slurm and this store can do, and what is worse because of what they cannot.

It changes nothing; `--probe` submits one job of a minute, waits for it and removes what it left.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from launch import claim, order, probe, provenance, queue, sharing, slurm, snapshot
from launch.job import Cluster
from launch.local import visible_gpus
from launch.queue import Unanswered
from orchestrator import requirements, slurm_findings, view, volume
from orchestrator.command import DONE, FAILED, Command, Site
from orchestrator.finding import Finding
from orchestrator.refusal import ConfigError
from stages import contract, own
from stages.own import NotOwn
from stages.store import Store

#: Seconds that a probe may wait in the queue and run, and between two looks at it.
PATIENCE, POLL = 300.0, 1.0


def verb(site: Site, command: Command) -> int:
    """Examine the site; with --probe, by a job on it as well."""
    remote = site.cluster.launcher == "slurm"
    if "--probe" in command.flags and not remote:
        raise ConfigError([f"--probe: a job of Slurm, but cluster.launcher={site.cluster.launcher}; add cluster=slurm"])
    with contextlib.suppress(OSError, NotOwn):  # what is wrong with the store is among what is found
        sharing.found(site.store.root, contract.names())
    found = list(examine(site))
    if "--probe" in command.flags and not any(finding.fatal for finding in found):
        found += ask_a_job(site.cluster, site.store)
    if command.as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in found]}))
    else:
        view.show_findings(found, view.console())
    return FAILED if any(finding.fatal for finding in found) else DONE


def examine(site: Site) -> list[Finding]:
    """Everything that can be seen from here."""
    remote = site.cluster.launcher == "slurm"
    found = list(slurm_findings.findings(site.cluster) if remote else _machine(site.cluster))
    found.append(_versions())
    found += volume.findings(site.store.root, remote)
    found += _shared(site.store)
    if remote:
        found.append(volume.file_system("Python's file system", Path(sys.prefix), remote))
    return found


def _machine(cluster: Cluster) -> Iterator[Finding]:
    """What this machine has, against what jobs ask for."""
    cores, gpus = len(os.sched_getaffinity(0)), len(visible_gpus())
    asked = [cluster.needs(stage) for stage in contract.names()]
    most = max(needs.cpus for needs in asked)
    means = f"a job asks for up to {most}; it runs alone, and slower" if most > cores else ""
    yield Finding(what="cores", value=str(cores), means=means)
    most = max(needs.gpus for needs in asked)
    means = f"a job asks for {most}, and would run without" if most > gpus else ""
    yield Finding(what="GPUs", value=str(gpus), means=means)
    versions = provenance.packages()
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield Finding(what="Python", value=f"{platform.python_version()}; {packages}")


def _versions() -> Finding:
    """Whether the packages that stages need are there, in versions that fit each other."""
    wrong = requirements.misfits(vllm=False)
    means = f"stages that need them are refused: {'; '.join(map(str, wrong))}" if wrong else ""
    return Finding(what="requirements", value="met" if not wrong else "not met", means=means)


def _shared(store: Store) -> Iterator[Finding]:
    """Whether members of the group can move each other's folders."""
    loose = own.loose(store.root) if store.root.is_dir() else None
    if loose is not None:
        yield Finding(what="shared store", value="not sticky", means=loose)


def ask_a_job(cluster: Cluster, store: Store) -> list[Finding]:
    """Submit a job of a minute, and compare what it sees with what is here."""
    sharing.join(store.root)
    token = claim.new_token()
    try:
        code, folder = snapshot.take(store.root), order.make(store.root, token)
    except (snapshot.Unfit, NotOwn) as error:
        return [Finding(what="probe", value="not submitted", means=str(error), fatal=True)]
    needs = replace(cluster.classes.get("cpu", cluster.default), time=1, nodes=1)
    try:
        given = slurm.Submission(
            folder=folder,
            name=f"probe~{token}",
            size=1,
            ranks=1,
            after=None,
            allocation=needs,
            code=code,
            grace=10,
            module="launch.probe",
        )
        job = slurm.submit(given)
    except (slurm.Refused, slurm.Full, slurm.Silent) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return [Finding(what="probe", value="not submitted", means=str(error), fatal=True)]
    try:
        return _compare(job, *_answer(job, folder), store)
    finally:
        queue.cancel([job])
        shutil.rmtree(folder, ignore_errors=True)


def _answer(job: str, folder: Path) -> tuple[dict[str, Any] | None, str]:
    """What the job wrote, if it did, and what became of it."""
    deadline = time.monotonic() + PATIENCE
    state = "UNKNOWN"
    while time.monotonic() < deadline:
        ended = False
        try:
            entry = next((each for each in queue.read([getpass.getuser()]).entries if each.id == job), None)
            ended = entry is None or entry.ended
            state = state if entry is None else f"{entry.state}" + (f" ({entry.reason})" if entry.waiting else "")
        except Unanswered as error:
            state = str(error)
        # Looked for after the queue: what a job writes at its end is there when the queue says that it ended.
        file = folder / probe.ANSWER
        if file.is_file():
            answer: dict[str, Any] = json.loads(file.read_text())
            return answer, state
        if ended:
            break
        time.sleep(POLL)
    written = "; ".join(" ".join(log.read_text(errors="replace").split())[-300:] for log in folder.glob("*_log.out"))
    return None, f"{state}; {written}" if written else state


def _compare(job: str, answer: dict[str, Any] | None, state: str, store: Store) -> list[Finding]:
    """What a job's answer says, or that there is none."""
    if answer is None and state.startswith("PENDING"):
        means = f"the job did not start within {PATIENCE:.0f} s; nothing is known of the machines"
        return [Finding(what=f"probe, job {job}", value=state, means=means)]
    if answer is None:
        means = f"it left no answer: its machine does not see {store.root}, or not {sys.prefix}, or may not write there"
        return [Finding(what=f"probe, job {job}", value=state, means=means, fatal=True)]
    lacks = "jobs cannot requeue themselves at their time limit: the same command continues them, or set segments"
    here = {"python": platform.python_version(), **provenance.packages()}
    there = {"python": answer["python"], **answer["packages"]}
    changed = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    differs = ", ".join(
        f"{name} {here.get(name, 'absent')} here, {there.get(name, 'absent')} there" for name in changed
    )
    return [
        Finding(what=f"probe, job {job}", value=f"ran on {answer['node'] or answer['host']}"),
        Finding(what="store from there", value="is seen, can be written, has hard links"),
        Finding(
            what="scontrol there", value=answer["scontrol"] or "is not there", means="" if answer["scontrol"] else lacks
        ),
        Finding(
            what="packages there",
            value=differs or "the same as here",
            means="jobs refuse to run with other versions than were submitted" if changed else "",
            fatal=bool(changed),
        ),
    ]
