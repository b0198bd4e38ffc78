"""Fresh identities in memory, as the JSON that the Inbox gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from service.revisions import Revisions
from service.waiting import loop_time

CAPACITY = 50_000


class _Entry(msgspec.Struct, gc=False):
    body: bytes
    until_s: float


class Mark(NamedTuple):
    """A point in time before a read."""

    revision: int
    at_s: float


class LookupMemory:
    """Recently read identities, at most `capacity`, until each expires.

    It answers only while it is trusted, that is while notices of changes are proven to arrive.
    Unused entries are dropped with the older of two generations of plain dicts.
    """

    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], float] = loop_time) -> None:
        self._half = max(1, capacity // 2)
        self._clock = clock
        self._young: dict[str, _Entry] = {}
        self._old: dict[str, _Entry] = {}
        self._revisions = Revisions()
        self.is_trusted = False

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, ig_user_id: str) -> bytes | None:
        """Return the JSON of a fresh identity, or None."""
        if not self.is_trusted:
            return None
        entry = self._young.get(ig_user_id)
        if entry is None:
            entry = self._old.pop(ig_user_id, None)
            if entry is None:
                return None
            self._keep(ig_user_id, entry)
        return entry.body if self._clock() < entry.until_s else None

    def mark(self) -> Mark:
        """Return a mark to take before a read; users who change after it are not remembered."""
        return Mark(self._revisions.mark(), self._clock())

    def remember(self, ig_user_id: str, body: bytes, fresh_for_s: float, mark: Mark) -> None:
        """Remember an identity that was read after the mark, for `fresh_for_s` from the mark."""
        if self.is_trusted and not self._revisions.may_have_changed(ig_user_id, mark.revision):
            self._old.pop(ig_user_id, None)
            self._keep(ig_user_id, _Entry(body, mark.at_s + fresh_for_s))

    def evict(self, ig_user_id: str) -> None:
        """Forget a changed or erased user, and any read of them in progress."""
        self._revisions.note(ig_user_id)
        self._young.pop(ig_user_id, None)
        self._old.pop(ig_user_id, None)

    def clear(self) -> None:
        """Forget all users: any of them may have changed."""
        self._revisions.note_all()
        self._young, self._old = {}, {}

    def _keep(self, ig_user_id: str, entry: _Entry) -> None:
        if len(self._young) >= self._half and ig_user_id not in self._young:
            self._young, self._old = {}, self._young
        self._young[ig_user_id] = entry
