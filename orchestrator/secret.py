"""Secrets on a command line or in a config are refused: both are recorded and sent. No message has one whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from launch import credentials
from orchestrator.refusal import ConfigError
from orchestrator.values import shown

#: Characters of a word of the command line that a message has.
LONGEST = 1000


def check(arguments: Iterable[str]) -> None:
    """Refuse a command line that has a secret in a URL, before anything else is said of it.

    Raises:
        ConfigError: with every word that has one, without it.
    """
    errors = [
        _said(credentials.masked(each)[:LONGEST], why)
        for each in arguments
        if (why := credentials.fault(each)) is not None
    ]
    if errors:
        raise ConfigError(errors)


def found(plain: Any, key: str = "") -> Iterator[str]:
    """What is wrong with the texts and the names of a config that have a secret in a URL."""
    if isinstance(plain, dict):
        for name, value in plain.items():
            whole = f"{key}.{name}" if key else str(name)
            if (why := credentials.fault(str(name))) is not None:
                yield _said(credentials.masked(whole), why)
            yield from found(value, whole)
    elif isinstance(plain, list):
        for number, value in enumerate(plain):
            yield from found(value, f"{key}.{number}")
    elif isinstance(plain, str) and (why := credentials.fault(plain)) is not None:
        yield _said(f"{key}={shown(credentials.masked(plain))}", why)


def _said(text: str, why: str) -> str:
    return f"{text}: has {why}; a config is recorded, and others read it"
