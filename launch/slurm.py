"""Submitting to Slurm, through submitit: the only file that knows it.

submitit writes the script and calls sbatch. What the job then starts is our own command, not a pickled function: a head
that dies right after sbatch leaves a job that lacks nothing (see `launch.order`).
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch import boot, naming, options
from launch.job import Allocation
from launch.queue import PATIENCE, ending
from launch.snapshot import Snapshot
from stages import own

#: What sbatch says when there is no room for a job now, but will be: limits on how many jobs one may have queued.
_FULL = re.compile(r"MaxSubmit|job submit limit|job count limit", re.IGNORECASE)
#: What sbatch says when it did not reach the controller, or lost it, or munge; the job may have been accepted.
_SILENT = re.compile(
    r"Unable to contact slurm controller|(Socket|Connection) timed out|Connection (refused|reset)|Broken pipe"
    r"|No route to host|Network is unreachable|communication|Zero Bytes|not responding|standby mode"
    r"|Transport endpoint|temporarily una|try again|Message (send|receive) failure|authentication|munge"
    r"|job credential|Host is down|lookup fail|Unknown host|Name or service not known|Temporary failure"
    r"|configuration source|Unexpected message|Insane message|zero length message|message length|entire message",
    re.IGNORECASE,
)
#: What slurmctld says when it has decided (slurm_errno.c), and sbatch of options that it does not even send. All else
#: may mean anything: `Unspecified error` is also what is said when nobody has decided.
_DECIDED = re.compile(
    r"\binvalid\b|\bdenied\b|violates|specification|not (permitted|supported|available|allowed|a valid|found)"
    r"|can ?not be satisfied|No partition specified|not in this partition|More processors requested than permitted"
    r"|Requested (more tasks|time limit|reservation|account|operation|GRES|node configuration|partition)"
    r"|Memory required by task|Required (node|partition) not available|Requires more ports|Cannot request more"
    r"|Job dependency problem|Circular job dependency|submissions disabled|(required|specified), but not provided"
    r"|needs to be provided|too long|too (large|small)|Only batch jobs|Duplicate (job id|generic resource)"
    r"|Job script not specified|Environment is missing|Burst Buffer|constraints require|Not a valid|not configured"
    r"|Multiple partition job|exceed|unrecognized option|requires an argument|is ambiguous|Unable to (open|parse)"
    r"|Batch script (contains|is empty)|does not exist|No such file|must (be|specify|have)",
    re.IGNORECASE,
)
#: What comes before the reason why a job was not taken; warnings, and earlier tries of sbatch's own, are before it.
_LAST = re.compile(r".*(?:Batch job submission failed|allocation failure): ", re.IGNORECASE | re.DOTALL)
#: Seconds that sbatch gets: it tries again by itself for minutes, and a dead file system holds it for ever.
_PATIENCE = 600
#: The exit code of `timeout` for what it had to end.
_TIMED_OUT = 124
#: Variables of a job that must not reach the jobs that it submits; SLURM_CONF says where the controller is.
_INHERITED = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SUBMITIT_", "SALLOC_")
#: Options that the config may leave to the site, and so to its users' own defaults. sbatch heeds a variable more than
#: what the script says.
_DEFAULTS = ("partition", "account", "qos", "constraint")


class Refused(Exception):
    """Slurm does not take a job like this; in its own words."""


class Full(Exception):
    """Slurm takes no further job now."""


class Silent(Exception):
    """Slurm did not answer. Whether it has the job is not known before its queue is read."""


class Unclear(Silent):
    """Slurm, or sbatch, said something that decides nothing."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One call of sbatch.

    Attributes:
        folder: of the order; the script and what Slurm writes go there too.
        name: of the job, with the token in it.
        size: elements of the job array; 1 for a job that is none.
        ranks: processes on each machine.
        after: `sbatch --dependency`, None for a job that may start at once.
        code: what the job runs a copy of.
        grace: seconds before the time limit at which the job is told.
        segment: which one it is of the jobs that a stage takes one after the other.
        module: what the job runs.
    """

    folder: Path
    name: str
    size: int
    ranks: int
    after: str | None
    allocation: Allocation
    code: Snapshot
    grace: int
    segment: int = 0
    module: str = "launch.task"


def submit(given: Submission) -> str:
    """Hand a job to Slurm; returns its id.

    Raises:
        Refused, Full, Silent: it was not taken, or nobody knows.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        # submitit prints what sbatch says, which is told in a line by whoever called this.
        with _outside_of_slurm(given.allocation), own.alone(), redirect_stderr(io.StringIO()):
            job = _executor(given)._submit_command(_command(given))
    except FailedJobError as error:
        raise _meaning(_plain(str(error)), getattr(error.__cause__, "returncode", None)) from None
    except FailedSubmissionError as error:  # it ended well, and named no job
        raise Unclear(_plain(str(error))) from None
    except FileNotFoundError as error:
        raise Refused(f"{error.filename} is not there") from None
    except RuntimeError as error:  # no srun, no sbatch
        raise Refused(str(error)) from None
    return str(job.job_id)


def _meaning(words: str, code: int | None) -> Exception:
    """What it means that sbatch failed with these words."""
    if code == _TIMED_OUT:
        return Silent(f"sbatch gave no answer within {_PATIENCE} s")
    if code in (126, 127):
        return Refused(words or "sbatch cannot be started")
    if not words:
        return Unclear(f"sbatch ended with {ending(1 if code is None else code)}, and without a word")
    said = _LAST.sub("", words)
    if _FULL.search(words):
        return Full(words)
    if _SILENT.search(said):
        return Silent(words)
    return Refused(words) if _DECIDED.search(said) else Unclear(words)


def rehearse(given: Submission) -> str:
    """Ask Slurm whether it would take a job, and when that would start; nothing is submitted. Its own words.

    Raises:
        Refused: it would not, or it gave no answer.
    """
    try:
        with _outside_of_slurm(given.allocation):
            script = _executor(given)._make_submission_file_text(_command(given), "0")
            ask = ["sbatch", "--test-only"]
            done = subprocess.run(ask, input=script, capture_output=True, text=True, timeout=PATIENCE)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        raise Refused(str(error)) from None
    if done.returncode != 0:
        raise Refused(str(_meaning(_plain(done.stderr), done.returncode)))
    return _plain(done.stderr)


def _executor(given: Submission) -> Any:
    """submitit's writer of the script."""
    import submitit  # not for every plan: it takes 0.1 s

    class Executor(submitit.SlurmExecutor):  # type: ignore[misc]
        """As submitit's, but sbatch does not hold us for ever."""

        def _make_submission_command(self, submission_file_path: Path) -> list[str]:
            sbatch: list[str] = super()._make_submission_command(submission_file_path)
            return ["timeout", "--foreground", "--kill-after=10", str(_PATIENCE), *sbatch]

    said = _parameters(given)
    _check_lines([("folder", str(given.folder)), *said.items(), *said["additional_parameters"].items()])
    executor = Executor(folder=given.folder)
    executor.update_parameters(**said)
    if given.size > 1:
        executor.parameters["map_count"] = given.size
    return executor


def _check_lines(said: Iterable[tuple[str, object]]) -> None:
    """Refuse what would end its line of the script: what follows would be read as options, or as commands."""
    for name, value in said:
        if (found := naming.hidden(f"{name}{value}" if isinstance(value, str) else name)) is not None:
            raise Refused(f"{name!r}={value!r} has {found}, which no line of a script may have")


def _plain(words: str) -> str:
    """What sbatch says, without saying that it was sbatch."""
    return " ".join(words.split()).replace("sbatch: error: ", "").replace("sbatch: ", "")


def _parameters(given: Submission) -> dict[str, Any]:
    """The options of sbatch, as submitit names them. None is left to the site."""
    needs = given.allocation
    single = given.ranks * needs.nodes == 1
    said = {
        "job_name": given.name,
        "time": needs.time,
        "nodes": needs.nodes,
        "ntasks_per_node": given.ranks,
        "cpus_per_task": needs.cpus,
        "mem": None if needs.memory is None else f"{round(needs.memory * 1024)}M",
        "gres": needs.gres or (f"gpu:{needs.gpus}" if needs.gpus else None),
        "partition": needs.partition,
        "account": needs.account,
        "qos": needs.qos,
        "constraint": needs.constraint,
        "dependency": given.after,
        "array_parallelism": needs.at_once or given.size,
        "signal_delay_s": given.grace,
        "setup": _setup(given),
        "stderr_to_stdout": True,
        "wckey": None,
        "use_srun": not single,
        # In 22.05 and later a step does not inherit the cores per task of its job. Rank 0 publishes when the others
        # have ended, which may take minutes; a site's WaitTime would end it meanwhile.
        "srun_args": [f"--cpus-per-task={needs.cpus}", "--kill-on-bad-exit=1", "--wait=0"],
    }
    more: dict[str, object] = {"requeue": True, "kill_on_invalid_dep": "yes"}
    # Without a step the signal goes to the script, which the worker has replaced.
    more["signal"] = f"{'B:' if single else ''}USR2@{given.grace}"
    return {**said, "additional_parameters": {**more, **options.given(needs.sbatch)}}


def _command(given: Submission) -> str:
    start = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        Path(boot.__file__).read_text(),
        str(given.code.folder),
        given.code.digest,
    ]
    words = shlex.join([*start, given.module, str(given.folder), str(given.segment)])
    return words if given.ranks * given.allocation.nodes > 1 else f"exec {words}"


def _setup(given: Submission) -> list[str]:
    """What the script does first. The environment itself goes with the job, unwritten, as sbatch's default is."""
    root = given.code.folder
    named = [Path(each).resolve() for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    path = [str(each) for each in (root, *(_frozen(each, root) for each in named))]
    variables = {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(given.allocation.cpus),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def _frozen(folder: Path, root: Path) -> Path:
    """A folder of the project as the snapshot has it; any other as it is."""
    own = Path(__file__).resolve().parent.parent
    if folder.is_relative_to(own) and (root / folder.relative_to(own)).is_dir():
        return root / folder.relative_to(own)
    return folder


@contextmanager
def _outside_of_slurm(needs: Allocation) -> Iterator[None]:
    """Submit as if from outside of any job: its environment would bind the new job to its own resources."""
    kept = {"SLURM_CONF", *(f"SBATCH_{name.upper()}" for name in _DEFAULTS if getattr(needs, name) is None)}
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if _hides(name, kept)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _hides(name: str, kept: set[str]) -> bool:
    return name.startswith(_INHERITED) and name not in kept
