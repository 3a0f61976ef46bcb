"""A hub for tests: a real HTTP server that says as much as the real clients ask for, of folders that a test writes.

    <root>/models/<owner>/<name>/...      files of a repository
    <root>/datasets/<owner>/<name>/...

Its commit is the hash of its files, so it moves when they are edited. `environment` is what a process finds it by.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

#: Who has accepted the conditions of gated repositories.
TOKEN = "hf_test"


@dataclass
class Hub:
    """The server's side.

    Attributes:
        gated: ids of repositories whose files only `TOKEN` gets.
        broken: the status of every answer, if the hub has a bad day.
        asked: the (method, path) of all requests.
        commits: the files of every commit that was ever asked for.
    """

    root: Path
    url: str = ""
    gated: set[str] = field(default_factory=set)
    broken: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def write(self, repository: str, files: dict[str, str | bytes]) -> str:
        """Put files into `models/OWNER/NAME` or `datasets/OWNER/NAME`; gives the commit."""
        for name, content in {".gitattributes": "", **files}.items():
            file = self.root / repository / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self.commit(repository)

    def commit(self, repository: str) -> str:
        """The commit of what a repository has now."""
        folder = self.root / repository
        files = {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        digest = hashlib.sha1(repository.encode())
        for name, content in files.items():
            digest.update(f"{name} {len(content)} ".encode() + content)
        self.commits[digest.hexdigest()] = files
        return digest.hexdigest()

    def use(self, home: Path, monkeypatch: pytest.MonkeyPatch, *, token: str = "", offline: bool = False) -> None:
        """Make this the hub of this process. Its client reads the environment when it is imported, so that is late."""
        from huggingface_hub import constants

        variables = self.environment(home, HF_TOKEN=token, HF_HUB_OFFLINE=str(int(offline)))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        self.asked.clear()

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Variables for a process whose hub this is, and whose cache is `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            **more,
        }

    def downloads(self) -> list[str]:
        """The files whose bytes were sent, by path in their repository."""
        return [
            path.split("/resolve/")[1].split("/", 1)[1]
            for how, path in self.asked
            if how == "GET" and "/resolve/" in path
        ]


@contextmanager
def serve(root: Path) -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    hub = Hub(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One request. The paths are those of the hub's API."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path))
        if self.hub.broken:
            self._send(self.hub.broken, b"", {})
            return
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/.*)?)?", path)
        access = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/auth-check", path)
        file = re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if api is not None:
            self._api(api[1], api[2], api[3], api[4] or "main")
        elif file is not None:
            self._file(file[1] or "models", file[2], file[3], file[4])
        elif access is not None:
            if self._commit(access[1], access[2], "main") is not None and self._gives(access[1], access[2]):
                self._json({})
        else:
            self._refuse(404, "EntryNotFound", f"no such page: {path}")

    def _api(self, kind: str, id: str, what: str | None, revision: str) -> None:
        commit = self._commit(kind, id, revision)
        if commit is None:
            return
        files = self.hub.commits[commit]
        if what == "tree":
            self._json(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in files.items()
                ]
            )
        else:
            siblings = [{"rfilename": name} for name in files]
            gated = "auto" if id in self.hub.gated else False
            self._json({"id": id, "sha": commit, "siblings": siblings, "gated": gated, "private": False, "tags": []})

    def _file(self, kind: str, id: str, revision: str, name: str) -> None:
        commit = self._commit(kind, id, revision)
        if commit is None:
            return
        if not self._gives(kind, id):
            return
        content = self.hub.commits[commit].get(name)
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part is not None:
            first, last = int(part[1]), int(part[2]) if part[2] else len(content) - 1
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send(206, content[first : last + 1], headers)
        else:
            self._send(200, content, headers)

    def _gives(self, kind: str, id: str) -> bool:
        """Whether who asks has access to a repository; if not, that was said."""
        given = self.headers.get("Authorization")
        if id not in self.hub.gated or given == f"Bearer {TOKEN}":
            return True
        self._refuse(403 if given else 401, "GatedRepo", f"Access to {kind} {id} is restricted.")
        return False

    def _commit(self, kind: str, id: str, revision: str) -> str | None:
        """The commit of a revision; None if that was refused."""
        repository = f"{kind}/{id}"
        if not (self.hub.root / repository).is_dir():
            self._refuse(401, "RepoNotFound", "Repository not found")
            return None
        now = self.hub.commit(repository)
        if revision in ("main", now) or revision in self.hub.commits:
            return now if revision == "main" else revision
        self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self._send(status, body, {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
