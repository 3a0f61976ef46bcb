"""Findings: what doctor says, line by line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line.

    Attributes:
        means: for the user, if something is worse than it could be; empty if nothing is.
        fatal: nothing can be run like this.
    """

    what: str
    value: str
    means: str = ""
    fatal: bool = False
