"""A served engine gives what a local one gives, to several clients; and everybody notices the end of everybody else."""

from __future__ import annotations

import base64
import os
import pickle
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from stages.contract import Lost, Resources, StageError
from stages.generation import address, server, wire
from stages.generation.engine import Sampling, load
from stages.generation.served import connect
from stages.generation.server import Opening, Server
from tests import tiny_models

pytestmark = pytest.mark.slow

SAMPLING = Sampling(n=2, temperature=1.0, top_p=1.0, max_new_tokens=6, seed=0)
PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
#: Rows of the embedding of every tiny model.
TOKENS = 300
#: Seconds for a server of a tiny model to be ready, on a busy machine.
PATIENCE = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and the same model after some training."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.sft(folder / "sft", tiny_models.base(folder / "base"))
    return folder


def opening(folder: Path) -> Opening:
    source = tiny_models.source(folder / "base")
    return Opening(source=source, engine="transformers", dtype="float32", resources=Resources(per_device_batch=4))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place.json"


@pytest.fixture
def served(folder: Path, place: Path) -> Iterator[Server]:
    with Server(opening(folder), place, "", PATIENCE) as found:
        yield found


def test_clients_get_what_a_local_engine_gives(folder: Path, place: Path, served: Server) -> None:
    one, two = (connect(place, PATIENCE, tokens=TOKENS, check=served.check) for _ in range(2))
    local = load(tiny_models.source(folder / "base"), engine="transformers", dtype="float32", resources=Resources())
    assert (one.positions, one.capacity) == (local.positions, 4)
    for key, prompt in enumerate(PROMPTS):  # both are at work at the same time
        one.add(key, prompt, SAMPLING)
    assert two.generate(PROMPTS[:2], SAMPLING) == local.generate(PROMPTS[:2], SAMPLING)
    found = dict(finished for _ in PROMPTS for finished in one.step())
    assert [found[key] for key in range(3)] == local.generate(PROMPTS, SAMPLING)
    assert one.unfinished == 0


def test_new_weights_are_those_that_it_generates_with(folder: Path, place: Path, served: Server) -> None:
    engine = connect(place, PATIENCE, tokens=TOKENS, check=served.check)
    before = engine.generate(PROMPTS, SAMPLING)
    engine.reload(folder / "sft")
    sft = load(tiny_models.source(folder / "sft"), engine="transformers", dtype="float32", resources=Resources())
    assert engine.generate(PROMPTS, SAMPLING) == sft.generate(PROMPTS, SAMPLING) != before
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "model.safetensors").write_text("nonsense")
    with pytest.raises(StageError, match=f"the engine cannot take the weights in {folder / 'broken'}"):
        engine.reload(folder / "broken")
    assert engine.generate(PROMPTS, SAMPLING) == sft.generate(PROMPTS, SAMPLING)


def test_what_is_given_up_is_not_told_later(place: Path, served: Server) -> None:
    engine = connect(place, PATIENCE, tokens=TOKENS, check=served.check)
    engine.add(0, PROMPTS[0], SAMPLING)
    engine.abort()
    assert engine.unfinished == 0
    [(key, _)] = dict(engine.stream(PROMPTS[:1], SAMPLING)).items()
    assert key == 0


def test_a_server_that_is_killed_is_noticed_at_once(place: Path, served: Server) -> None:
    engine = connect(place, PATIENCE, tokens=TOKENS, check=served.check)
    served._process.kill()
    started = time.monotonic()
    with pytest.raises(Lost, match="the rollout server on .* is lost"):
        engine.generate(PROMPTS, SAMPLING)
    with pytest.raises(Lost, match="the rollout server was killed by signal 9"):
        served.check()
    assert time.monotonic() - started < 5


def test_a_server_that_hangs_is_given_up_after_the_patience(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "hangs.json"
    with Server(opening(folder), place, "", PATIENCE) as served:
        waiting = connect(place, PATIENCE, tokens=TOKENS, check=served.check)
        engine = connect(place, 2, tokens=TOKENS, check=served.check)
        assert served._process.pid is not None
        os.kill(served._process.pid, signal.SIGSTOP)
        with pytest.raises(Lost, match="it has said nothing for 2 s"):
            engine.generate(PROMPTS, SAMPLING)
        waiting.close()


def test_who_does_not_know_the_key_is_not_served_and_nobody_sees_it(
    place: Path, served: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = connect(place, PATIENCE, tokens=TOKENS, check=served.check)
    given = address.read(place)
    assert given.ip == "127.0.0.1"  # nobody on another machine can even try
    with pytest.raises(OSError, match="no handshake"):
        wire.call(given.ip, given.port, b"guessed")
    assert len(engine.generate(PROMPTS, SAMPLING)) == 3
    process = psutil.Process(served._process.pid)
    shown = " ".join([*process.cmdline(), *process.environ().values(), *capfd.readouterr(), repr(given)])
    forms = (given.key.hex(), base64.b64encode(given.key).decode(), repr(given.key)[2:-1])
    assert not [form for form in forms if form in shown]


def test_peers_that_say_nothing_keep_nobody_waiting(place: Path, served: Server) -> None:
    connect(place, PATIENCE, tokens=TOKENS, check=served.check)
    given = address.read(place)
    silent = [socket.create_connection((given.ip, given.port)) for _ in range(8)]
    silent[0].sendall(b"\x00")  # the beginning of a message
    engine = connect(place, PATIENCE, tokens=TOKENS, check=served.check)
    assert len(engine.generate(PROMPTS, SAMPLING)) == 3
    for each in silent:
        each.close()


def test_a_client_that_sends_nonsense_or_asks_for_the_impossible_is_alone_in_that(place: Path, served: Server) -> None:
    engine, other = (connect(place, PATIENCE, tokens=TOKENS, check=served.check) for _ in range(2))
    given = address.read(place)
    for nonsense in (b"", b"nonsense", pickle.dumps(PROMPTS), b"\x81\xa1q" + b"\x91" * 1_000_000):
        stranger = wire.call(given.ip, given.port, given.key)
        stranger._peer.sendall(wire._HEAD.pack(len(nonsense), wire._tag(stranger._ours, 0, nonsense)) + nonsense)
        with pytest.raises((EOFError, OSError)):
            stranger.receive()
    with pytest.raises(
        StageError, match=r"rollout server on .*:\d+: the engine cannot take a prompt of 2 tokens: vLLM"
    ):
        other.generate([[5, 6]], replace(SAMPLING, logprobs=True))
    assert len(engine.generate(PROMPTS, SAMPLING)) == 3


def test_it_ends_with_its_last_client(place: Path, served: Server) -> None:
    one, two = (connect(place, PATIENCE, tokens=TOKENS, check=served.check) for _ in range(2))
    one.close()
    assert len(two.generate(PROMPTS, SAMPLING)) == 3
    two.close()
    served._process.join(PATIENCE)
    assert served._process.exitcode == 0
    assert not place.exists()


def test_a_server_that_cannot_open_its_engine_says_why(folder: Path, place: Path) -> None:
    nothing = tiny_models.source(folder / "nothing")
    wrong = Opening(source=nothing, engine="transformers", dtype="float32", resources=Resources())
    with (
        Server(wrong, place, "", PATIENCE) as served,
        pytest.raises(Lost, match="no config.json; it belongs beside the weights"),
    ):
        connect(place, PATIENCE, tokens=TOKENS, check=served.check)


def test_a_server_that_never_comes_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(Lost, match="no rollout server is ready at .* after 0.3 s"):
        connect(tmp_path / "nowhere.json", 0.3, tokens=TOKENS)


def test_nobody_comes(folder: Path, place: Path) -> None:
    with pytest.raises(StageError, match="nobody has connected"):
        server.serve(opening(folder), place, 0.5)
    assert not place.exists()
