"""The route between the machines of a job: which of this machine's addresses and interfaces lead to the others."""

from __future__ import annotations

import socket

#: Where those listen whose peers are all on this machine.
LOOPBACK = "127.0.0.1"


def towards(host: str) -> str:
    """The IP of this machine's interface that leads to another machine; nothing is sent.

    Raises:
        OSError: there is no such machine, or no way to it.
    """
    family, kind, _, _, target = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(target)
        ip: str = probe.getsockname()[0]
    return ip


def interface(ip: str) -> str | None:
    """The name of the interface that has an IP (`lo`, `eth0`); None if none has it."""
    import psutil  # which whoever trains has

    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == ip for each in addresses):
            return str(name)
    return None
