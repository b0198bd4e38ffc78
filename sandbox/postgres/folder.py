"""The folder of an embedded PostgreSQL: its owner, its contents, and its lock.

    data_dir/  lock  password  port  postgres.log  socket/  cluster/

As root the server runs as `nobody`. If `nobody` cannot reach the project's folder (root's home),
the server's files are in a folder below /var/tmp, and `cluster` is a link to it.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sandbox.postgres.os_account import Account, PostgresUnavailableError, own_open_folder

REACHABLE_FOLDERS = Path("/var/tmp")  # noqa: S108 - its owner is checked
LONGEST_SOCKET_FOLDER = 100 - len("/.s.PGSQL.65535.lock")


@dataclass(frozen=True)
class Places:
    """The folders of the server's account."""

    cluster: Path
    socket_folder: Path

    @property
    def name(self) -> str:
        """The server's name in the titles of its processes."""
        return f"sandbox-{_digest(self.cluster.resolve())}"


class PostgresFolder:
    """A server's files, locked for this process between `take` and `give_back`."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.reachable_folders = REACHABLE_FOLDERS / f"instagram-identity-{os.geteuid()}"
        self._reachable_folder = self.reachable_folders / _digest(self.path)
        self._lock: IO[str] | None = None

    def take(self) -> None:
        """Create and lock the folder; raises PostgresUnavailableError."""
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        if self._lock is not None:
            return
        lock = (self.path / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with lock:
                lock.seek(0)
                raise PostgresUnavailableError(
                    f"Process {lock.read()} already runs the PostgreSQL in {self.path}: "
                    "stop it, or choose another data folder."
                ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def give_back(self) -> None:
        """Release the folder; does nothing if it was not taken."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def erase(self) -> None:
        """Delete the server's files; other files stay."""
        if not self.path.exists():
            return
        self.take()
        for folder in ("cluster", "cluster.new", "socket"):
            _delete(self.path / folder)
        for file in ("password", "port", "postgres.log", "lock"):
            (self.path / file).unlink(missing_ok=True)
        shutil.rmtree(self._reachable_folder, ignore_errors=True)
        self.give_back()
        with suppress(OSError):
            self.path.rmdir()

    def places_for(self, account: Account) -> Places:
        """Find folders that the account can reach, and create one for its sockets."""
        home = self._home(account)
        return Places(home / "cluster", account.own(self._short(home / "socket")))

    def _home(self, account: Account) -> Path:
        """Return the folder for the server's files: the data folder if the account can reach it."""
        if account.reaches(self.path):
            return self.path
        own_open_folder(self.reachable_folders)
        link = self.path / "cluster"
        if not link.is_symlink():
            shutil.rmtree(self._reachable_folder, ignore_errors=True)  # of a deleted data folder
            link.symlink_to(self._reachable_folder / "cluster")
        return own_open_folder(self._reachable_folder)

    def _short(self, folder: Path) -> Path:
        if len(os.fsencode(folder)) <= LONGEST_SOCKET_FOLDER:
            return folder
        own_open_folder(self.reachable_folders)
        return own_open_folder(self._reachable_folder) / "socket"

    @property
    def password(self) -> str:
        """The password of the last cluster."""
        return (self.path / "password").read_text()

    def new_password(self) -> str:
        """Create a password for a new cluster, in a file that only the owner can read."""
        password, file = secrets.token_urlsafe(24), self.path / "password"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(password)
        return password

    @property
    def ports(self) -> list[int]:
        """The last used port, if any."""
        file = self.path / "port"
        return [int(port) for port in file.read_text().split()] if file.exists() else []

    def remember_port(self, port: int) -> None:
        """Store the port for the next start."""
        (self.path / "port").write_text(str(port))

    def open_log(self) -> IO[bytes]:
        """Start a new log."""
        self._log.touch(mode=0o600)  # it contains failed statements
        return self._log.open("wb")

    def failure(self, what: str) -> PostgresUnavailableError:
        """Return an error with the end of the log."""
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])
        return PostgresUnavailableError(
            f"{what}. Mend what its log says, or set DATABASE_URL to a PostgreSQL of your own. "
            f"The end of {self._log}:\n{tail}"
        )

    @property
    def _log(self) -> Path:
        return self.path / "postgres.log"


def _delete(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
