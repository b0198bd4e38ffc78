"""Participants that this replica remembers as committed, which need no statement."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import msgspec

from service.model.contacts import Contact
from service.recently_used import RecentlyUsed
from service.revisions import Revisions
from service.store.journal import Journalled

CAPACITY = 100_000
_STORED_WITHIN_S = 3600.0


Recalled = Literal["fresh", "scheduled"]
_NOT_FRESH, _SCHEDULED = 0.0, math.inf


class _Entry(msgspec.Struct, gc=False):
    """A participant with Unix times, linked to the same user's next one.

    `fresh_until_s` is infinite while the first fetch is scheduled. As a linked list, 100,000 users
    take 20 MB; with a tuple for each user they would take 24 MB.
    """

    ig_account_id: str
    last_message_s: float
    fresh_until_s: float
    next: _Entry | None


def _chain(head: _Entry | None) -> Iterator[_Entry]:
    while head is not None:
        yield head
        head = head.next


def _of_account(head: _Entry | None, ig_account_id: str) -> _Entry | None:
    while head is not None and head.ig_account_id != ig_account_id:
        head = head.next
    return head


class Known:
    """Recent participants that are known to be committed.

    It is trusted only while notices of erasures and changes arrive.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._by_user = RecentlyUsed[_Entry](capacity)
        self._revisions = Revisions()
        self.is_trusted = False

    def __len__(self) -> int:
        return len(self._by_user)

    def recall(self, contact: Contact, now: datetime) -> Recalled | None:
        """Return why the contact needs no statement; None if it needs one.

        It needs none if the tables already contain it, and the identity is fresh or the user's
        first fetch is scheduled.
        """
        entry = self._find(contact) if self.is_trusted else None
        if entry is None or now.timestamp() >= entry.fresh_until_s:
            return None
        return "scheduled" if entry.fresh_until_s == _SCHEDULED else "fresh"

    def is_durable(self, contact: Contact) -> bool:
        """Return whether the participant is committed, with a time within an hour of this one."""
        return self._find(contact) is not None

    def mark(self) -> int:
        """Return a mark to take before writing; users who change after it are not remembered."""
        return self._revisions.mark()

    def remember(self, written: Journalled, mark: int) -> None:
        """Remember a participant that was committed after the mark.

        A user who has changed since the mark is skipped: the statement may have read the old state
        although the notice of the change arrived first.
        """
        if self._revisions.may_have_changed(written.ig_user_id, mark):
            return
        head = self._by_user.get(written.ig_user_id)
        entry = _of_account(head, written.ig_account_id)
        if entry is None:
            entry = _Entry(written.ig_account_id, 0.0, _NOT_FRESH, head)
            self._by_user.put(written.ig_user_id, entry)
        entry.last_message_s = written.last_message_at.timestamp()
        entry.fresh_until_s = _SCHEDULED if written.is_scheduled else _unix(written.fresh_until)

    def update(self, ig_user_id: str, fresh_until: datetime | None) -> None:
        """Record that a user's identity has changed."""
        self._revisions.note(ig_user_id)
        for entry in _chain(self._by_user.get(ig_user_id)):
            entry.fresh_until_s = _unix(fresh_until)

    def evict(self, ig_user_id: str) -> None:
        """Forget a user, and any write in progress."""
        self._revisions.note(ig_user_id)
        self._by_user.pop(ig_user_id)

    def clear(self) -> None:
        """Forget all users."""
        self._revisions.note_all()
        self._by_user.clear()

    def forget_freshness(self) -> None:
        """Record that any identity may have changed."""
        self._revisions.note_all()
        for head in self._by_user.values():
            for entry in _chain(head):
                entry.fresh_until_s = _NOT_FRESH

    def _find(self, contact: Contact) -> _Entry | None:
        entry = _of_account(self._by_user.get(contact.ig_user_id), contact.ig_account_id)
        if entry is None or contact.last_at.timestamp() - entry.last_message_s > _STORED_WITHIN_S:
            return None
        is_near = entry.last_message_s - contact.first_at.timestamp() <= _STORED_WITHIN_S
        return entry if is_near else None


def _unix(fresh_until: datetime | None) -> float:
    return _NOT_FRESH if fresh_until is None else fresh_until.timestamp()
