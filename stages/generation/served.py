"""The engine of a server, as one of its clients has it (see `stages.generation.server`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from stages.contract import Lost, StageError
from stages.generation import address as addresses
from stages.generation import wire
from stages.generation.address import Address
from stages.generation.engine import Completion, Engine, Sampling
from stages.generation.wire import BEAT, Alive, Ask, Finished, Forget, Message, Refused, Reload, Wire

#: Seconds between two looks for a server that is not there yet.
LOOK = 0.2
#: Signs of life that may come early, as those do that waited in a buffer.
_SPARE = 4
#: A log-probability may be so far above 0: it is a rounded number.
_ROUNDING = 1e-3
Signal = Callable[[], None]


class ServedEngine(Engine):
    """The engine of a server, as one of its clients has it. What the server says is checked against what was asked."""

    def __init__(self, line: Wire, address: Address, patience: float, tokens: int, heard: Signal) -> None:
        """See `connect`."""
        self._line = line
        self._name = f"the rollout server on {address.host}:{address.port}"
        self._patience = patience
        self._tokens = tokens
        self._heard = heard
        self._inside: dict[int, Sampling] = {}
        self._since = time.monotonic()
        self._signs = 0  # of life
        self._failure: StageError | None = None
        self.positions = address.positions
        self.capacity = address.capacity

    def add(self, key: int, prompt: list[int], sampling: Sampling) -> None:
        if self._failure is not None:
            raise self._failure
        self._inside[key] = sampling
        self._line.largest = max(self._line.largest, wire.room(sampling))
        self._send(Ask(key, prompt, sampling))

    def step(self) -> list[tuple[int, list[Completion]]]:
        message = self._receive()
        if not isinstance(message, Finished):
            raise self._lies(f"{type(message).__name__}, where completions were to come")
        asked = self._inside.pop(message.key, None)
        if asked is None:
            raise self._lies(f"completions of a prompt {message.key}, which it was not asked for")
        wrong = _wrong(message.completions, asked, self._tokens)
        if wrong is not None:
            raise self._lies(wrong)
        return [(message.key, message.completions)]

    @property
    def unfinished(self) -> int:
        return sum(sampling.n for sampling in self._inside.values())

    def abort(self) -> None:
        if self._failure is not None:
            return
        self._send(Forget())
        while not isinstance(message := self._receive(), Forget):  # one that had been finished
            if not isinstance(message, Finished) or self._inside.pop(message.key, None) is None:
                raise self._lies("more than it was asked for")
        self._inside.clear()

    def reload(self, folder: Path) -> None:
        self._send(asked := Reload(str(folder)))
        if self._receive() != asked:
            raise self._lies(f"something else than that it has the weights in {folder}")

    def close(self) -> None:
        self._line.close()

    def _send(self, message: Message) -> None:
        try:
            self._line.send(message)
        except OSError as error:
            raise self._lost(str(error)) from None

    def _receive(self) -> Message:
        """The next message that is not just a sign of life.

        Raises:
            Lost: the server is gone, or says nothing.
            StageError: it could not do what it was asked to.
        """
        while True:
            try:
                if not self._line.hears(self._patience):
                    raise self._lost(f"it has said nothing for {self._patience:g} s")
                message = self._line.receive()
            except (EOFError, OSError) as error:
                raise self._lost(str(error) or "it ended") from None
            self._heard()
            if isinstance(message, Refused):
                raise StageError(f"{self._name}: {message.why}")
            if not isinstance(message, Alive):
                return message
            self._signs += 1
            if self._signs > _SPARE + (time.monotonic() - self._since) / BEAT:
                raise self._lies(f"signs of life faster than one in {BEAT:g} s")

    def _lost(self, why: str) -> StageError:
        self._failure = Lost(f"{self._name} is lost: {why}")
        return self._failure

    def _lies(self, what: str) -> StageError:
        self._line.close()
        self._failure = StageError(f"{self._name} does not keep to the protocol: it sent {what}")
        return self._failure


def _wrong(found: list[Completion], asked: Sampling, tokens: int) -> str | None:
    """Why completions cannot be those that were asked for; None if they can. `tokens` is the size of the vocabulary."""
    if len(found) != asked.n:
        return f"{len(found)} completions of a prompt, not {asked.n}"
    for completion in found:
        ids, logprobs = completion.token_ids, completion.logprobs
        if len(ids) > asked.max_new_tokens:
            return f"a completion of {len(ids)} tokens, more than {asked.max_new_tokens}"
        foreign = next((id for id in ids if not 0 <= id < tokens), None)
        if foreign is not None:
            return f"the token id {foreign}, which is none of the {tokens} of the model"
        if (logprobs is not None) != asked.logprobs or (logprobs is not None and len(logprobs) != len(ids)):
            return "completions without one log-probability for each token" if asked.logprobs else "log-probabilities"
        odd = next((one for one in logprobs or () if not one <= _ROUNDING), None)  # also what is no number
        if odd is not None:
            return f"the log-probability {odd}"
    return None


def connect(
    place: Path, patience: float, *, tokens: int, check: Signal = lambda: None, heard: Signal = lambda: None
) -> ServedEngine:
    """The engine of the server that says at `place` where it is, once it is ready.

    Args:
        place: the file that is to say it.
        patience: seconds for which the server may not be there, or say nothing later.
        tokens: rows of the model's embedding: every token id is below.
        check: called while it is waited for; raises if there is nothing to wait for.
        heard: called whenever it has said something later.

    Raises:
        Lost: it does not come, or cannot be reached.
    """
    deadline = time.monotonic() + patience
    while not place.exists():
        check()  # which takes a moment
        if time.monotonic() > deadline:
            raise Lost(f"no rollout server is ready at {place} after {patience:g} s")
        time.sleep(LOOK)
    try:
        address = addresses.read(place)
    except OSError as error:
        raise Lost(str(error)) from None
    try:
        line = wire.call(address.ip, address.port, address.key)
    except OSError as error:
        raise Lost(f"the rollout server on {address.host}:{address.port} cannot be reached: {error}") from None
    return ServedEngine(line, address, patience, tokens, heard)
