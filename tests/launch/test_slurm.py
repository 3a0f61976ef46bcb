"""What it means that sbatch fails: Slurm has decided, has no room, or nobody knows. Of the real one see tests/slurm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launch import slurm
from launch.job import Allocation
from launch.slurm import Full, Refused, Silent, Submission, Unclear
from launch.snapshot import Snapshot

#: What a job would run, if one came so far.
CODE = Snapshot(folder=Path("/"), digest="")
FAILED = "sbatch: error: Batch job submission failed: "


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for an sbatch that is ours alone, and an srun."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "srun").write_text("#!/bin/sh\n")
    (place / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    return place / "sbatch"


def submit(sbatch: Path, script: str) -> str:
    sbatch.write_text(f"#!/bin/sh\n{script}\n")
    sbatch.chmod(0o755)
    given = Submission(
        folder=sbatch.parent, name="x~1", size=1, ranks=1, after=None, allocation=Allocation(), code=CODE, grace=1
    )
    return slurm.submit(given)


@pytest.mark.parametrize(
    ("words", "means"),
    [
        # Slurm has decided.
        ("sbatch: error: invalid partition specified: x\n" + FAILED + "Invalid partition name specified", Refused),
        (FAILED + "Invalid account or account/partition combination specified", Refused),
        (FAILED + "Invalid qos specification", Refused),
        (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", Refused),
        (FAILED + "Requested node configuration is not available", Refused),
        (FAILED + "Node count specification invalid", Refused),
        (FAILED + "Memory required by task is not available", Refused),
        (FAILED + "More processors requested than permitted", Refused),
        (FAILED + "Invalid generic resource (gres) specification", Refused),
        (FAILED + "Access/permission denied", Refused),
        (FAILED + "User's group not permitted to use this partition", Refused),
        (FAILED + "Job dependency problem", Refused),
        (FAILED + "System submissions disabled", Refused),
        (FAILED + "Time limit specification required, but not provided", Refused),
        ("sbatch: unrecognized option '--parition=x'\nTry \"sbatch --help\" for more information", Refused),
        ("sbatch: error: Memory specification can not be satisfied", Refused),
        # There is no room.
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + FAILED + "Job violates accounting/QOS policy (job submit "
         "limit, user's size and/or time limits)", Full),
        # Nobody knows: it did not reach the controller, or lost it.
        (FAILED + "Unable to contact slurm controller (connect failure)", Silent),
        (FAILED + "Socket timed out on send/recv operation", Silent),
        (FAILED + "Zero Bytes were transmitted or received", Silent),
        (FAILED + "Transport endpoint is not connected", Silent),
        (FAILED + "Connection reset by peer", Silent),
        (FAILED + "Slurm temporarily unable to accept job, sleeping and retrying", Silent),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", Silent),
        (FAILED + "Resource temporarily unavailable", Silent),
        (FAILED + "Unable to create job record, try again", Silent),
        ("sbatch: error: If munged is up, restart with --num-threads=10\nsbatch: error: Munge encode failed: Failed to "
         "access \"/run/munge/munge.socket.2\": No such file or directory\n" + FAILED + "Invalid authentication "
         "credential", Silent),
        (FAILED + "Protocol authentication error", Silent),
        (FAILED + "Slurm backup controller in standby mode", Silent),
        ("sbatch: error: Unable to resolve \"slurmctld\": Host name lookup failure", Silent),
        # Nobody knows what it means.
        (FAILED + "Unspecified error", Unclear),
        ("sbatch: error: You name no project\n" + FAILED + "Unspecified error", Unclear),
        (FAILED + "Slurm internal error, contact system administrator", Unclear),
        (FAILED + "I/O error writing script/environment to file", Unclear),
        (FAILED + "Unknown error 9999", Unclear),
        # What sbatch tried before it had its answer decides nothing.
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n" + FAILED + "Invalid qos "
         "specification", Refused),
    ],
)  # fmt: skip
def test_what_the_words_mean(
    words: str, means: type[Exception], sbatch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (sbatch.parent / "words").write_text(words)
    with pytest.raises(means) as caught:
        submit(sbatch, f"cat {sbatch.parent}/words >&2\nexit 1")
    assert type(caught.value) is means
    said = str(caught.value)
    assert "\n" not in said and "sbatch: error" not in said and said.endswith(words.rpartition(": ")[2][-20:])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "sbatch ended with exit code 3, and without a word"),
        ("kill -9 $$", "sbatch ended with "),
        ("exit 0", 'Could not make sense of sbatch output ""'),
        ("echo hello", 'Could not make sense of sbatch output "hello"'),
    ],
)
def test_without_words_it_is_said_how_it_ended(script: str, words: str, sbatch: Path) -> None:
    with pytest.raises(Unclear) as caught:
        submit(sbatch, script)
    assert str(caught.value).startswith(words)
    assert "kill" not in script or "SIGKILL" in str(caught.value)


def test_one_that_hangs_is_ended(sbatch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_PATIENCE", 0.2)
    with pytest.raises(Silent, match=r"sbatch gave no answer within 0\.2 s"):
        submit(sbatch, "exec sleep 60")


def test_one_that_answers_is_heard(sbatch: Path) -> None:
    assert submit(sbatch, "echo Submitted batch job 12") == "12"


def test_one_that_cannot_be_started_is_no_silence(sbatch: Path) -> None:
    with pytest.raises(Refused, match="sbatch"):
        submit(sbatch, "exit 127")
