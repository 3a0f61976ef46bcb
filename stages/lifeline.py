"""The end of a parent process as the end of its child, by the kernel: also where the child hangs in C code."""

from __future__ import annotations

import ctypes
import signal

#: PR_SET_PDEATHSIG of <sys/prctl.h>.
_PARENT_DEATH = 1


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. The caller looks whether it has ended already."""
    library = ctypes.CDLL(None)
    if hasattr(library, "prctl"):
        library.prctl(_PARENT_DEATH, signal.SIGKILL)
