"""Credentials: names that hold one, URLs that have one in them, and the same text without it.

A config is recorded, planned by others and sent in messages: what is secret belongs into the environment of the user,
and what needs it reads it there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

#: Parts of a name that say that it holds a secret. A tokenizer holds none, nor does an author or a keyboard.
_SECRET = re.compile(
    r"TOKEN(?!IZ)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|CONNECTION_?STRING|COOKIE|PRIVATE|SESSION|WEBHOOK|API_?KEY|NETRC"
    r"|(?<![A-Z])(CREDS?|AUTH|OAUTH2?|AUTHORIZATION|JWT|PAT|PASS|DSN|SAS|SIGNATURE|SIG)(?![A-Z])|(KEYS?|_PWD?)(?![A-Z])",
    re.IGNORECASE,
)

#: A URL, up to what cannot be in one.
_URL = re.compile(
    r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30})://"
    r"(?P<rest>(?:(?![A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s\"'<>\\])+)"
)
#: What stands before the host; a password may have any character, but none makes a port of the host.
_USER = re.compile(r"^(?P<user>[^/?#]*|[^/?#@:]*:(?!\d{1,5}(?:[/?#]|$))[^@]*)@")
_FIELD = re.compile(r"(?<=[?&;#])(?P<name>[^=&;#?]+)=(?P<value>[^&;#]+)")

#: Webhooks whose address is the secret: that of the services, and the form that Mattermost and its like have.
_WEBHOOK = re.compile(
    r"^(hooks\.slack(-gov)?\.com/(services|workflows|triggers)/|(\w+\.)?discord(app)?\.com/api/(v\d+/)?webhooks/"
    r"|[\w.-]*\.?webhook\.office\.com/|outlook\.office(365)?\.com/webhook|chat\.googleapis\.com/v\d+/spaces/"
    r"|api\.telegram\.org/bot|[^/]+/hooks/[a-z0-9]{20,})(?P<secret>.+)$",
    re.IGNORECASE,
)
_MASK = "***"


def is_secret(name: str) -> bool:
    """Whether a name, of a variable or of a field of a URL, says that it holds a secret."""
    return _SECRET.search(name) is not None


def fault(text: str) -> str | None:
    """What a text has that is secret, and where that belongs; None if it has nothing of the kind."""
    kinds: list[str] = []
    _replaced(text, kinds.append)
    return kinds[0] if kinds else None


def masked(text: str) -> str:
    """A text with `***` in place of what is secret in its URLs."""
    return _replaced(text, lambda kind: None)


def _replaced(text: str, note: Callable[[str], None]) -> str:
    if "://" not in text:
        return text
    return _URL.sub(lambda url: f"{url['scheme']}://{_masked(url['scheme'].lower(), url['rest'], note)}", text)


def _masked(scheme: str, rest: str, note: Callable[[str], None]) -> str:
    """What follows the scheme of a URL, without its secrets; tells which there were."""
    user = _USER.match(rest)
    if user is not None and (":" in unquote(user["user"]) or scheme in ("http", "https")):
        note("a URL with a user or a password; they belong into ~/.netrc, or into the tool that asks there")
        rest = f"{_MASK}@{rest[user.end() :]}"
    host = rest[_end_of_user(rest) :]
    hook = _WEBHOOK.match(host)
    if hook is not None:
        note("the address of a webhook, which is a secret; it belongs into the variable REJUVENATION_WEBHOOK")
        return f"{rest[: len(rest) - len(host)]}{host[: hook.start('secret')]}{_MASK}"

    def field(found: re.Match[str]) -> str:
        if not is_secret(unquote(found["name"])):
            return found[0]
        note(f"a URL with a secret ({found['name']}=); it belongs into a variable of the environment")
        return f"{found['name']}={_MASK}"

    return _FIELD.sub(field, rest)


def _end_of_user(rest: str) -> int:
    found = _USER.match(rest)
    return found.end() if found else 0
