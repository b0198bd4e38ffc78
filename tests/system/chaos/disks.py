"""Small disks that can be filled, visible to this process only.

They need a mount namespace, which root can create, and other users if Linux allows user
namespaces.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

SIZE = b"size=48m"
# From Linux's sched.h and mount.h.
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_RECURSIVE_AND_PRIVATE = 0x4000 | 0x40000
_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


class Disk:
    """A file system of a few megabytes in memory."""

    def __init__(self, at: Path) -> None:
        self._at = at
        self._ballast = at / "ballast"

    def __enter__(self) -> Self:
        self._at.mkdir()
        where = os.fsencode(self._at)
        _check(_libc.mount(b"tmpfs", where, b"tmpfs", 0, SIZE), f"mount {self._at}")
        return self

    def __exit__(self, *_: object) -> None:
        _check(_libc.umount2(os.fsencode(self._at), _DETACH), f"umount {self._at}")

    def fill(self) -> None:
        """Fill the disk."""
        with self._ballast.open("wb", buffering=0) as ballast:
            for size in (65536, 1):
                with suppress(OSError):  # the disk is full, as intended
                    while True:
                        ballast.write(bytes(size))

    def empty(self) -> None:
        """Free the space."""
        self._ballast.unlink(missing_ok=True)


def leave_shared_mounts() -> None:
    """Make the mounts of this process and its children private; raises OSError.

    Call it before a second thread starts.
    """
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_NEW_MOUNTS | (_NEW_USERS if user else 0)), "unshare")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _check(_libc.mount(b"none", b"/", None, _RECURSIVE_AND_PRIVATE, None), "private mounts")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
