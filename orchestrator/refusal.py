"""What is wrong with a config: every error names its key, its value and what is allowed."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator import confusable, values


class ConfigError(Exception):
    """The config is wrong. `messages` are all of its errors, each with the full key, the value and what is allowed."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = list(messages)
        super().__init__("\n".join(self.messages))


def parse(kind: Any, plain: Any, key: str) -> Any:
    """Validate `plain` as the dataclass `kind`; `key` is where it stands in the config.

    Raises:
        ConfigError: with every field that is missing, unknown, of the wrong type, out of range, or nothing that a
            fingerprint can hold.
    """
    faults = dict(values.faults(plain, key))
    try:
        # As JSON, because only there does strict mean types and still let mappings be dataclasses.
        found = TypeAdapter(kind).validate_json(json.dumps(plain, default=str))
    except ValidationError as error:
        items = [item for item in error.errors(include_url=False) if item["type"] != "json_invalid"]  # a fault says it
        said = [_message(item, kind, key) for item in items]
        unsaid = [fault for at, fault in faults.items() if not any(each.startswith(f"{at}=") for each in said)]
        raise ConfigError([*said, *unsaid]) from None
    if faults:
        raise ConfigError(faults.values())
    return found


def _message(item: Any, kind: Any, key: str) -> str:
    """One line of the form `key=value: what is wrong; what is allowed`."""
    path = [str(part) for part in item["loc"] if not str(part).startswith("function-")]
    full = ".".join([key, *path] if key else path)
    if isinstance(item["input"], float) and math.isnan(item["input"]):  # it is in no range, so any may be named
        return f"{full}={item['input']!r}: input should be a finite number"
    odd = confusable.said(item["input"]) if isinstance(item["input"], str) else ""
    if item["type"] == "missing" or item["input"] == "???":
        return f"{full}: has no value; set it with {full}=..."
    if item["type"] == "unexpected_keyword_argument":
        fields = list(getattr(kind, "__dataclass_fields__", {})) if len(path) == 1 else []
        return f"{full}: no such key{instead(path[-1], fields)}"
    return f"{full}={values.shown(item['input'])}: {item['msg'][0].lower()}{item['msg'][1:]}{odd}"


def instead(wrong: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` and what is allowed, to end a message with; and characters that look like others."""
    allowed = list(allowed)
    close = nearest(wrong, allowed)
    hint = confusable.said(wrong) + ("" if close is None else f"; did you mean {close!r}?")
    return f"{hint}; allowed: {', '.join(allowed)}" if allowed else hint


def nearest(wrong: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that was perhaps meant; what differs in case alone is the nearest."""
    allowed = list(allowed)
    alike = [each for each in allowed if each.casefold() == wrong.casefold()]
    return next(iter(alike or difflib.get_close_matches(wrong, allowed, n=1)), None)
