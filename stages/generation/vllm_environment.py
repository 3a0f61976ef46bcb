"""The environment variables that vLLM reads when it is imported; so they are set before anything imports it."""

from __future__ import annotations

import os

_VARIABLES = {
    # The engine runs in this process: its weights can be updated in place, its generator seeded, its memory freed.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # TRL turns everything below ERROR off when it is imported first; the engine's lines belong into the log.
    "VLLM_LOGGING_LEVEL": "INFO",
    "VLLM_LOGGING_COLOR": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


def prepare() -> None:
    """Set what the user has not set. Called before the first import of vllm, which is also before that of trl."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
