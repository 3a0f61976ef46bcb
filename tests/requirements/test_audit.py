"""`make audit` fails for a known vulnerability, passes over what is listed, and never calls silence a clean result."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copy

import pytest

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".venv" / "tools" / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="pip-audit is not installed: make audit")

LOCK = "demo==1.0 --hash=sha256:0\nother==2.0 --hash=sha256:0\n"
KNOWN = ("jinja2", "2.11.2")
Audit = Callable[..., subprocess.CompletedProcess[str]]


class Advisories(ThreadingHTTPServer):
    """A service that answers as OSV does. It knows of the packages and versions that are `vulnerable`."""

    def __init__(self, vulnerable: set[tuple[str, str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.vulnerable = vulnerable

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/query"


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package = query["package"]["name"]
        assert isinstance(self.server, Advisories)
        known = (package, query["version"]) in self.server.vulnerable
        events = [{"introduced": "0"}, {"fixed": "9.9"}]
        affected = [{"package": query["package"], "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
        answer = {"vulns": [{"id": f"PYSEC-{package}", "summary": "bad", "affected": affected}]} if known else {}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def advisories() -> Iterator[Advisories]:
    with Advisories({KNOWN, ("demo", "1.0")}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """The audit of a lock with two packages; its advisories.toml has this text."""
    copy(ROOT / "requirements" / "audit.py", tmp_path)
    (tmp_path / "head.txt").write_text(LOCK)

    def run(url: str, *options: str, listed: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "advisories.toml").write_text(listed)
        command = [PYTHON, tmp_path / "audit.py", "--osv-url", url, *options]
        return subprocess.run(command, capture_output=True, text=True)

    return run


def entry(until: date) -> str:
    return f'[PYSEC-demo]\nreason = "nothing here starts its server"\nuntil = {until}\n'


def test_a_vulnerable_locked_package_is_named_and_fails(audit: Audit, advisories: Advisories) -> None:
    done = audit(advisories.url, "--optional")
    assert done.returncode == 1
    assert done.stdout == "demo 1.0: PYSEC-demo: fixed in 9.9\n2 packages audited, 1 advisories, 0 passed over\n"


def test_a_listed_advisory_is_passed_over_until_its_day(audit: Audit, advisories: Advisories) -> None:
    tomorrow = audit(advisories.url, listed=entry(date.today() + timedelta(days=1)))
    assert (tomorrow.returncode, tomorrow.stdout) == (0, "2 packages audited, 0 advisories, 1 passed over\n")
    today = audit(advisories.url, listed=entry(date.today()))
    assert today.returncode == 1 and "nothing here starts its server" in today.stdout


def test_an_advisory_is_listed_with_a_reason_and_a_day(audit: Audit) -> None:
    done = audit("http://127.0.0.1:9", listed='[PYSEC-demo]\nreason = " "\nuntil = 2026-01-01\n')
    assert (
        done.returncode == 1
        and done.stderr == "advisories.toml: PYSEC-demo needs a reason (a text) and until (a day)\n"
    )


def test_a_service_without_advisories_is_no_clean_result(audit: Audit, advisories: Advisories) -> None:
    advisories.vulnerable.clear()
    why = "not audited: osv: it names no vulnerability of jinja2==2.11.2, which has some\n"
    assert (audit(advisories.url).returncode, audit(advisories.url, "--optional").stdout) == (1, why)


@pytest.mark.parametrize(("options", "code"), [((), 1), (("--optional",), 0)])
def test_where_no_service_answers_it_says_so(audit: Audit, options: tuple[str, ...], code: int) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_address[1]
    done = audit(f"http://127.0.0.1:{port}/", *options)
    assert done.returncode == code and done.stdout.startswith("not audited: osv: ")
