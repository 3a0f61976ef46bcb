"""Webhooks: a message to the URL in the environment variable REJUVENATION_WEBHOOK, which is a secret.

Nothing here names the URL: no error, no log. The message is JSON with a `text`, as Slack's and Mattermost's incoming
webhooks take it, and what else a script may want to know.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

VARIABLE = "REJUVENATION_WEBHOOK"

#: Seconds that a message may take, tries included.
PATIENCE = 10.0

#: The name of the threads that send.
SENDER = "webhook"


class Unusable(ValueError):
    """The variable's value is no URL that a message can be sent to. Says why, without the value."""


class Unsent(Exception):
    """A message did not arrive, and why. `heard`: it may have been heard all the same."""

    def __init__(self, why: str, *, heard: bool = False) -> None:
        super().__init__(why)
        self.heard = heard


class _Refused(Unsent):
    """It did not arrive this time; the next try may."""


def url() -> str | None:
    """The URL; None if there is none.

    Raises:
        Unusable: it is not one of http or https, or not well formed.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return None
    try:
        parts = urlsplit(given)
        host = parts.hostname
        _ = parts.port  # checked when it is read
    except ValueError:
        raise Unusable(f"{VARIABLE}: is no well-formed URL; allowed: http:// or https:// with a host") from None
    if parts.scheme not in ("http", "https") or not host:
        begins = f"begins with {parts.scheme}://" if "://" in given and parts.scheme.isalnum() else "has no scheme"
        begins = "has no host" if parts.scheme in ("http", "https") else begins
        raise Unusable(f"{VARIABLE}: {begins}; allowed: http:// or https:// with a host")
    if not given.isascii() or not given.isprintable() or " " in given:
        raise Unusable(f"{VARIABLE}: has characters that no URL has; allowed: http:// or https:// with a host")
    return given


def post(message: dict[str, Any], to: str, patience: float = PATIENCE) -> None:
    """Send a message, again if it was not taken.

    Raises:
        Unsent: it was not taken within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    body = json.dumps(message).encode()
    tries = Retrying(
        retry=retry_if_exception_type(_Refused),
        wait=wait_exponential(multiplier=patience / 40, max=patience / 4),
        stop=stop_after_delay(patience / 2),
        reraise=True,
    )
    tries(lambda: _once(body, to, deadline - time.monotonic()))


def _once(body: bytes, to: str, patience: float) -> None:
    asked = request.Request(to, data=body, headers={"Content-Type": "application/json"}, method="POST")
    try:
        with request.build_opener(_Still).open(asked, timeout=patience):
            return
    except HTTPError as error:
        told = _Refused if error.code >= 500 or error.code == 429 else Unsent
        raise told(f"the server answered {error.code}") from None
    except TimeoutError:  # heard, perhaps: a second message would be one too many
        raise Unsent(f"no answer within {patience:.0f} s", heard=True) from None
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise Unsent(f"no connection within {patience:.0f} s") from None
        raise _Refused(getattr(error.reason, "strerror", None) or type(error.reason).__name__) from None
    except Exception as error:  # its text may have the URL in it
        raise Unsent(type(error).__name__) from None


class _Still(request.HTTPRedirectHandler):
    """Follows no redirection: urllib would send a GET without the message, and take its answer for success."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Sending:
    """Sends one message after the other, in threads of its own: nothing waits for a server but `finish`."""

    def __init__(self) -> None:
        self._last: threading.Thread | None = None

    def start(self, send: Callable[[], None]) -> None:
        """Call `send` beside what goes on; an `Unsent` of it is a line on standard error."""
        self._last = threading.Thread(target=_after, args=(self._last, send), name=SENDER, daemon=True)
        self._last.start()

    def finish(self, patience: float) -> None:
        """Wait for what is being sent, for so many seconds at most."""
        if self._last is not None:
            self._last.join(patience)
            if self._last.is_alive():
                print(f"{VARIABLE}: not notified within {patience:.0f} s", file=sys.stderr, flush=True)
        self._last = None


def _after(before: threading.Thread | None, send: Callable[[], None]) -> None:
    if before is not None:
        before.join()
    try:
        send()
    except (Unsent, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        print(f"{VARIABLE}: not notified: {why}", file=sys.stderr, flush=True)
