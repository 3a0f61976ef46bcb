"""Why an attempt at a node failed, in its folder, for the head and for whoever would try again.

error.json      the last attempt's reason
setbacks.json   how often the node was lost since it last saved something new
"""

from __future__ import annotations

import json
from pathlib import Path

from stages.saved import Saved
from stages.store import ATTEMPTS

ERROR, SETBACKS = "error.json", "setbacks.json"

#: How often a node that was lost is tried again, as long as it saves nothing new in between.
TRIES = 2


def leave(folder: Path, message: str, *, continues: bool = False) -> None:
    """Leave the reason of a failure in the node's folder. `continues`: another job could go on from what is there."""
    (folder / ERROR).write_text(json.dumps({"message": message, "continues": continues}))


def leave_lost(folder: Path, message: str) -> bool:
    """Leave the reason why a node was lost; whether it is to be tried again, as it is unless it keeps being lost.

    Of several processes that say so of one attempt, one counts.
    """
    step, attempt = Saved(folder).step, _attempt(folder)
    try:
        before = json.loads((folder / SETBACKS).read_text())
    except (OSError, ValueError):
        before = {"step": None, "times": 0}
    counted = attempt is not None and before.get("attempt") == attempt
    times = before["times"] + (not counted) if before["step"] == step else 1
    (folder / SETBACKS).write_text(json.dumps({"step": step, "times": times, "attempt": attempt}))
    again = times <= TRIES
    leave(folder, message if again else f"{message} ({times} times without progress)", continues=True)
    return again


def _attempt(folder: Path) -> str | None:
    try:
        return (folder / ATTEMPTS).read_text()
    except OSError:
        return None


def again(folder: Path) -> bool:
    """Whether the last attempt was lost, and the next one may well succeed."""
    try:
        times: int = json.loads((folder / SETBACKS).read_text())["times"]
        return times <= TRIES and (folder / ERROR).is_file() and not for_good(folder)
    except (OSError, ValueError, KeyError):
        return False


def messages(folder: Path) -> list[str]:
    """What a failed attempt left in the node's folder, one message an error."""
    try:
        return str(json.loads((folder / ERROR).read_text())["message"]).splitlines()
    except (OSError, ValueError, KeyError):
        return ["no message was left; see the log"]


def for_good(folder: Path) -> bool:
    """Whether the last attempt left a reason for which the next one would fail as well."""
    try:
        return not json.loads((folder / ERROR).read_text()).get("continues", False)
    except (OSError, ValueError):
        return False
