"""What processes have printed, as text for a terminal: colours go, and whatever else controls one is shown."""

from __future__ import annotations

import codecs
import io
import re
from typing import IO

from launch.escape import visible

#: Colours and weights of letters, which libraries print.
_COLOURS = re.compile(r"\x1b\[[\d;:]*m")
#: Characters of a line without an end that are kept back, at most.
_LONGEST = 2**16


class Printed:
    """Copies bytes to `out`, line by line. A progress bar that returns to the beginning of its line has a line each."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._rest = ""

    def write(self, chunk: bytes) -> None:
        text = self._rest + self._decoder.decode(chunk)
        whole, end, self._rest = text.rpartition("\n")
        if len(self._rest) > _LONGEST:
            whole, end, self._rest = whole + end + self._rest, "", ""
        self._put(whole + end)

    def finish(self) -> None:
        """Copy a last line without an end."""
        self._put(self._rest + self._decoder.decode(b"", final=True))
        self._rest = ""
        self._decoder.reset()

    def _put(self, text: str) -> None:
        self._out.write(visible(_COLOURS.sub("", text)).encode("utf-8", "backslashreplace"))
        self._out.flush()
