"""The environment variables that vLLM reads when it is imported; so they are set before anything imports it."""

from __future__ import annotations

import os

from stages import route
from stages.route import LOOPBACK

_VARIABLES = {
    # The engine runs in this process: its weights can be updated in place, its generator seeded, its memory freed.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "INFO",
    "VLLM_LOGGING_COLOR": "0",
    "VLLM_NO_USAGE_STATS": "1",
    # Of all engines: none spans machines. By itself vLLM takes the interface that leads to the internet.
    "VLLM_HOST_IP": LOOPBACK,
    # Of the processes of a tensor-parallel engine: a fork would inherit this one's threads and CUDA.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # OMP_NUM_THREADS says how many threads there are; its own binding wants a NUMA node for every process.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}

#: Widths of an attention head that vLLM 0.32 has a kernel for on a CPU (`CPUAttentionBackend`).
CPU_HEADS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def prepare() -> None:
    """Set what the user has not set. Called before anything imports vllm, as TRL's GRPOTrainer does too."""
    if os.environ.get("VLLM_LOGGING_LEVEL") == "ERROR":  # TRL sets it when it is imported; the engine's lines matter
        del os.environ["VLLM_LOGGING_LEVEL"]
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)


def stay_here() -> None:
    """Have Gloo and NCCL listen at loopback, for an engine whose processes are all on this machine.

    Whatever they would listen at is for another group: that of a training over several machines, which an engine in a
    process of its own is no part of.
    """
    name = route.interface(LOOPBACK)
    if name is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = name
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")
