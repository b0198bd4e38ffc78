"""The sandbox's data folder, which one sandbox uses at a time; other files are never deleted."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sandbox.postgres.server import EmbeddedPostgres
from sandbox.problems import RefusedError

MARKER, LOCK = "sandbox.txt", "sandbox.lock"
POSTGRES, KEYS, LOG, ENVIRONMENT = "postgres", "keys.json", "service.log", "environment"
NATS = "nats"

_MARKED = "The sandbox keeps its data here. `sandbox --fresh` deletes everything in this folder.\n"


@contextmanager
def sandbox_folder(path: Path, *, fresh: bool) -> Iterator[Path]:
    """Lock a folder for this process, created or emptied as needed; yields its full path.

    Raises RefusedError if the folder has other files or is used by another sandbox.
    """
    folder = path.resolve()
    _claim(folder)
    with (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(_in_use(folder)) from None
        _sign(lock.fileno())
        if fresh:
            _empty(folder)
        yield folder


def stored_keys(folder: Path, made: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of the last run, completed from `made`, and store them."""
    file = folder / KEYS
    keys = dict(made) | _read_keys(file)
    write_private(file, json.dumps(keys, indent=1) + "\n")
    return keys


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
        writer.write(text)
    new.replace(file)


def _claim(folder: Path) -> None:
    """Mark a new or empty folder as the sandbox's; refuse one with other files."""
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        if not (folder / MARKER).exists():
            if any(folder.iterdir()):
                raise RefusedError(_foreign(folder))
            (folder / MARKER).write_text(_MARKED)
    except OSError as error:
        raise RefusedError(
            f"{folder} can't be used as the data folder: {error.strerror}. "
            "Name another one with --data-dir."
        ) from error


def _foreign(folder: Path) -> str:
    return (
        f"{folder} holds other things and no {MARKER}: it is not a sandbox's folder, and nothing "
        "in it was touched. Name an empty or a new folder with --data-dir."
    )


def _in_use(folder: Path) -> str:
    owner = (folder / LOCK).read_text().strip() or "?"
    return (
        f"Another sandbox (process {owner}) already uses {folder}. "
        "Stop it, or name another folder with --data-dir."
    )


def _sign(lock: int) -> None:
    os.truncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())


def _empty(folder: Path) -> None:
    EmbeddedPostgres(folder / POSTGRES).erase()
    for child in folder.iterdir():
        if child.name in (MARKER, LOCK):
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _read_keys(file: Path) -> dict[str, str]:
    try:
        keys = json.loads(file.read_bytes())
        return {str(name): str(key) for name, key in keys.items() if key}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise RefusedError(
            f"{file} is damaged. Delete it, or run again with --fresh: "
            "new keys are made, and the sandbox starts empty."
        ) from error
