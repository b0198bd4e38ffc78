"""What this replica remembers to be durable: participants that cost no database work."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from service.model import Contact
    from service.store.journal import Journalled

CAPACITY = 100_000
_STORED_WITHIN = timedelta(hours=1)


class _Entry(msgspec.Struct, gc=False):
    ig_account_id: str
    last_message_at: datetime
    fresh_until: datetime | None
    is_scheduled: bool


class Known:
    """A bounded LRU of committed participants, by user.

    It is trusted only while notices of erasures and changes reach this replica.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        # most users write to one account: a tuple of one takes a quarter of a dict's memory
        self._by_user: OrderedDict[str, tuple[_Entry, ...]] = OrderedDict()
        self._evictions = 0
        self.is_trusted = False

    def __len__(self) -> int:
        return len(self._by_user)

    def needs_nothing(self, contact: Contact, now: datetime) -> bool:
        """Tell whether the tables hold all that the contact says, and no fetch has to be set."""
        entry = self._find(contact) if self.is_trusted else None
        if entry is None:
            return False
        return entry.is_scheduled or (entry.fresh_until is not None and now < entry.fresh_until)

    def is_scheduled(self, contact: Contact) -> bool:
        """Tell whether the user's first fetch stands in the tables and is not yet made."""
        entry = self._find(contact)
        return entry is not None and entry.is_scheduled

    def is_durable(self, contact: Contact) -> bool:
        """Tell whether the participant is committed, the time within the hour."""
        return self._find(contact) is not None

    def mark(self) -> int:
        """Take a mark before writing: what is evicted after it is not remembered."""
        return self._evictions

    def remember(self, written: Journalled, mark: int) -> None:
        """Remember what was committed since the mark was taken."""
        if mark != self._evictions:
            return
        account = written.ig_account_id
        entry = _Entry(account, written.last_message_at, written.fresh_until, written.is_scheduled)
        entries = self._by_user.get(written.ig_user_id, ())
        others = tuple(other for other in entries if other.ig_account_id != account)
        self._by_user[written.ig_user_id] = (entry, *others)
        self._by_user.move_to_end(written.ig_user_id)
        if len(self._by_user) > self._capacity:
            self._by_user.popitem(last=False)

    def update(self, ig_user_id: str, fresh_until: datetime | None) -> None:
        """Note that a user's identity has changed."""
        for entry in self._by_user.get(ig_user_id, ()):
            entry.fresh_until, entry.is_scheduled = fresh_until, False

    def evict(self, ig_user_id: str) -> None:
        """Forget a user, also what is being written."""
        self._evictions += 1
        self._by_user.pop(ig_user_id, None)

    def clear(self) -> None:
        """Forget everyone."""
        self._evictions += 1
        self._by_user.clear()

    def forget_freshness(self) -> None:
        """Note that any identity may have changed."""
        for ig_user_id in self._by_user:
            self.update(ig_user_id, None)

    def _find(self, contact: Contact) -> _Entry | None:
        entry = self._stored(contact)
        if entry is None or contact.last_at - entry.last_message_at > _STORED_WITHIN:
            return None
        if entry.last_message_at - contact.first_at > _STORED_WITHIN:
            return None
        self._by_user.move_to_end(contact.ig_user_id)
        return entry

    def _stored(self, contact: Contact) -> _Entry | None:
        for entry in self._by_user.get(contact.ig_user_id, ()):
            if entry.ig_account_id == contact.ig_account_id:
                return entry
        return None
