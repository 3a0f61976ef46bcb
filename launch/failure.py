"""Why an attempt at a node failed, in a part of its folder, for the head and for whoever would try again.

error.json      the last attempt's reason
setbacks.json   how often the node was lost since it last saved something new
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from launch.credentials import masked
from stages import jsonfile
from stages.part import ATTEMPTS
from stages.saved import Saved

ERROR, SETBACKS = "error.json", "setbacks.json"

#: How often a node that was lost is tried again, as long as it saves nothing new in between.
TRIES = 2


def leave(part: Path, message: str, *, continues: bool = False) -> None:
    """Leave the reason of a failure in a part. `continues`: another job could go on from what is there.

    Others read it, and libraries name the proxy that they could not reach, with its password.
    """
    jsonfile.write(part / ERROR, {"message": masked(message), "continues": continues})


def leave_lost(part: Path, message: str) -> bool:
    """Leave the reason why a node was lost; whether it is to be tried again, as it is unless it keeps being lost.

    Of several processes that say so of one attempt, one counts.
    """
    step, attempt = Saved(part).step, _attempt(part)
    before = jsonfile.found(part / SETBACKS) or {}
    counted = attempt is not None and before.get("attempt") == attempt
    times = _times(before) + (not counted) if before.get("step") == step else 1
    jsonfile.write(part / SETBACKS, {"step": step, "times": times, "attempt": attempt})
    again = times <= TRIES
    leave(part, message if again else f"{message} ({times} times without progress)", continues=True)
    return again


def _attempt(part: Path) -> str | None:
    try:
        return jsonfile.text(part / ATTEMPTS, jsonfile.SMALL)
    except (OSError, ValueError):
        return None


def again(part: Path) -> bool:
    """Whether the last attempt was lost, and the next one may well succeed."""
    before = jsonfile.found(part / SETBACKS)
    return before is not None and _times(before) <= TRIES and failed(part) and not for_good(part)


def failed(part: Path) -> bool:
    """Whether the last attempt left a reason."""
    return os.path.lexists(part / ERROR)


def messages(part: Path) -> list[str]:
    """What a failed attempt left in the part, one message an error."""
    left = jsonfile.found(part / ERROR) or {}
    return str(left["message"]).splitlines() if "message" in left else ["no message was left; see the log"]


def for_good(part: Path) -> bool:
    """Whether the last attempt left a reason for which the next one would fail as well."""
    left = jsonfile.found(part / ERROR)
    return left is not None and not left.get("continues", False)


def _times(before: dict[str, Any]) -> int:
    """How often a node was lost, by its setbacks.json; what says it in another way says nothing."""
    times = before.get("times")
    return times if isinstance(times, int) else 0
