"""Why an attempt at a node failed: error.json in its folder, for the head and for whoever would try again."""

from __future__ import annotations

import json
from pathlib import Path

ERROR = "error.json"


def leave(folder: Path, message: str, *, continues: bool = False) -> None:
    """Leave the reason of a failure in the node's folder. `continues`: another job could go on from what is there."""
    (folder / ERROR).write_text(json.dumps({"message": message, "continues": continues}))


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
