"""Finds free ports for the sandbox's processes, and tells whether one is listened on."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle, islice
from random import SystemRandom

# Below the kernel's ephemeral ports: among them, a client that retries a dead server can get the
# server's port as its local port, connect to itself, and keep the port.
PORTS = range(20_000, 32_000)
BLOCK = 100
LOOPBACK = "127.0.0.1"


def free_port(host: str = LOOPBACK) -> int:
    """Find a port that is not in use and not ephemeral.

    The caller binds it later, and may close it and bind it again: no other process of the sandbox
    gets it meanwhile, because each draws from a block of its own.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in islice(_block_of(os.getpid()), BLOCK):
        with socket.socket(family) as probe, suppress(OSError):
            probe.bind((host, port))
            return port
    raise OSError(f"{BLOCK} ports were tried at {host}, and none is free")


async def listens(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a process accepts connections at the port."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


@cache
def _block_of(_: int) -> Iterator[int]:
    """Take a block of ports for the life of this process, by binding the block's first port."""
    firsts = list(PORTS[::BLOCK])
    SystemRandom().shuffle(firsts)
    for first in firsts:
        mark = socket.socket()
        try:
            mark.bind((LOOPBACK, first))
        except OSError:
            mark.close()
        else:
            mark.detach()  # the kernel closes it at the end
            return cycle(range(first + 1, first + BLOCK))
    raise OSError(f"All ports from {PORTS.start} to {PORTS.stop} are in use: end what runs there")
