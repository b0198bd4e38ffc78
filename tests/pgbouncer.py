"""A real PgBouncer in front of a test's PostgreSQL, on a loopback port, without root's rights."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from sandbox.ports import free_port
from tests.programs import find_program
from tests.until import until_it_listens

NOBODY = 65534
_CONFIG = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = {mode}
default_pool_size = {size}
"""


@asynccontextmanager
async def pgbouncer(
    folder: Path,
    url: str,
    mode: Literal["session", "transaction"],
    size: int = 20,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[str]:
    """Run PgBouncer on its defaults but for the mode; gives the connection string through it.

    `folder` must be one that other accounts can pass: the fixture `open_folder`. `size` is the
    number of server sessions; a small one makes clients share them in transaction mode. `settings`
    are more lines of the configuration.
    """
    server, port = urlsplit(url), free_port()
    config = _CONFIG.format(
        host=server.hostname,
        port=server.port,
        listen_port=port,
        folder=folder,
        mode=mode,
        size=size,
    )
    config += "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
    write_for_nobody(folder / "users.txt", f'"{server.username}" "{server.password}"\n')
    write_for_nobody(folder / "pgbouncer.ini", config)
    with (folder / "pgbouncer.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *_as_nobody(), _program(), str(folder / "pgbouncer.ini"), stdout=log, stderr=log
        )
    try:
        await until_it_listens(process, port, folder / "pgbouncer.log")
        login = f"{server.username}:{server.password}"
        yield server._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()
    finally:
        if process.returncode is None:
            process.kill()  # at once: a polite end waits for the clients
        await process.wait()


def write_for_nobody(path: Path, text: str) -> None:
    """Write a file that PgBouncer's account alone may read."""
    path.write_text(text)
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def _as_nobody() -> tuple[str, ...]:
    """PgBouncer refuses to run as root."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def _program() -> str:
    program = find_program("pgbouncer")
    assert program is not None, "mark the test with needs_program('pgbouncer')"
    return program
