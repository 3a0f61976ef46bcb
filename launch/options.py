"""Options of sbatch that a cluster may set by itself: their names, and those that the product lives on.

A name may be written as sbatch has it, with `_` for `-`, as its letter, or as much of it as tells it apart.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Letter -> long name, as in sbatch(1).
LETTERS = {
    "a": "array",
    "A": "account",
    "b": "begin",
    "B": "extra-node-info",
    "c": "cpus-per-task",
    "C": "constraint",
    "d": "dependency",
    "D": "chdir",
    "e": "error",
    "F": "nodefile",
    "G": "gpus",
    "h": "help",
    "H": "hold",
    "i": "input",
    "I": "immediate",
    "J": "job-name",
    "k": "no-kill",
    "L": "licenses",
    "m": "distribution",
    "M": "clusters",
    "n": "ntasks",
    "N": "nodes",
    "o": "output",
    "O": "overcommit",
    "p": "partition",
    "q": "qos",
    "Q": "quiet",
    "s": "oversubscribe",
    "S": "core-spec",
    "t": "time",
    "v": "verbose",
    "V": "version",
    "w": "nodelist",
    "W": "wait",
    "x": "exclude",
}

_LONG = """
    acctg-freq batch bb bbf cluster-constraint comment container container-id contiguous cores-per-socket cpu-freq
    cpus-per-gpu deadline delay-boot exclusive export export-file extra get-user-env gid gpu-bind gpu-freq
    gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint ignore-pbs kill-on-invalid-dep mail-type
    mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-requeue ntasks-per-core
    ntasks-per-gpu ntasks-per-node ntasks-per-socket oom-kill-step open-mode parsable power prefer priority profile
    propagate reboot requeue resv-ports reservation resources segment share signal sockets-per-node spread-job
    stepmgr switches test-only thread-spec threads-per-core time-min tmp tres-bind tres-per-job tres-per-task uid
    usage use-min-nodes wait-all-nodes wckey wrap
"""

#: Every long name of sbatch(1), Slurm 25.05, and a few that older ones have.
KNOWN = frozenset([*LETTERS.values(), *_LONG.split()])

_NAMED = "the name of a job carries the token by which its head finds it"
_LOGS = "what a job prints is where `logs` looks for it"
_REQUEUED = "a job that is preempted, or near its time limit, is requeued and continues"
_ANSWER = "sbatch has to submit one job and to say its id, at once"

#: Long name -> why it is ours; values that say what is so anyway are in `_SAME`.
OURS = {
    "job-name": _NAMED,
    "array": "job arrays are made by the head; `at_once` limits how many elements run at the same time",
    "dependency": "what a job waits for is the graph's",
    "output": _LOGS,
    "error": _LOGS,
    "open-mode": _LOGS,
    "requeue": _REQUEUED,
    "no-requeue": _REQUEUED,
    "kill-on-invalid-dep": "a job that waits in vain has to go",
    "signal": "a job is told to save and stop `cluster.grace` seconds before its end",
    "nodes": "set `nodes` beside `sbatch`",
    "ntasks": "set `processes` beside `sbatch`",
    "ntasks-per-node": "set `processes` beside `sbatch`",
    "cpus-per-task": "set `cpus` beside `sbatch`",
    "clusters": "the head looks for its jobs in the queue of its own cluster",
    "export": "jobs need the environment of the head; ALL, or ALL and further variables",
    "export-file": "jobs need the environment of the head",
    **dict.fromkeys(("parsable", "quiet", "wait", "wrap", "test-only", "help", "usage", "version"), _ANSWER),
}

#: Option -> how it is written where it is set to what is so anyway.
_SAME = {"requeue": ("true", "1"), "kill-on-invalid-dep": ("yes", "true"), "open-mode": ("append", "a")}


def named(key: str) -> str:
    """The long name of an option, however it is written; as it is, with hyphens, if sbatch has none of this name."""
    if key in LETTERS:
        return LETTERS[key]
    name = key.lstrip("-_").replace("_", "-")
    begun = [known for known in KNOWN if known.startswith(name)] if name else []
    return begun[0] if name not in KNOWN and len(begun) == 1 else name


def reserved(key: str, value: object) -> str | None:
    """Why the config may not set this option to this value; None if it may."""
    name, text = named(key), str(value).lower()
    if name == "export" and str(value).split(",")[0] == "ALL":
        return None
    if value is False and name != "requeue":  # as if it were not there
        return None
    return None if text in _SAME.get(name, ()) else OURS.get(name)


def given(options: Mapping[str, object]) -> dict[str, object]:
    """Options by the names that submitit has for them, without those that are false: it would write `=False`."""
    names = {named(key): value for key, value in options.items() if value is not False}
    return {name.replace("-", "_"): value for name, value in names.items() if name not in _SAME}
