"""Webhooks: a message arrives once, a server that misbehaves costs seconds and nothing else, the URL stays secret."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from launch import webhook
from launch.webhook import VARIABLE, Sending, Unsent, Unusable
from tests.launch.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def test_a_message_is_posted_as_json(receiver: Receiver) -> None:
    webhook.post({"text": "π\x1b"}, receiver.url)
    assert receiver.messages == [{"text": "π\x1b"}] and receiver.types == ["application/json"]


def test_a_server_in_trouble_is_asked_again(receiver: Receiver) -> None:
    receiver.answers = [500, 429, 200]
    webhook.post({"text": "again"}, receiver.url)
    assert len(receiver.messages) == 3


@pytest.mark.parametrize(("answer", "times"), [(403, 1), (302, 1), (500, 2)])
def test_what_is_not_taken_is_said_without_the_url(receiver: Receiver, answer: int, times: int) -> None:
    receiver.answers = [answer]
    with pytest.raises(Unsent, match=f"^the server answered {answer}$") as refused:
        webhook.post({"text": "no"}, receiver.url, patience=4)
    assert not refused.value.heard
    assert len(receiver.messages) == times or (answer == 500 and len(receiver.messages) > times)


def test_a_server_that_never_answers_may_have_heard_and_is_asked_once(receiver: Receiver) -> None:
    receiver.answers = [None]
    with pytest.raises(Unsent, match="no answer within") as refused:
        webhook.post({"text": "hm"}, receiver.url, patience=0.5)
    assert refused.value.heard and len(receiver.messages) == 1


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/SECRET"
        with pytest.raises(Unsent, match="^Connection refused$") as refused:
            webhook.post({"text": "?"}, address, patience=0.5)
    assert not refused.value.heard


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("ftp://host/SECRET", "begins with ftp://"),
        ("hooks.example.com/SECRET", "has no scheme"),
        ("https:///SECRET", "has no host"),
        ("https://host:port/SECRET", "is no well-formed URL"),
        ("http://host/SEC RET", "has characters that no URL has"),
        ("http://host/SEC\u202eRET", "has characters that no URL has"),
    ],
)
def test_a_value_that_is_no_url(monkeypatch: pytest.MonkeyPatch, value: str, wrong: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(Unusable) as refused:
        webhook.url()
    assert str(refused.value) == f"{VARIABLE}: {wrong}; allowed: http:// or https:// with a host"


@pytest.mark.parametrize(("value", "url"), [("", None), ("  ", None), (" https://h/x\n", "https://h/x")])
def test_a_value_that_is_one_or_none(monkeypatch: pytest.MonkeyPatch, value: str, url: str | None) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert webhook.url() == url


def test_nothing_waits_for_a_server_but_the_end(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    receiver.answers = [None]
    sending, started = Sending(), time.monotonic()
    for _ in range(2):
        sending.start(lambda: webhook.post({"text": "hm"}, receiver.url, patience=20))
    sending.finish(0.5)
    assert time.monotonic() - started < 15  # not the 20 s that the first one would wait
    assert capsys.readouterr().err == f"{VARIABLE}: not notified within 0 s\n"


def test_a_failure_to_send_is_one_line(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    receiver.answers = [404]
    sending = Sending()
    sending.start(lambda: webhook.post({"text": "no"}, receiver.url))
    sending.finish(10)
    assert capsys.readouterr().err == f"{VARIABLE}: not notified: the server answered 404\n"
