"""A server that answers what W&B's client asks while it uploads a run, and remembers what it was sent.

It knows no more of W&B than the client needs to go on: it is no test of W&B's server, but of what ours would be sent.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


@dataclass
class Received:
    """What was uploaded: run id -> rows of its history, and how often it was complete, with which exit code."""

    url: str = ""
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    ended: dict[str, list[int]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    #: How it goes away, `hangs` or `gone`, once it has taken what `until` waits for; None: it stays.
    away: str | None = None
    until: Callable[[Received], object] = lambda received: received.history
    over: Event = field(default_factory=Event)

    def stream(self, run: str, sent: dict[str, Any]) -> None:
        """Lines of a run, which overwrite those from their offset on."""
        part = (sent.get("files") or {}).get("wandb-history.jsonl")
        if part is not None:
            rows = [json.loads(line) for line in part["content"]]
            self.history[run] = self.history.get(run, [])[: part["offset"]] + rows
        if sent.get("complete"):
            self.ended.setdefault(run, []).append(sent["exitcode"])

    def answer(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """The answer to a query."""
        run = given.get("name") or ""
        if name == "UpsertBucket":
            known = run in self.runs
            self.runs[run] = {**self.runs.get(run, {}), **{key: value for key, value in given.items() if value}}
            project = {"id": "p", "name": "rejuvenation", "entity": {"id": "e", "name": "somebody"}}
            shown = given.get("displayName") or run
            bucket = {"id": f"id-{run}", "name": run, "displayName": shown, "config": "{}", "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": not known}}
        if name == "RunResumeStatus":
            return {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}, "bucket": self._resumed(run)}}
        if name == "CreateArtifact":
            made = {"id": given["input"]["digest"], "state": "COMMITTED", "artifactSequence": {"id": "s"}}
            return {"createArtifact": {"artifact": made}}
        if name == "UseArtifact":
            self.used.append(given["input"]["artifactID"])
            return {"useArtifact": {"artifact": {"id": given["input"]["artifactID"], "state": "COMMITTED"}}}
        if name == "CreateRunFiles":
            files = [{"name": each, "uploadUrl": f"{self.url}/files"} for each in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if name == "Viewer":
            return {"viewer": {"id": "v", "entity": "somebody", "username": "somebody", "flags": "{}"}}
        return {}

    def _resumed(self, run: str) -> dict[str, Any] | None:
        if run not in self.runs:
            return None
        rows = self.history.get(run, [])
        tail = json.dumps([json.dumps(rows[-1])] if rows else [])
        counts = {"logLineCount": 0, "historyLineCount": len(rows), "eventsLineCount": 0}
        last = {"historyTail": tail, "eventsTail": "[]", "summaryMetrics": json.dumps(rows[-1] if rows else {})}
        return {"id": f"id-{run}", "name": run, "config": "{}", "wandbConfig": '{"t": 1}', "tags": [], **counts, **last}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    received: Received

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send({})

    def do_PUT(self) -> None:
        self._body()
        self._send({})

    def do_POST(self) -> None:
        sent = json.loads(self._body() or b"{}")
        if self.received.away is not None and self.received.until(self.received):
            self._fail(self.received.away)
            return
        if self.path.endswith("/file_stream"):
            self.received.stream(self.path.split("/")[-2], sent)
            self._send({})
            return
        name = re.search(r"(?:query|mutation)\s+(\w+)", sent.get("query", ""))
        data = self.received.answer(name.group(1) if name else "", sent.get("variables") or {})
        self._send({"data": data} if data else {"data": {}, "errors": [{"message": "not known here"}]})

    def _fail(self, how: str) -> None:
        self.close_connection = True  # without a word, if it is gone
        if how == "hangs":
            self.received.over.wait(600)

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that hangs up is none."""


@contextmanager
def serving() -> Iterator[Received]:
    """A server of this machine, for as long as the block lasts."""
    found = Received()

    class Handler(_Handler):
        received = found

    with _Server(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield found
        found.over.set()
        server.shutdown()
