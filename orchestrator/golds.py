"""Gold answers before anything runs: those that do not parse, looked for in grading processes, for a bounded time.

To parse one takes milliseconds, or for ever: so a grader does it, which is killed when it hangs, and what is a plain
number is not asked about. What was found is remembered by whoever asks.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence

#: Wall seconds after which the rest is left to the stage.
SECONDS = 10.0
#: Golds that each grader is given at once.
AT_ONCE = 8
#: What parses for certain: the answers of small worlds cost nothing.
_PLAIN = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")


def unreadable(golds: Sequence[str]) -> tuple[dict[str, str], int]:
    """Gold -> why it does not parse as mathematics; and how many of the golds were looked at, from the first."""
    asked = [gold for gold in dict.fromkeys(golds) if not _PLAIN.fullmatch(gold)]
    found: dict[str, str] = {}
    seen = 0
    if asked:
        from stages.grading.pool import Graders  # imports what only somebody with new golds needs

        workers = min(4, os.cpu_count() or 1)
        with Graders(workers) as graders:
            began = time.monotonic()
            while seen < len(asked) and time.monotonic() - began < SECONDS:
                part = asked[seen : seen + AT_ONCE * workers]
                found |= {part[place]: why for place, why in graders.unreadable("math", part).items()}
                seen += len(part)
    left = golds.index(asked[seen]) if seen < len(asked) else len(golds)
    return found, left
