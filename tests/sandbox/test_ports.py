import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import ports
from sandbox.ports import BLOCK, PORTS, free_port

PROJECT = Path(ports.__file__).parent.parent
DRAW_AND_WAIT = """
from sandbox.ports import free_port
print(*(free_port() for _ in range(200)), flush=True)
input()
"""


def test_two_processes_draw_no_port_of_each_other_even_if_none_is_bound() -> None:
    command = [sys.executable, "-c", DRAW_AND_WAIT]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, text=True) as other:  # noqa: S603 - our own code
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        ours = {free_port() for _ in range(2 * BLOCK)}
        other.communicate("\n")
    assert len(theirs) > BLOCK / 2
    assert len(ours) > BLOCK / 2
    assert not theirs & ours
    assert theirs | ours <= set(PORTS)


def test_a_port_in_use_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        assert port not in {free_port() for _ in range(2 * BLOCK)}


def test_where_no_port_can_be_bound_it_says_so() -> None:
    with pytest.raises(OSError, match=r"tried at 192\.0\.2\.1"):  # of RFC 5737: no machine has it
        free_port("192.0.2.1")
