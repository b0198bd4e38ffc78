"""Fresh identities in memory, as the JSON that the Inbox gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from service.recently_used import RecentlyUsed
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
    """

    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], float] = loop_time) -> None:
        self._clock = clock
        self._entries = RecentlyUsed[_Entry](capacity)
        self._revisions = Revisions()
        self.is_trusted = False

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, ig_user_id: str) -> bytes | None:
        """Return the JSON of a fresh identity, or None."""
        entry = self._entries.get(ig_user_id) if self.is_trusted else None
        if entry is None or self._clock() >= entry.until_s:
            return None
        return entry.body

    def mark(self) -> Mark:
        """Return a mark to take before a read; users who change after it are not remembered."""
        return Mark(self._revisions.mark(), self._clock())

    def remember(self, ig_user_id: str, body: bytes, fresh_for_s: float, mark: Mark) -> None:
        """Remember an identity that was read after the mark, for `fresh_for_s` from the mark."""
        if self.is_trusted and not self._revisions.may_have_changed(ig_user_id, mark.revision):
            self._entries.put(ig_user_id, _Entry(body, mark.at_s + fresh_for_s))

    def evict(self, ig_user_id: str) -> None:
        """Forget a changed or erased user, and any read of them in progress."""
        self._revisions.note(ig_user_id)
        self._entries.pop(ig_user_id)

    def clear(self) -> None:
        """Forget all users: any of them may have changed."""
        self._revisions.note_all()
        self._entries.clear()
