"""A real Slurm cluster on this machine: three nodes of eight pretend GPUs each, on loopback, in a folder of its own.

    with Cluster(folder) as cluster:
        cluster.run("sbatch", "--wait", "--wrap", "hostname")

Nothing is mocked: munged, MariaDB, slurmdbd, slurmctld and three slurmd run as plain processes, without systemd and
without cgroups. Clients find the cluster by SLURM_CONF alone, so several clusters can be up at once. A developer's own:

    python -m tests.slurm.cluster up DIR
    python -m tests.slurm.cluster down DIR
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import grp
import os
import pwd
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tests.slurm import configuration
from tests.slurm.configuration import GPUS, NODES
from tests.slurm.processes import command_of, end, environment_of, open_files, parent_of, started_at

LAB, USERS = "lab", ("alice", "bob")
# A Unix socket's path has at most 107 bytes; the longest below the folder is that of a step.
LONGEST_PATH = 107 - len("/spool/n1/n1_1234567.4294967291")
PACKAGES = "slurm-wlm slurmdbd mariadb-server munge"
PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db", "sbatch", "sacctmgr")
# The daemons are in sbin, which is not on every user's path.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


class SlurmError(RuntimeError):
    """A daemon did not come up, or a command failed."""


def reason_missing() -> str | None:
    """Why no cluster can run here, or None."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    return f"no {', '.join(missing)} here (Debian: apt-get install {PACKAGES})" if missing else None


def users() -> tuple[str, ...]:
    """The ordinary users alice and bob of the group lab, made when missing; none where we are not root."""
    if os.geteuid() != 0:
        return ()
    # Two clusters may start at once.
    with (Path(tempfile.gettempdir()) / "slurm-users.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make = [["groupadd", LAB]] if LAB not in {group.gr_name for group in grp.getgrall()} else []
        known = {entry.pw_name for entry in pwd.getpwall()}
        make += [["useradd", "--create-home", "--gid", LAB, user] for user in USERS if user not in known]
        for command in make:
            subprocess.run(command, env={"PATH": PATH}, check=True)
    return USERS


class Cluster:
    """One cluster in one folder; the options are the modes that real sites have.

    Partitions: `cpu` (the default), `gpu`, `short` (one minute at most), `low` (preempted jobs are requeued),
    `scavenge` (preempted jobs are cancelled) and `high` (preempts those two, as `cpu` and `gpu` do).
    """

    def __init__(self, folder: Path, *, accounting: bool = True, min_job_age: int = 300, private: bool = False) -> None:
        self.folder = folder.resolve()
        self.accounting = accounting
        self.min_job_age = min_job_age
        self.private = private
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.users: tuple[str, ...] = ()
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def conf(self) -> Path:
        """The slurm.conf that makes a client a client of this cluster."""
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {"SLURM_CONF": str(self.conf)}

    def run(self, *command: str, user: str | None = None) -> str:
        """What a client command prints, run as this or another user; a SlurmError if it fails."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}
        prefix = ("runuser", "-u", user, "--") if user else ()
        done = subprocess.run(
            [*prefix, *command], env={**plain, "PATH": PATH, **self.environment}, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise SlurmError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
        return done.stdout.strip()

    def submit(self, *options: str, wrap: str, user: str | None = None) -> str:
        """Submit a shell command as a job; its number. Its output is dropped unless the options say otherwise."""
        command = ("sbatch", "--parsable", "--chdir=/", "--output=/dev/null", *options, f"--wrap={wrap}")
        return self.run(*command, user=user)

    def state(self, job: str) -> str:
        """What squeue says of a job, finished ones included; UNKNOWN when it was purged."""
        try:
            return self.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T") or "UNKNOWN"
        except SlurmError as error:
            if "Invalid job id" not in str(error):
                raise
            return "UNKNOWN"

    def node_state(self, node: str) -> str:
        """What sinfo says of a node, such as idle, mixed, down or down*; the star: it does not answer."""
        return self.run("sinfo", "--noheader", f"--nodes={node}", "--partition=cpu", "--format=%T")

    def wait_for(self, job: str, *states: str, seconds: float = 60.0) -> None:
        """Poll until the job is in one of the states."""
        self.wait_until(lambda: self.state(job) in states, seconds)

    def wait_until(self, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Poll; a SlurmError with the queue and the nodes if it takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                now = "\n".join(self.run(*command) for command in (("squeue", "--states=all"), ("sinfo",)))
                raise SlurmError(f"not so after {seconds:.0f} s:\n{now}")
            time.sleep(0.1)

    def start(self) -> None:
        """An empty cluster with three idle nodes."""
        if (reason := reason_missing()) is not None:
            raise SlurmError(reason)
        if len(str(self.folder)) > LONGEST_PATH:
            raise SlurmError(f"{self.folder} is longer than {LONGEST_PATH} characters, too long for sockets in it")
        self._prepare()
        try:
            self._start_munge()
            if self.accounting:
                self._start_accounting()
            self.start_controller()
            for node in NODES:
                self._start_slurmd(node)
            for node in NODES:
                self._wait_for_node(node)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every daemon, every job step and every job process of this cluster."""
        for node in NODES:
            self._end(node, signal.SIGKILL)
        self._kill_jobs()
        for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._end(name)
        self._kill_jobs()

    def stop_controller(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop slurmctld; what it has saved stays. SIGKILL loses what it has not saved yet."""
        self._end("slurmctld", how)

    def start_controller(self) -> None:
        """Start slurmctld, with the jobs that it knew before."""
        self._spawn("slurmctld", "-D")
        self._wait("slurmctld", lambda: self._succeeds("scontrol", "ping"))

    def kill_node(self, node: str, *, noticed: bool = False) -> None:
        """The node loses its power: slurmd, the steps and all their processes are gone at once.

        slurmctld finds out after 15 s or more, unless the site's monitor tells it (noticed).
        """
        self._end(node, signal.SIGKILL)
        self._kill_jobs(node)
        if noticed:
            self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=no power")

    def kill_slurmd(self, node: str) -> None:
        """The node's slurmd is gone; what runs there runs on, and nobody hears of it."""
        self._end(node, signal.SIGKILL)

    def start_node(self, node: str, *, hidden: Path | None = None) -> None:
        """Start the node again, and wait until jobs can run on it. It sees nothing in the folder `hidden`."""
        self._start_slurmd(node, hidden)
        self._wait_for_node(node)

    def resume_nodes(self) -> None:
        """A node that could not start a job is drained: its prolog failed, or a job of that number ran there before."""
        for node in NODES:
            if self.node_state(node).startswith("drain"):
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def settle(self) -> None:
        """As it was when started: every daemon up, every job ended, every node at work."""
        if not self._alive("slurmctld"):
            self.start_controller()
        for node in NODES:
            if not self._alive(node):
                self._start_slurmd(node)
        if jobs := self.run("squeue", "--noheader", "--format=%A").split():
            self.run("scancel", "--quiet", *jobs)
        self._wait("slurmctld", lambda: not self.run("squeue", "--noheader"))
        self.resume_nodes()
        for node in NODES:
            self._wait_for_node(node)

    # Configuration

    def _prepare(self) -> None:
        self._clear()
        for name in ("run", "log", "state", "munge", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        # Ordinary users must reach slurm.conf, the munge socket and their jobs' scripts; not MariaDB, in run.
        for path in (self.folder, self.folder / "munge", *self.folder.glob("spool/**")):
            path.chmod(0o755)
        (self.folder / "run").chmod(0o700)
        self.users = users()
        gpus = self._make_gpus()
        dbd_port, *ports = free_ports(2 + len(NODES))
        text = configuration.slurm_conf(
            self.folder,
            self.user,
            ports,
            dbd_port=dbd_port if self.accounting else None,
            gpus=gpus,
            min_job_age=self.min_job_age,
            private=self.private,
        )
        write(self.conf, text, 0o644)
        if self.accounting:
            write(self.folder / "slurmdbd.conf", configuration.slurmdbd_conf(self.folder, self.user, dbd_port), 0o600)
        if gpus:
            write(self.folder / "gres.conf", configuration.gres_conf(self.folder), 0o644)

    def _clear(self) -> None:
        if not self.folder.exists() or not any(self.folder.iterdir()):
            return
        if not self.conf.exists():
            raise SlurmError(f"{self.folder} is neither empty nor a cluster's")
        if any(self._alive(path.stem) for path in (self.folder / "run").glob("*.pid")):
            raise SlurmError(f"a cluster is up in {self.folder}")
        shutil.rmtree(self.folder)

    def _make_gpus(self) -> bool:
        """Copies of /dev/null, which Slurm takes for GPUs; only root can make them."""
        if os.geteuid() != 0:
            return False
        (self.folder / "gpus").mkdir()
        for index in range(GPUS):
            os.mknod(self.folder / f"gpus/gpu{index}", 0o666 | stat.S_IFCHR, os.stat("/dev/null").st_rdev)
        return True

    # Daemons

    def _start_munge(self) -> None:
        key = self.folder / "munge/key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        (self.folder / "munge/private").mkdir(mode=0o700)
        files = {"key-file": key, "socket": self.folder / "munge/socket"}
        files |= {f"{name}-file": self.folder / f"munge/private/{name}" for name in ("pid", "log", "seed")}
        self._spawn("munged", "--foreground", *(f"--{name}={path}" for name, path in files.items()))
        self._wait("munged", files["socket"].exists)

    def _start_accounting(self) -> None:
        data = f"--datadir={self.folder}/database"
        small = (
            "--innodb-log-file-size=4M",
            "--innodb-buffer-pool-size=32M",
            "--innodb-flush-method=nosync",
            "--innodb-flush-log-at-trx-commit=0",
        )
        install = ("mariadb-install-db", "--no-defaults", data, f"--user={self.user}", *small)
        self.run(*install, "--auth-root-authentication-method=normal", "--skip-test-db")
        mysql = self.folder / "run/mysql.socket"
        options = ("--no-defaults", data, f"--user={self.user}", f"--socket={mysql}", "--skip-networking", *small)
        self._spawn("mariadbd", *options, "--skip-grant-tables", f"--pid-file={self.folder}/run/mariadbd.own")
        self._wait("mariadbd", mysql.exists)
        # slurmdbd has no option for the socket; the client library that it uses has this variable.
        self._spawn("slurmdbd", "-D", MYSQL_UNIX_PORT=str(mysql))
        self._wait("slurmdbd", lambda: self._succeeds("sacctmgr", "--noheader", "show", "cluster"))
        self._register()

    def _register(self) -> None:
        """The cluster, an account with every user in it, and the quality of service `tight`."""
        add = ("sacctmgr", "--immediate", "--quiet", "add")
        self.run(*add, "cluster", "toy")
        self.run(*add, "qos", "tight", "MaxSubmitJobsPerUser=3")
        self.run(*add, "account", LAB, "QOS=normal,tight")
        everyone = ",".join(sorted({self.user, *self.users}))
        self.run(*add, "user", everyone, f"Account={LAB}", f"DefaultAccount={LAB}")
        # Slurm makes root a user of an account `root`, by default.
        self.run("sacctmgr", "--immediate", "--quiet", "modify", "user", self.user, "set", f"DefaultAccount={LAB}")

    def _start_slurmd(self, node: str, hidden: Path | None = None) -> None:
        # -b: the node was rebooted. Without it, jobs that died with the node run on for slurmctld, for a minute.
        options = ("-D", "-b", "-N", node)
        if hidden is None:
            self._spawn(node, *options, program="slurmd")
            return
        mount = f'mount -t tmpfs nothing "{hidden}" && exec slurmd "$@"'
        self._spawn(node, "--mount", "sh", "-c", mount, "sh", *options, program="unshare")

    def _wait_for_node(self, node: str) -> None:
        # Not idle alone: after a restart of the controller sinfo may call an empty node mixed for half a minute.
        self._wait(node, lambda: self.node_state(node) in ("idle", "mixed", "allocated", "completing"))

    def _spawn(self, name: str, *arguments: str, program: str | None = None, **environment: str) -> None:
        """Start a daemon in the foreground of its own session, with a pid file and a log of ours."""
        plain = {"PATH": PATH, "LANG": "C.UTF-8", **self.environment, **environment}
        path = shutil.which(program or name, path=PATH)
        assert path is not None
        with (self.folder / f"log/{name}.out").open("ab") as log:
            daemon = subprocess.Popen(
                [path, *arguments],
                env=plain,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started[name] = daemon
        (self.folder / f"run/{name}.pid").write_text(f"{daemon.pid} {started_at(daemon.pid)}")

    def _wait(self, name: str, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Poll until ready; say what the daemon wrote last if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            ended = not self._alive(name)
            if ended or time.monotonic() > deadline:
                what = "ended" if ended else f"was not ready after {seconds:.0f} s"
                raise SlurmError(f"{name} {what}; its last words:\n{self._last_words(name)}")
            time.sleep(0.05)

    def _last_words(self, name: str, lines: int = 15) -> str:
        logs = [self.folder / f"log/{name}.log", self.folder / f"log/{name}.out", self.folder / "munge/private/log"]
        for log in logs[: 3 if name == "munged" else 2]:
            if log.exists() and (text := log.read_text(errors="replace").strip()):
                return "\n".join(text.splitlines()[-lines:])
        return "(it wrote none)"

    def _succeeds(self, *command: str) -> bool:
        with contextlib.suppress(SlurmError):
            self.run(*command)
            return True
        return False

    # Processes

    def _pid(self, name: str) -> int | None:
        """The daemon's process, if it runs: a pid file may outlive it, and the number may be another's by now."""
        with contextlib.suppress(FileNotFoundError):
            pid, when = (int(word) for word in (self.folder / f"run/{name}.pid").read_text().split())
            if started_at(pid) == when:
                return pid
        return None

    def _alive(self, name: str) -> bool:
        return self._pid(name) is not None

    def _end(self, name: str, how: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> None:
        """Signal a daemon and wait until it is gone; one that ignores the signal is killed."""
        pid = self._pid(name)
        if pid is not None:
            end(pid, how, seconds)
        if (started := self._started.pop(name, None)) is not None:
            started.wait()
        (self.folder / f"run/{name}.pid").unlink(missing_ok=True)

    def _kill_jobs(self, node: str | None = None) -> None:
        """Kill the steps and the job processes, of one node or of all; a dying step may have started more."""
        while pids := self._job_processes([node] if node else NODES):
            # All at once: a step that outlives its task reports the task as failed.
            for how in (signal.SIGSTOP, signal.SIGKILL):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, how)
            while any(started_at(pid) for pid in pids):
                time.sleep(0.02)

    def _job_processes(self, nodes: Sequence[str]) -> set[int]:
        """Steps, which write their node's log; what they started; and what the environment gives away as theirs.

        The last finds processes that left their parent, and takes both variables: a developer's shell has the first.
        """
        logs = {str(self.folder / f"log/{node}.log") for node in nodes}
        marks = [{f"SLURM_CONF={self.conf}", f"SLURMD_NODENAME={node}"} for node in nodes]
        pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        parents = {pid: parent_of(pid) for pid in pids}
        found = {
            pid
            for pid in pids
            if (command_of(pid).startswith("slurm") and logs & open_files(pid))
            or any(mark <= set(environment_of(pid)) for mark in marks)
        }
        while children := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= children
        return {pid for pid in found if started_at(pid)}


def write(path: Path, text: str, mode: int) -> None:
    """Write a file that has this mode."""
    path.touch(mode)
    path.chmod(mode)
    path.write_text(text)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, below those that the kernel hands to outgoing connections."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                port = random.SystemRandom().randrange(10_000, 30_000)
                probe.bind(("127.0.0.1", port))
                found.append(port)
    return found


def main(arguments: list[str] | None = None) -> int:
    """The developer's cluster: `up DIR` leaves one running, `down DIR` ends it."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.cluster", description=main.__doc__)
    parser.add_argument("verb", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-accounting", action="store_true", help="without slurmdbd and MariaDB: sacct is disabled")
    parser.add_argument("--min-job-age", type=int, default=300, help="seconds that a finished job stays in squeue")
    parser.add_argument("--private", action="store_true", help="users see their own jobs only")
    chosen = parser.parse_args(arguments)
    cluster = Cluster(
        chosen.folder,
        accounting=not chosen.no_accounting,
        min_job_age=chosen.min_job_age,
        private=chosen.private,
    )
    if chosen.verb == "down":
        cluster.stop()
        return 0
    try:
        cluster.start()
    except SlurmError as error:
        print(error, file=sys.stderr)
        return 1
    if not cluster.users:
        print("not root: no GPUs, no other users", file=sys.stderr)
    print(f"export SLURM_CONF={cluster.conf}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
