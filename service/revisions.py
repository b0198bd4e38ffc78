"""Tracks which users have changed since a mark, to guard caches against races."""

from __future__ import annotations

from collections import OrderedDict

MOST_CHANGES = 10_000  # after more changes than this, every user may have changed


class Revisions:
    """Returns marks to take before a read, and whether a user has changed since one.

    A user's row is cached only if the user has not changed since the mark: the statement may have
    read the old state although the notice of the change arrived first.
    """

    def __init__(self) -> None:
        self._now = 0
        self._complete_since = 0
        self._by_user: OrderedDict[str, int] = OrderedDict()

    def mark(self) -> int:
        """Return a mark."""
        return self._now

    def note(self, ig_user_id: str) -> None:
        """Record that a user has changed."""
        self._now += 1
        self._by_user[ig_user_id] = self._now
        self._by_user.move_to_end(ig_user_id)
        if len(self._by_user) > MOST_CHANGES:
            _, self._complete_since = self._by_user.popitem(last=False)

    def note_all(self) -> None:
        """Record that any user may have changed."""
        self._now += 1
        self._complete_since = self._now
        self._by_user.clear()

    def may_have_changed(self, ig_user_id: str, mark: int) -> bool:
        """Return whether a user may have changed since a mark."""
        return mark < self._complete_since or mark < self._by_user.get(ig_user_id, 0)
