"""Finds free ports for the sandbox's processes."""

import socket
from contextlib import suppress
from random import SystemRandom

# Below the kernel's ephemeral ports, which it assigns to clients.
PORTS = range(20_000, 32_000)


def free_port(host: str = "127.0.0.1") -> int:
    """Find a port that is not in use and not ephemeral."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = SystemRandom().choice(PORTS)
        with socket.socket(family) as probe, suppress(OSError):
            probe.bind((host, port))
            return port
