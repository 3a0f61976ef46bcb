"""Notices: one message at the first failure and one at the end, however many processes look, try again, or die."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launch import failure, notice, webhook
from launch.notice import Lookout, Member, Notice, Study
from launch.webhook import Sending
from stages import artifact
from stages.identity import fingerprint, identity
from stages.store import Store
from tests.conftest import ROOT
from tests.launch.receiver import Receiver, receiving

NODES = [identity("toy_train", 1, {"n": number}, {}) for number in range(3)]
KEYS = [fingerprint(each) for each in NODES]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as found:
        monkeypatch.setenv(webhook.VARIABLE, found.url)
        yield found


def begin(root: Path, stale: int | None = None, serial: int = 1, reads: tuple[Path, ...] = ()) -> Path:
    """The notice of a study of three nodes: 1 needs 0, and 2 nothing."""
    needs: list[list[str]] = [[], [KEYS[0]], []]
    members = [
        Member(name=f"toy_train/{n}", stage="toy_train", fingerprint=KEYS[n], needs=needs[n], stale=stale)
        for n in range(3)
    ]
    folder = notice.folder_of(Store(root)) / f"toy-{serial}"
    words, places = "+experiment=toy 'variants={A: [x]}'", [str(each) for each in reads]
    Study(experiment="toy", words=words, nodes=members, reads=places).write(folder)
    return folder


def publish(root: Path, number: int) -> Path:
    """Publish a node; returns the folder that it had while it was worked on."""
    store, draft = Store(root), root / "draft"
    draft.mkdir(parents=True)
    (draft / "model.txt").write_text("1")
    final = store.final("toy_train", str(number), KEYS[number])
    final.parent.mkdir(exist_ok=True)
    record = {"fingerprint": KEYS[number], "identity": NODES[number], "label": "x", "config": {}, "inputs": {}}
    artifact.publish(draft, final, {**record, "summary": {}})
    return store.job("toy_train", KEYS[number])


def fail(root: Path, number: int, why: str = "too warm") -> Path:
    """A node's attempt fails for good; returns the node's folder."""
    folder = Store(root).job("toy_train", KEYS[number])
    folder.mkdir(parents=True, exist_ok=True)
    failure.leave(folder, why)
    return folder


def look(root: Path, node: Path) -> None:
    """What a job does when a node of it has ended."""
    lookout = Lookout(root)
    lookout.look(node)
    lookout.finish()


def test_the_last_job_sees_the_end(tmp_path: Path, receiver: Receiver) -> None:
    begin(tmp_path)
    for number in range(3):
        assert receiver.messages == []
        look(tmp_path, publish(tmp_path, number))
    (message,) = receiver.messages
    assert message["text"].startswith("toy: ended; 3 of 3 done, 0 failed, 0 blocked, after ")
    assert message["command"] == "python -m orchestrator report +experiment=toy 'variants={A: [x]}'"
    assert (message["event"], message["node"], message["reason"]) == ("end", None, None)


def test_what_another_store_has_is_done(tmp_path: Path, receiver: Receiver) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    publish(theirs, 0)
    publish(theirs, 1)
    begin(ours, reads=(theirs,))
    look(ours, publish(ours, 2))
    assert receiver.messages[0]["text"].startswith("toy: ended; 3 of 3 done, ")


def test_a_notice_that_reads_no_other_store_is_as_an_earlier_version_reads_it(tmp_path: Path) -> None:
    plain = json.loads((begin(tmp_path) / notice.STUDY).read_text())
    assert plain.keys() == {"experiment", "words", "nodes", "started"}


def test_a_failure_is_told_at_once_and_once_and_the_end_when_nothing_else_can_be_done(
    tmp_path: Path, receiver: Receiver
) -> None:
    begin(tmp_path)
    look(tmp_path, fail(tmp_path, 0, "too <warm> & \x1b[2J"))
    look(tmp_path, fail(tmp_path, 0))
    assert receiver.events == ["failure"]  # 1 is blocked, and 2 may yet end
    look(tmp_path, fail(tmp_path, 2))
    look(tmp_path, fail(tmp_path, 2))
    first, end = receiver.messages
    assert first["text"].startswith("toy: toy_train/0 failed: too &lt;warm&gt; &amp;  [2J; 0 of 3 done, 1 failed, 1 bl")
    assert (first["node"], first["reason"]) == ("toy_train/0", "too <warm> & \x1b[2J")
    assert first["command"].startswith("python -m orchestrator logs toy_train/0 +experiment=toy ")
    assert (end["event"], end["failed"], end["blocked"], end["total"]) == ("end", 2, 1, 3)


def test_a_message_calls_nobody_and_has_no_password(tmp_path: Path, receiver: Receiver) -> None:
    begin(tmp_path)
    look(tmp_path, fail(tmp_path, 0, "@channel [see](http://evil) <!here> at https://user:hunter2@proxy:3128/"))
    (message,) = receiver.messages
    assert message["reason"] == "@channel [see](http://evil) <!here> at https://***@proxy:3128/"
    said = message["text"]
    assert "hunter2" not in said and "@channel" not in said and "](" not in said and "<" not in said


def test_the_command_of_a_message_runs_nothing_else(tmp_path: Path, receiver: Receiver) -> None:
    folder = begin(tmp_path)
    name = 'toy_train/x"; touch canary # $(touch canary) `touch canary`'
    about = notice.read(folder)
    replace(about, nodes=[replace(about.nodes[0], name=name), *about.nodes[1:]]).write(folder)
    look(tmp_path, fail(tmp_path, 0))
    (message,) = receiver.messages
    assert shlex.split(message["command"])[:5] == ["python", "-m", "orchestrator", "logs", name]


def test_what_had_failed_before_the_study_was_submitted_is_no_news(tmp_path: Path, receiver: Receiver) -> None:
    folder = fail(tmp_path, 0)
    begin(tmp_path, stale=notice.failed_at(folder))
    look(tmp_path, publish(tmp_path, 2))
    assert receiver.messages == []  # it waits in the queue to be tried again
    os.utime(folder / failure.ERROR, ns=(1, 1))  # another failure, at another time
    look(tmp_path, folder)
    assert receiver.events == ["failure", "end"]


def test_a_node_that_is_tried_again_has_not_failed(tmp_path: Path, receiver: Receiver) -> None:
    begin(tmp_path)
    folder = Store(tmp_path).job("toy_train", KEYS[0])
    folder.mkdir(parents=True)
    for _ in range(failure.TRIES):
        assert failure.leave_lost(folder, "a collective hangs")
        look(tmp_path, folder)
    assert receiver.messages == []
    assert not failure.leave_lost(folder, "a collective hangs")
    look(tmp_path, folder)
    assert receiver.events == ["failure"]


def test_a_node_that_no_notice_names(tmp_path: Path, receiver: Receiver) -> None:
    begin(tmp_path)
    fail(tmp_path, 0)
    look(tmp_path, Path("toy_train/.0123456789abcdef"))
    assert receiver.messages == []


def test_many_jobs_that_end_at_the_same_moment(tmp_path: Path, receiver: Receiver) -> None:
    begin(tmp_path)
    folders = [fail(tmp_path, 0), fail(tmp_path, 2)]
    script = "from pathlib import Path; from sys import argv; from tests.launch.test_notice import look; "
    script += "look(*map(Path, argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    jobs = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(folders[n % 2])], env=environment)
        for n in range(6)
    ]
    assert [job.wait() for job in jobs] == [0] * 6
    assert sorted(receiver.events) == ["end", "failure"]


def test_a_message_that_did_not_arrive_is_left_for_whoever_comes_next(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(tmp_path)
    receiver.answers = [404]
    look(tmp_path, fail(tmp_path, 0))
    assert capsys.readouterr().err == "REJUVENATION_WEBHOOK: not notified: the server answered 404\n"
    receiver.answers = [200]
    look(tmp_path, fail(tmp_path, 0))
    look(tmp_path, fail(tmp_path, 0))
    assert receiver.events == ["failure", "failure"]


def test_a_server_that_hangs_is_not_told_twice(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begin(tmp_path)
    monkeypatch.setattr(webhook.post, "__defaults__", (0.3,))
    receiver.answers = [None, 200]
    for _ in range(2):
        look(tmp_path, fail(tmp_path, 0))
    assert receiver.events == ["failure"] and (folder / "failure").read_text() == ""


def test_a_head_that_stays_sends_what_a_job_could_not(tmp_path: Path, receiver: Receiver) -> None:
    folder = begin(tmp_path)
    fail(tmp_path, 0)
    marker = folder / notice.FAILURE
    marker.touch()  # a job is about to send it, in vain: its machine has no network
    sending = Sending()
    found = notice.ends(notice.read(folder), Store(tmp_path))
    Notice(folder, notice.read(folder), sending, waits=10).failed(found)
    assert receiver.messages == []
    marker.unlink()
    sending.finish(10)
    assert receiver.events == ["failure"] and marker.read_text() == notice.ARRIVED


def test_without_a_url_nothing_happens_and_a_bad_one_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(tmp_path)
    monkeypatch.delenv(webhook.VARIABLE, raising=False)
    look(tmp_path, fail(tmp_path, 0))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv(webhook.VARIABLE, "ftp://host/SECRET")
    look(tmp_path, fail(tmp_path, 0))
    assert capsys.readouterr().err.startswith("REJUVENATION_WEBHOOK: begins with ftp://")


def test_no_file_has_the_url(tmp_path: Path, receiver: Receiver) -> None:
    folder = begin(tmp_path)
    look(tmp_path, fail(tmp_path, 0))
    assert receiver.events == ["failure"]
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and "SECRET" in file.read_text()]
    assert sorted(file.name for file in folder.iterdir()) == ["failure", "study.json"]


def test_a_notice_of_another_version_is_passed_over(tmp_path: Path, receiver: Receiver) -> None:
    begin(tmp_path)
    other = begin(tmp_path, serial=2)
    (other / "study.json").write_text(json.dumps({"nodes": [], "unheard": "of"}))
    look(tmp_path, fail(tmp_path, 0))
    assert receiver.events == ["failure"]
