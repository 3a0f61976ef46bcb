"""What vLLM and its process groups listen at is on this machine alone."""

from __future__ import annotations

import os

import pytest

from stages.generation import vllm_environment


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that is put back afterwards."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


def test_an_engine_listens_at_loopback() -> None:
    for name in ("VLLM_HOST_IP", "NCCL_SOCKET_IFNAME"):
        os.environ.pop(name, None)
    os.environ["GLOO_SOCKET_IFNAME"] = "eth7"  # as the ranks of several machines have it
    vllm_environment.prepare()
    vllm_environment.stay_here()
    assert os.environ["VLLM_HOST_IP"] == "127.0.0.1"
    assert (os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"]) == ("lo", "=lo")


def test_what_the_user_chose_for_nccl_counts() -> None:
    os.environ["NCCL_SOCKET_IFNAME"] = "ib0"
    vllm_environment.stay_here()
    assert os.environ["NCCL_SOCKET_IFNAME"] == "ib0"
