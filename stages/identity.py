"""Identity: what a node is, as canonical JSON, and its SHA-256, the fingerprint.

    identity = {"stage": ..., "version": ..., "config": {...}, "inputs": {kind: fingerprint}}

Canonical is RFC 8785, so key order does not matter and 1 is 1.0. What is not JSON is refused, never turned into a
string: a value whose text may change between two runs would change the fingerprint with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785


def identity(stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """The pre-image of a fingerprint. `inputs` maps the kind of each input to its fingerprint."""
    return {"stage": stage, "version": version, "config": dict(config), "inputs": dict(inputs)}


def fingerprint(preimage: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of `preimage`, as 64 hexadecimal digits.

    Raises:
        ValueError: a value is not JSON (a path, an object, NaN) or an integer beyond 2**53.
    """
    try:
        return hashlib.sha256(rfc8785.dumps(preimage)).hexdigest()
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"no fingerprint for {preimage!r}: {error}") from None
