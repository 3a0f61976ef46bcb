"""A real HTTP server of this machine that takes messages, or misbehaves as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from launch.webhook import SENDER


class Receiver:
    """What came in, and how the next requests are answered: a status each, the last one for all that follow.

    None is no answer at all, until `release` is set.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.types: list[str | None] = []
        self.answers: list[int | None] = [200]
        self.release = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/T0/SECRET"

    @property
    def events(self) -> list[str]:
        return [message["event"] for message in self.messages]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A server for as long as the block lasts."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            found.types.append(self.headers["Content-Type"])
            answer = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
            if answer is None:
                found.release.wait(30)
                return
            self.send_response(answer)
            if 300 <= answer < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            raise AssertionError("a message is posted, never got")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        found.answers = [200]
        found.release.set()
        for thread in threading.enumerate():
            if thread.name == SENDER:  # one that tries again would say in a later test that nobody listens
                thread.join()
        server.shutdown()
        server.server_close()
