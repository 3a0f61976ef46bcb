"""A client believes nothing of a server that it did not ask for, also of one that knows the key."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stages.contract import Lost, StageError
from stages.generation import address, wire
from stages.generation.address import Address
from stages.generation.engine import Completion, Sampling
from stages.generation.served import ServedEngine, connect
from stages.generation.wire import Alive, Finished, Forget, Message, Refused, Reload, Wire

KEY = bytes(range(32))
SAMPLING = Sampling(n=2, temperature=1.0, top_p=1.0, max_new_tokens=3, seed=None, logprobs=True)
ONE = Completion([5, 6], "ab", True, [-0.5, 0.0])

Serve = Callable[[Wire, Message], None]
Serving = Callable[[Serve], ServedEngine]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Starts a server that answers each message as it is told to; gives a client of it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(serve: Serve) -> ServedEngine:
        def work() -> None:
            with suppress(OSError, EOFError):
                line = wire.answer(listener.accept()[0], KEY)
                while True:
                    serve(line, line.receive())

        threading.Thread(target=work, daemon=True).start()
        where = {"host": "node7", "ip": "127.0.0.1", "port": listener.getsockname()[1]}
        address.write(tmp_path / "place", Address(**where, key=KEY, positions=64, capacity=4))
        return connect(tmp_path / "place", 10, tokens=300)

    yield start
    listener.close()


def saying(*completions: Completion, key: int = 0) -> Serve:
    return lambda line, _: line.send(Finished(key, list(completions)))


def test_what_was_asked_for_is_taken(serving: Serving) -> None:
    engine = serving(saying(ONE, Completion([7], "c", False, [-math.inf])))
    assert engine.generate([[1, 2]], SAMPLING) == [[ONE, Completion([7], "c", False, [-math.inf])]]


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (saying(ONE), "1 completions of a prompt, not 2"),
        (saying(ONE, ONE, ONE), "3 completions of a prompt, not 2"),
        (saying(ONE, ONE, key=3), "completions of a prompt 3, which it was not asked for"),
        (saying(ONE, Completion([5] * 4, "", True, [-1.0] * 4)), "a completion of 4 tokens, more than 3"),
        (saying(ONE, Completion([300], "", True, [-1.0])), "the token id 300, which is none of the 300 of the model"),
        (saying(ONE, Completion([-1], "", True, [-1.0])), "the token id -1"),
        (saying(ONE, Completion([5], "", True, None)), "completions without one log-probability for each token"),
        (saying(ONE, Completion([5], "", True, [-1.0, -1.0])), "without one log-probability for each token"),
        (saying(ONE, Completion([5], "", True, [math.nan])), "the log-probability nan"),
        (saying(ONE, Completion([5], "", True, [2.0])), "the log-probability 2.0"),
        (lambda line, _: line.send(Reload("/")), "Reload, where completions were to come"),
    ],
)
def test_completions_that_cannot_be_the_ones_asked_for_are_refused(serving: Serving, serve: Serve, why: str) -> None:
    with pytest.raises(
        StageError, match=rf"rollout server on node7:\d+ does not keep to the protocol: it sent .*{why}"
    ):
        serving(serve).generate([[1, 2]], SAMPLING)


def endlessly(message: Message) -> Serve:
    def serve(line: Wire, _: Message) -> None:
        while True:
            line.send(message)

    return serve


def test_a_server_that_never_comes_to_an_end_is_refused(serving: Serving) -> None:
    with pytest.raises(StageError, match="signs of life faster than one in 2 s"):
        serving(endlessly(Alive())).generate([[1, 2]], SAMPLING)


def test_what_is_given_up_is_waited_for_only_as_far_as_it_was_asked_for(serving: Serving) -> None:
    engine = serving(lambda line, said: endlessly(Finished(0, [ONE, ONE]))(line, said) if said == Forget() else None)
    engine.add(0, [1, 2], SAMPLING)
    with pytest.raises(StageError, match="more than it was asked for"):
        engine.abort()


def test_a_server_that_takes_other_weights_is_refused(serving: Serving, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=f"something else than that it has the weights in {tmp_path}"):
        serving(lambda line, _: line.send(Reload("/elsewhere"))).reload(tmp_path)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (wire._HEAD.pack(0xFFFFFFFF, bytes(32)), "announced a message of 4294967295 bytes"),
        (b"\0\0", "hung up in the middle"),
        (b"", "it ended"),
        (wire._HEAD.pack(4, bytes(32)) + b"\x81\x81\x81\x81", "not as it was sent"),
    ],
    ids=["4 GiB", "half a message", "nothing", "of somebody else"],
)
def test_a_line_that_breaks_names_the_server(serving: Serving, data: bytes, why: str) -> None:
    def serve(line: Wire, _: Message) -> None:
        line._peer.sendall(data)
        line.close()

    with pytest.raises(Lost, match=rf"the rollout server on node7:\d+ is lost: .*{why}"):
        serving(serve).generate([[1, 2]], SAMPLING)


def test_a_reason_names_the_server(serving: Serving) -> None:
    with pytest.raises(StageError, match=r"the rollout server on node7:\d+: no room"):
        serving(lambda line, said: line.send(Refused("no room"))).generate([[1, 2]], SAMPLING)
