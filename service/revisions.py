"""Which users have changed since a mark: what guards memories against races."""

from __future__ import annotations

from collections import OrderedDict

MOST_CHANGES = 10_000  # that a reader may miss before nothing it read is remembered


class Revisions:
    """Takes marks before a read or a write, and tells who has changed after one.

    What was read by a statement is remembered only if its user has not changed since the mark: the
    statement may have seen the state before the change, and the notice may have come first.
    """

    def __init__(self) -> None:
        self._now = 0
        self._complete_since = 0
        self._by_user: OrderedDict[str, int] = OrderedDict()

    def mark(self) -> int:
        """Take a mark."""
        return self._now

    def note(self, ig_user_id: str) -> None:
        """Note that a user has changed."""
        self._now += 1
        self._by_user[ig_user_id] = self._now
        self._by_user.move_to_end(ig_user_id)
        if len(self._by_user) > MOST_CHANGES:
            _, self._complete_since = self._by_user.popitem(last=False)

    def note_all(self) -> None:
        """Note that anybody may have changed."""
        self._now += 1
        self._complete_since = self._now
        self._by_user.clear()

    def may_have_changed(self, ig_user_id: str, mark: int) -> bool:
        """Tell whether a user has changed since a mark, or may have."""
        return mark < self._complete_since or mark < self._by_user.get(ig_user_id, 0)
